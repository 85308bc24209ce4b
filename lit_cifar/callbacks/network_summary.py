"""The table of the network's layers that `fit` prints before it trains."""

from __future__ import annotations

from collections.abc import Iterator

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelSummary
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn.parameter import is_lazy

from lit_cifar.data.datamodule import CIFAR10DataModule

DEPTH = 2
"""How deep the table looks into the network: `body.hidden_01`."""

MOST_CLASSES = 10
"""Classes that are named."""

MOST_TYPES = 4
"""Parts of a layer that are named; a longer layer is named by its class."""


class NetworkSummary(ModelSummary):
    """Print the layers of the network with their types and their numbers of parameters.

    The numbers of images and the classes follow. Unlike Lightning's summaries, it leaves out the metrics and counts no
    FLOPs.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            print_summary(pl_module.built())  # type: ignore[operator]
            if isinstance(data := trainer.datamodule, CIFAR10DataModule):  # type: ignore[attr-defined]
                print(data_summary(data))


def data_summary(data: CIFAR10DataModule) -> str:
    """The numbers of images and the classes, in one line."""
    names = data.class_names
    listed = ", ".join(names[:MOST_CLASSES]) + (", …" if len(names) > MOST_CLASSES else "")
    training, validation = len(data.train_images), len(data.val_images)
    return (
        f"Data: {data.data_source}: {training:,} training and {validation:,} validation images, {len(names)} classes "
        f"({listed})"
    )


def print_summary(network: nn.Module) -> None:
    """Print a table of a network's layers, and the number of all parameters."""
    table = Table("Layer", "Type", header_style="bold")
    table.add_column("Parameters", justify="right")
    for name, layer, own in layers(network):
        table.add_row(name, _type(layer), f"{_count(layer, recurse=not own):,}")
    console = Console()
    console.print(table)
    total, trained = _count(network), _count(network, only_trained=True)
    console.print(f"Parameters: {total:,}" + ("" if total == trained else f", of which {trained:,} are trained"))


def layers(network: nn.Module, prefix: str = "", depth: int = DEPTH) -> Iterator[tuple[str, nn.Module, bool]]:
    """The layers of a network in their order; together they have all of its parameters.

    Args:
        network: The network.
        prefix: What is put before the names.
        depth: How deep to look; what is further down is part of its layer.

    Yields:
        Name and layer, and whether only parameters of the module itself are meant, not those of its children.
    """
    for name, child in network.named_children():
        if depth == 1 or not list(child.children()):
            yield prefix + name, child, False
            continue
        if list(child.parameters(recurse=False)):
            yield prefix + name, child, True
        yield from layers(child, f"{prefix}{name}.", depth - 1)


def _type(layer: nn.Module) -> str:
    """The class of a layer; of a short sequence, the classes of its parts."""
    parts = [type(part).__name__ for part in layer.children()]
    listed = isinstance(layer, nn.Sequential) and 0 < len(parts) <= MOST_TYPES
    return ", ".join(parts) if listed else type(layer).__name__


def _count(module: nn.Module, *, recurse: bool = True, only_trained: bool = False) -> int:
    parameters = (it for it in module.parameters(recurse) if not is_lazy(it))
    return sum(it.numel() for it in parameters if it.requires_grad or not only_trained)
