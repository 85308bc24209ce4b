from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn

from lit_cifar.figures import layer_statistics
from lit_cifar.training.tensorboard import FIGURES

STATISTICS = {
    "mean": ("mean of activations", 0.0),
    "std": ("standard deviation of activations", 1.0),
    "dead": ("share of dead units", None),
    "twins": ("share of units that do what another does", None),
    "gradient_rms": ("gradient, root mean square per weight", None),
    "update_ratio": ("size of an update over size of the weights", None),
}
"""The statistics of a layer: a title, and the value that a self-normalizing network keeps, if any."""

BY_FACTORS = ("gradient_rms", "update_ratio")
"""Statistics whose layers differ by factors: they are drawn on a logarithmic scale."""


class LayerStatistics(Callback):
    """Log statistics of each layer once an epoch, as `layer_<statistic>/<layer>`, and draw them at the end of training.

    A layer is a named part of the variant's network that has weights. Its activations are its output for the first
    validation images. A unit is dead if its output for these images varies by less than a thousandth of the layer's
    largest output. It is a twin if another unit of its layer gives the same output for every image. Gradient and update
    ratio are those of the epoch's last step. The gradient is its root mean square over the layer's weights, so that
    layers of different sizes can be compared.

    Args:
        images: Number of validation images.
        figures: Whether to draw figures at the end, which takes some seconds.
        pictures: The former name of `figures`.
    """

    def __init__(self, images: int = 500, *, figures: bool = True, pictures: bool | None = None) -> None:
        self.images = images
        self.figures = figures if pictures is None else pictures
        self._before: dict[str, Tensor] = {}
        self._last_step: dict[str, Tensor] = {}
        self._history: dict[str, Tensor] = {}  # each [epochs, layers]

    def state_dict(self) -> dict[str, Any]:
        return {"history": dict(self._history)}  # tensors, because lists of thousands of numbers are slow to save

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue a run. Statistics that an older version didn't keep are unknown (nan) for its epochs."""
        kept = {statistic: torch.as_tensor(rows) for statistic, rows in state_dict["history"].items()}
        unknown = [torch.full_like(rows, math.nan) for rows in kept.values()][:1]
        self._history = {name: kept.get(name, *unknown) for name in STATISTICS if kept}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == trainer.num_training_batches - 1:
            self._before = {name: _flat(layer) for name, layer in layers(pl_module).items()}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx != trainer.num_training_batches - 1:
            return
        for name, layer in layers(pl_module).items():
            before = self._before[name]
            self._last_step[f"gradient_rms/{name}"] = root_mean_square(_flat(layer, gradients=True))
            self._last_step[f"update_ratio/{name}"] = (_flat(layer) - before).norm() / before.norm()
        self._before = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        images = data.val_images[: self.images].to(pl_module.device)
        found = {**activation_statistics(pl_module, images), **self._last_step}
        values = {name: float(value) for name, value in found.items()}
        logged = {f"layer_{name}": value for name, value in values.items()}
        for logger in trainer.loggers:  # `log_dict` would take 2 ms for each of more than a hundred values
            logger.log_metrics({**logged, "epoch": trainer.current_epoch}, step=trainer.global_step - 1)
        names = list(layers(pl_module))
        for statistic in STATISTICS:
            now = torch.tensor([[values.get(f"{statistic}/{name}", math.nan) for name in names]])
            self._history[statistic] = torch.cat([self._history.get(statistic, now[:0]), now])

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data_source = trainer.datamodule.data_source  # type: ignore[attr-defined]
        for logger in trainer.loggers:
            if not (self.figures and isinstance(logger, TensorBoardLogger)):
                continue
            for statistic, (words, ideal) in STATISTICS.items():
                values = self._history.get(statistic, torch.empty(0, 0)).T
                if values.isnan().all():  # no epoch reached its last step
                    continue
                figure = layer_statistics(
                    values, list(layers(pl_module)), words, data_source, ideal=ideal, log=statistic in BY_FACTORS
                )
                logger.experiment.add_figure(f"{FIGURES}/layer_{statistic}", figure, len(values.T) - 1)


