"""Small variants like those of other packages, one of each kind of network."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn
from torchvision.models import squeezenet1_1
from torchvision.ops import StochasticDepth

from variants import DenseVariant, Variant


class LayerNormed(DenseVariant):
    """Layer normalization before ReLU.

    Args:
        depth: Number of hidden layers.
        width: Units in each hidden layer.
    """

    learning_rate = 3e-3

    def __init__(self, *, depth: int = 3, width: int = 16) -> None:
        super().__init__(depth=depth, width=width)

    def hidden_block(self, dense: nn.Linear, index: int) -> list[nn.Module]:
        return [dense, nn.LayerNorm(dense.out_features), nn.ReLU()]


class SpectralAndWeightNorm(DenseVariant):
    """Spectral normalization of hidden layers, weight normalization of the output layer.

    Args:
        depth: Number of hidden layers.
        width: Units in each hidden layer.
    """

    learning_rate = 3e-3

    def __init__(self, *, depth: int = 3, width: int = 16) -> None:
        super().__init__(depth=depth, width=width)

    def hidden_block(self, dense: nn.Linear, index: int) -> list[nn.Module]:
        return [nn.utils.parametrizations.spectral_norm(dense), nn.ReLU()]

    def output_block(self, dense: nn.Linear) -> list[nn.Module]:
        return [nn.utils.parametrizations.weight_norm(dense)]


class MixerBlock(nn.Module):
    """Mixes patches, then channels, around identity connections."""

    def __init__(self, patches: int, channels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))
        self.patches, self.channels = nn.Linear(patches, patches), nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.patches(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norms[1](x)).relu()


class PatchNetwork(nn.Module):
    """Patches of 8 x 8 pixels, blocks in a ModuleList, the mean over patches."""

    def __init__(self, blocks: list[nn.Module], channels: int, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(channels, num_classes)  # before what runs before it
        self.blocks = nn.ModuleList(blocks)
        self.patches = nn.Conv2d(3, channels, 8, 8)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(1))


class MLPMixer(Variant):
    """An MLP-Mixer (Tolstikhin et al. 2021, arXiv:2105.01601)."""

    learning_rate = 3e-3

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return PatchNetwork([MixerBlock(16, 12) for _ in range(2)], 12, num_classes)


class VisionTransformer(Variant):
    """A vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929).

    Args:
        dropout: Probability that a unit or an attention weight is dropped.
    """

    learning_rate = 3e-3

    def __init__(self, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = dropout

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        blocks = [nn.TransformerEncoderLayer(12, 2, 24, self.dropout, batch_first=True) for _ in range(2)]
        return PatchNetwork(blocks, 12, num_classes)


class RowReader(nn.Module):
    """A network that reads the rows of an image."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.reader = nn.LSTM(96, 12, num_layers=2, dropout=0.2, batch_first=True)
        self.head = nn.Linear(12, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        outputs, _ = self.reader(images.transpose(1, 2).flatten(2))
        return self.head(outputs[:, -1])


class Recurrent(Variant):
    """An LSTM over the rows of an image."""

    learning_rate = 1e-2

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return RowReader(num_classes)


class Torchvision(Variant):
    """SqueezeNet of torchvision, without weights."""

    learning_rate = 3e-4

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return squeezenet1_1(num_classes=num_classes)


class Skipping(nn.Module):
    """A layer that is left out at random in training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        skipped = self.training and torch.rand(()).item() < 0.5
        return x if skipped else x + self.layer(x).relu()


class StochasticDepths(Variant):
    """Layers that are dropped by image, and layers that are skipped in a whole batch."""

    learning_rate = 3e-3

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        residual = nn.Sequential(nn.Linear(16, 16), StochasticDepth(0.2, "row"))
        body = [nn.Linear(3072, 16), nn.ReLU(), residual, nn.ReLU(), Skipping(16), Skipping(16)]
        return nn.Sequential(nn.Flatten(), *body, nn.Linear(16, num_classes))

    def stochastic_layers(self, network: nn.Module) -> list[nn.Module]:
        return [module for module in network.modules() if isinstance(module, StochasticDepth)]


class TwoHeads(nn.Module):
    """Gives, in training mode, the logits of an auxiliary head and a penalty on weights, too."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3072, 16), nn.Linear(16, 16)
        self.heads = nn.ModuleList(nn.Linear(16, num_classes) for _ in range(2))

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        early = self.first(images.flatten(1)).relu()
        logits: Tensor = self.heads[1](self.second(early).relu())
        if not self.training:
            return logits
        penalty = 1e-3 * sum(head.weight.square().sum() for head in self.heads)
        return logits, {"early": self.heads[0](early), "penalty": penalty}


class AuxiliaryHead(Variant):
    """A second head on the first layer, as in Szegedy et al. 2015, arXiv:1409.4842, and small weights in both."""

    learning_rate = 3e-3

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return TwoHeads(num_classes)

    def loss(  # type: ignore[override]
        self, logits: Tensor, labels: Tensor, *, early: Tensor
    ) -> dict[str, Tensor]:
        return {"late": F.cross_entropy(logits, labels), "early": 0.3 * F.cross_entropy(early, labels)}


class SmallWeights(nn.Sequential):
    """Layers with a penalty on all weights."""

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        logits = super().forward(images)
        if not self.training:
            return logits
        return logits, {"decay": 1e-3 * sum(p.square().sum() for p in self.parameters())}


class Penalized(DenseVariant):
    """An L2 penalty on weights, without a loss of its own.

    Args:
        depth: Number of hidden layers.
        width: Units in each hidden layer.
    """

    learning_rate = 3e-3

    def __init__(self, *, depth: int = 2, width: int = 16) -> None:
        super().__init__(depth=depth, width=width)

    def hidden_block(self, dense: nn.Linear, index: int) -> list[nn.Module]:
        return [dense, nn.ReLU()]

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return SmallWeights(*super().build(image_shape, num_classes).children())


ZOO = (
    LayerNormed,
    SpectralAndWeightNorm,
    MLPMixer,
    VisionTransformer,
    Recurrent,
    Torchvision,
    StochasticDepths,
    AuxiliaryHead,
    Penalized,
)
