"""What `--help` says of `fit`, `validate`, `test` and `predict`: the options that matter first."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.cli import LightningArgumentParser

from lit_cifar.utils.parser import actions_of
from lit_cifar.utils.private import warn_missing

DESCRIPTIONS = {
    "fit": "Train one variant and keep its best weights. Ctrl-C stops and saves; --ckpt_path last continues.",
    "validate": "Measure a checkpoint on the validation images.",
    "test": "Measure a checkpoint on the test images, with MC dropout if --model.mc_samples is given.",
    "predict": "Name the class of pictures.",
}
EXAMPLES = {
    "fit": "lit-cifar fit --model.variant NAME [--trainer.max_epochs N] [options]",
    "validate": "lit-cifar validate --ckpt_path FILE [options]",
    "test": "lit-cifar test --ckpt_path FILE [options]",
    "predict": "lit-cifar predict --ckpt_path FILE [--data.pictures PATH] [options]",
}
TITLES = {
    "Trains, tests and predicts": "Model",
    "CIFAR-10 from": "Data",
    "Monitor a metric": "Early stopping",
    "Runs the full": "Checkpoint",
    "Perform one evaluation": "Checkpoint",
    "Run inference": "Checkpoint",
    "Save the model after": "Best checkpoint",
    "Write histograms": "Histograms in TensorBoard",
    "Print what a test": "What a test reports",
    "Write what `predict`": "Predictions",
    "Customize every aspect": "Trainer (Lightning's)",
}
"""Titles of groups of options by the beginning of Lightning's; in this order, after the general options."""

HELPS = {
    "trainer.max_epochs": "Maximum number of epochs.",
    "weights_only": "Has no effect: checkpoints are always read as plain data.",
    "ckpt_path": "File of the trained network; in `fit`, of the run to continue (`last`: the newest run).",
}
"""Help texts in place of Lightning's, by option."""


def parser_options() -> dict[str, dict[str, Any]]:
    """Arguments of each command's parser."""
    return {name: {"description": text, "usage": EXAMPLES[name]} for name, text in DESCRIPTIONS.items()}


def arrange(parser: LightningArgumentParser) -> None:
    """Give groups of options short titles, and put those that matter first."""
    places = list(dict.fromkeys(TITLES.values()))
    groups: Any = getattr(parser, "_action_groups", [])
    if not groups:
        warn_missing("argparse.ArgumentParser._action_groups", "--help lists the options in another order")
    for group in groups:
        beginning = next((start for start in TITLES if str(group.title).startswith(start)), None)
        group.title = TITLES[beginning] if beginning else group.title
    groups.sort(key=lambda group: places.index(str(group.title)) if group.title in places else -1)
    for action in actions_of(parser):
        action.help = HELPS.get(action.dest, action.help)
