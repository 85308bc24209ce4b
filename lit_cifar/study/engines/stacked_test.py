"""Predict the test images with the networks of all runs of a stack at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lit_cifar.data.corruptions import CORRUPTIONS, SEVERITIES, Corruption, corrupt
from lit_cifar.data.normalization import Scale
from lit_cifar.evaluation import mean_scores, scores_of
from lit_cifar.replicas.network import NotStackableError
from lit_cifar.replicas.stack import TrainedReplica
from lit_cifar.replicas.testing import StackedStates, predict_stack, predict_stack_by_mc
from lit_cifar.study.final_test import Predicted, mc_samples
from lit_cifar.study.plan import PlannedRun
from lit_cifar.study.run import model_and_data, one_thread
from lit_cifar.uncertainty.dropout import declared_stochastic


@one_thread()
def predict_all(
    runs: Sequence[PlannedRun], trained: Sequence[TrainedReplica], device: torch.device
) -> dict[int, Predicted]:
    """The predictions of the runs of a stack for the test images, by place. Failed runs have none.

    Args:
        runs: The runs.
        trained: Their networks.
        device: Device to run the networks on.

    Raises:
        NotStackableError: If a network has stochastic modules other than dropout.
    """
    places = [place for place, replica in enumerate(trained) if not replica.training.failure]
    if not places:
        return {}
    first = runs[places[0]]
    model, data = model_and_data(first)
    network = model.build(data.class_names, Scale.empty(data.image_shape)).eval().to(device)
    if declared_stochastic(network):
        raise NotStackableError("it has stochastic modules of its own.")
    network.load_state_dict(trained[places[0]].by_loss)
    data.setup("test")
    images, labels = data.test_images.images, data.test_images.labels
    by_accuracy = StackedStates.of(network, [trained[place].by_accuracy for place in places])
    selected = predict_stack(by_accuracy, images.to(device))
    samples = mc_samples(first, network, images.to(device))
    best = _Predictor(
        StackedStates.of(network, [trained[place].by_loss for place in places]),
        samples,
        [runs[place].seed for place in places],
    )
    found = best(images.to(device))
    shift = _shift(best, images, labels, device) if first.protocol.shift else [{} for _ in places]
    return {
        place: Predicted(_of(number, selected), _of(number, found), shift[number])
        for number, place in enumerate(places)
    }


@dataclass(frozen=True)
class _Predictor:
    """Predicts with several networks in every way that a test wants.

    Args:
        networks: The networks.
        samples: MC samples; 0 predicts with one pass only.
        seeds: The seed of each network.
    """

    networks: StackedStates
    samples: int
    seeds: Sequence[int]

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        found = predict_stack(self.networks, images)
        if self.samples:
            found |= predict_stack_by_mc(self.networks, images, samples=self.samples, seeds=self.seeds)
        return found


def _shift(predictor: _Predictor, images: Tensor, labels: Tensor, device: torch.device) -> list[dict[str, Any]]:
    """Each network's scores on corrupted images, by severity, as `evaluate_network` has them."""
    found: list[dict[str, Any]] = [{} for _ in predictor.seeds]
    for severity in SEVERITIES:
        scores: list[list[dict[str, dict[str, float]]]] = [[] for _ in predictor.seeds]
        for corruption in CORRUPTIONS:
            predicted = predictor(_corrupted(images, corruption, severity, predictor.seeds).to(device))
            for number, of_one in enumerate(scores):
                of_one.append(scores_of(_of(number, predicted), labels))
        for of_one, by_severity in zip(scores, found, strict=True):
            by_severity[str(severity)] = mean_scores(of_one)
    return found


def _corrupted(images: Tensor, corruption: Corruption, severity: int, seeds: Sequence[int]) -> Tensor:
    """Corrupted images [N, C, H, W]; or [R, N, C, H, W], because noise depends on the seed."""
    if corruption == "noise":
        return torch.stack([corrupt(images, corruption, severity, seed=seed) for seed in seeds])
    return corrupt(images, corruption, severity)


def _of(number: int, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor[number].cpu() for name, tensor in found.items()}
