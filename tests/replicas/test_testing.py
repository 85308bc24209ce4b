"""Many networks tested at once predict what each predicts alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import variants
from lit_cifar.data.normalization import Scale
from lit_cifar.evaluation import predict, predict_by_mc
from lit_cifar.replicas import testing
from lit_cifar.replicas.testing import StackedStates, predict_stack, predict_stack_by_mc
from lit_cifar.study.engines import stacked_test
from lit_cifar.study.plan import PlannedRun
from lit_cifar.uncertainty import dropout_layers
from tests.replicas.conftest import SMALL
from tests.replicas.test_engine import do, plan, without_times  # noqa: F401 - a fixture

SEEDS = [3, 0, 8]
WITH_DROPOUT = [name for name in variants.available() if "rate" in variants.get(name).hyperparameters()]


class Functional(nn.Module):
    """Calls dropout as a function, which isn't the network's last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3072, 8), nn.Linear(8, 10)])

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.layers[0](images.flatten(1)).relu()
        logits: Tensor = self.layers[1](nn.functional.dropout(hidden, 0.5, self.training))
        return logits


def network(name: str, seed: int) -> nn.Module:
    """A small network in double precision, with dropout where there is any."""
    torch.manual_seed(seed)
    if name == "functional":
        body: nn.Module = Functional()
    else:
        cls = variants.get(name)
        sizes = {key: value for key, value in SMALL.items() if key in cls.hyperparameters()}
        body = cls(**sizes).build((3, 32, 32), 10)
    return nn.Sequential(Scale.empty((3, 32, 32)), body).double().eval()


def images() -> Tensor:
    return torch.randint(256, (7, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def stacked(name: str) -> tuple[list[nn.Module], StackedStates]:
    alone = [network(name, seed) for seed in SEEDS]
    return alone, StackedStates.of(network(name, 99), [each.state_dict() for each in alone])


@pytest.mark.parametrize("name", variants.available())
def test_one_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "ROWS", 6)  # two images at a time
    alone, networks = stacked(name)
    found = predict_stack(networks, images())["probabilities"]
    expected = torch.stack([predict(each, images())["probabilities"] for each in alone])
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(found[0], found[1])


@pytest.mark.parametrize("name", [*WITH_DROPOUT, "functional"])
@pytest.mark.parametrize("samples", [5, 40])
def test_mc_dropout_with_each_networks_masks(name: str, samples: int) -> None:
    alone, networks = stacked(name)
    found = predict_stack_by_mc(networks, images(), samples=samples, seeds=SEEDS)
    each = [predict_by_mc(one, images(), samples=samples, seed=s) for one, s in zip(alone, SEEDS, strict=True)]
    assert found.keys() == each[0].keys()
    for key, tensor in found.items():
        expected = torch.stack([one[key] for one in each])
        torch.testing.assert_close(tensor, expected, rtol=1e-7, atol=1e-9, msg=key)
    assert not torch.allclose(found["mc_probabilities"], predict_stack(networks, images())["probabilities"])


def test_samples_and_images_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    _, networks = stacked("AlphaDropout")
    assert dropout_layers(networks.network)
    whole = predict_stack_by_mc(networks, images(), samples=5, seeds=SEEDS)
    monkeypatch.setattr("lit_cifar.uncertainty.planning._CPU_ACTIVATION", 1)
    monkeypatch.setattr("lit_cifar.uncertainty.planning._FEWEST_ROWS", 9)
    pieces = predict_stack_by_mc(networks, images(), samples=5, seeds=SEEDS)
    for key, tensor in whole.items():
        torch.testing.assert_close(pieces[key], tensor, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shift", [False, True])
def test_runs_whose_networks_cannot_be_tested_at_once_are_tested_one_by_one(
    workspace: Path,
    plan: Callable[..., list[PlannedRun]],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    shift: bool,
) -> None:
    tested = {"shift": shift, "max_epochs": 1}
    runs = [replace(run, protocol=run.protocol.model_copy(update=tested)) for run in plan(variant="AlphaDropout")]
    at_once = do(runs, workspace / "at_once")

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(stacked_test, "predict_stack", fail)
    one_by_one = do(runs, workspace / "one_by_one")
    assert "AlphaDropout: tested one by one: OutOfMemoryError" in " ".join(capsys.readouterr().err.split())
    assert not any("test_seconds" in row for row in at_once)
    assert [any("severity" in column for column in row) for row in at_once] == [shift, shift]
    for one, other in zip(at_once, one_by_one, strict=True):
        for column, value in without_times(other).items():
            assert one[column] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-5)), column
