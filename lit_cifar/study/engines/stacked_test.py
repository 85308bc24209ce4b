"""The tests of a stack's runs, all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lit_cifar.data.normalization import Scale
from lit_cifar.data.sources.base import IMAGE_SHAPE
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
    """What the networks of a stack's runs predict for the test images, by the places of those that didn't fail.

    Raises:
        NotStackableError: If a network has stochastic modules other than dropout.
    """
    places = [place for place, replica in enumerate(trained) if not replica.training.failure]
    if not places:
        return {}
    model, data = model_and_data(runs[places[0]])
    network = model.build(data.class_names, Scale.empty(IMAGE_SHAPE)).eval().to(device)
    if declared_stochastic(network):
        raise NotStackableError("it has stochastic modules of its own.")
    network.load_state_dict(trained[places[0]].by_loss)
    data.setup("test")
    images, seeds = data.test_images.images.to(device), [runs[place].seed for place in places]
    selected = predict_stack(StackedStates.of(network, [trained[place].by_accuracy for place in places]), images)
    best = StackedStates.of(network, [trained[place].by_loss for place in places])
    found = predict_stack(best, images)
    if samples := mc_samples(runs[places[0]], network, images):
        found |= predict_stack_by_mc(best, images, samples=samples, seeds=seeds)
    return {place: Predicted(_of(number, selected), _of(number, found)) for number, place in enumerate(places)}


def _of(number: int, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor[number].cpu() for name, tensor in found.items()}
