"""Small networks with dropout in every place, images for them, and a plain loop of forward passes to compare with."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from lit_cifar.uncertainty.switch import is_dropout

IMAGES, CLASSES = 21, 3


class Scale(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.float() / 255 - 0.5


class Conv(nn.Module):
    """Not sequential: functions between the layers."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.first, self.second = Scale(), nn.Conv2d(2, 6, 3), nn.Conv2d(6, 6, 3, padding=1)
        self.norm, self.drop, self.head = nn.BatchNorm2d(6), nn.Dropout2d(0.3), nn.Linear(6, CLASSES)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.drop(F.relu(self.first(self.scale(pixels)), inplace=True))
        x = x + self.drop(F.relu(self.norm(self.second(x))))
        return self.head(x.mean((2, 3)))


def last() -> nn.Module:
    return nn.Sequential(
        Scale(), nn.Flatten(), nn.Linear(72, 9), nn.SELU(), nn.AlphaDropout(0.2), nn.Linear(9, CLASSES)
    )


def nested() -> nn.Module:
    """Sequential in sequential, a layer used twice, work in place, and dropout of rate 0 before the real one."""
    again = nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Dropout(0.4, inplace=True))
    return nn.Sequential(
        nn.Sequential(Scale(), nn.Flatten(), nn.Dropout(0.0)),
        nn.Sequential(nn.Sequential(nn.Linear(72, 8), nn.BatchNorm1d(8)), nn.SELU()),
        again,
        nn.Sequential(again, nn.AlphaDropout(0.1)),
        nn.Linear(8, CLASSES),
    )


NETWORKS = {"last": last, "nested": nested, "conv": Conv}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    """A network with random weights and batch-norm statistics, in evaluation mode."""
    torch.manual_seed(1)
    network = NETWORKS[request.param]()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network.eval()


@pytest.fixture
def images() -> Tensor:
    """uint8 [N, 2, 6, 6]."""
    return torch.randint(256, (IMAGES, 2, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def labels() -> Tensor:
    """int64 [N]."""
    return torch.arange(IMAGES) % CLASSES


@pytest.fixture
def plain_loop() -> Callable[[nn.Module, Tensor, int], Tensor]:
    """Probabilities [S, N, C] of forward passes with torch's own dropout; the network stays in that mode."""

    def loop(network: nn.Module, images: Tensor, samples: int) -> Tensor:
        torch.manual_seed(3)
        network.eval()
        for module in network.modules():
            module.training = is_dropout(module)
        with torch.no_grad():
            return torch.stack([network(images).softmax(1) for _ in range(samples)])

    return loop