def layers(pl_module: LightningModule) -> Mapping[str, nn.Module]:
    """The named parts of a classifier's network that have weights, in their order; the scaling isn't one."""
    return layers_of(pl_module.network)  # type: ignore[arg-type]


def layers_of(network: nn.Module) -> Mapping[str, nn.Module]:
    """The named parts, with weights, of the body of a network that `LitClassifier.build` made."""
    part: nn.Module = network.body  # type: ignore[assignment]
    name = "network"
    while len(found := _with_weights(part)) == 1 and not list(part.parameters(recurse=False)):
        name, part = next(iter(found.items()))  # a wrapper around the network itself
    return found or {name: part}


def _with_weights(part: nn.Module) -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {}
    for name, child in part.named_children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):  # a container, which itself is never called
            found |= {f"{name}.{inner}": block for inner, block in _with_weights(child).items()}
        elif next(child.parameters(), None) is not None:
            found[name] = child
    return found


@torch.no_grad()
def activation_statistics(pl_module: LightningModule, images: Tensor) -> dict[str, Tensor]:
    """Mean, standard deviation, shares of dead units and of twins of each layer, for uint8 images [N, C, H, W]."""
    return unit_statistics(activations(pl_module, images))


def unit_statistics(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same statistics as `activation_statistics`, of each layer's output [N, ...]."""
    found: dict[str, Tensor] = {}
    for name, output in outputs.items():
        units = output.flatten(1).float()
        ranges = units.amax(0) - units.amin(0)
        found[f"mean/{name}"], found[f"std/{name}"] = units.mean(), units.std()
        found[f"dead/{name}"] = (ranges <= 1e-3 * units.abs().max()).float().mean()
        found[f"twins/{name}"] = _share_of_twins(units)
    return found


@torch.no_grad()
def activations(pl_module: LightningModule, images: Tensor) -> dict[str, Tensor]:
    """Each layer's output [N, ...] for uint8 images [N, C, H, W], in evaluation mode, in the order they are called."""
    with outputs_of(layers(pl_module)) as outputs, evaluating(pl_module):
        pl_module(images)
    return outputs


def root_mean_square(values: Tensor) -> Tensor:
    """The root mean square of values [..., N] over the last dimension."""
    return values.square().mean(dim=-1).sqrt()


def _share_of_twins(units: Tensor) -> Tensor:
    """The share of columns of [N, units] that equal another column up to rounding.

    Equal columns have equal weighted sums. Different columns almost never do.
    """
    weights = torch.arange(1.0, len(units) + 1, device=units.device).cos()
    sums = (weights @ units).sort().values
    near = sums.diff() <= 1e-6 * weights.norm() * units.abs().max()
    apart = near.new_zeros(1)
    return (torch.cat([near, apart]) | torch.cat([apart, near])).float().mean()


@contextmanager
def outputs_of(parts: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """The output of each part in forward passes inside the block.

    If a part returns a tuple, as recurrent networks and attention do, its first tensor counts. Parts that give no
    tensor, or aren't called, are left out.
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str, output: object) -> None:
        first = next((each for each in _listed(output) if isinstance(each, Tensor)), None)
        if first is not None:
            outputs[name] = first

    hooks = [
        part.register_forward_hook(lambda _module, _inputs, output, name=name: keep(name, output))
        for name, part in parts.items()
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def _listed(output: object) -> list[object]:
    return list(output) if isinstance(output, tuple | list) else [output]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode inside the block, and restore the mode of each part afterwards."""
    training = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in training.items():
            part.training = mode


def _flat(layer: nn.Module, *, gradients: bool = False) -> Tensor:
    """A layer's weights or gradients as one vector."""
    if not gradients:
        return torch.cat([p.detach().flatten() for p in layer.parameters()])
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in layer.parameters()])
