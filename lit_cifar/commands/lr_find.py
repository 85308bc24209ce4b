"""`lit-cifar lr-find`: search a learning rate, with the options of `fit`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning import LightningDataModule, LightningModule, seed_everything
from lightning.pytorch.cli import LightningArgumentParser
from rich.console import Console
from rich.table import Table

from lit_cifar.commands.lightning import LOGS, LitCifarCLI
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.figures import learning_rate_curves
from lit_cifar.lr_find.search import LearningRateSearch, check_search, find_learning_rate
from lit_cifar.training.module import LitClassifier
from lit_cifar.utils.files import replaced_when_complete, write_text
from lit_cifar.utils.warnings import silence_lightning

PASSED_ON = (
    "accelerator",
    "devices",
    "precision",
    "deterministic",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "accumulate_grad_batches",
)
"""Options of the Trainer that range tests and confirm runs use."""

DESCRIPTION = "Search a learning rate: a range test, then short trainings with --confirm. Takes all options of `fit`."


def lr_find(arguments: Sequence[str]) -> None:
    """Search a learning rate and print the line to paste into `fit`."""
    silence_lightning()
    _LRFindCLI(["fit", *arguments], typed=list(arguments))


class _LRFindCLI(LitCifarCLI):
    """`fit`'s command line, with a search where the training would be."""

    def __init__(self, args: list[str], *, typed: list[str]) -> None:
        self.typed = typed
        super().__init__(args)

    @staticmethod
    def parser_options() -> dict[str, dict[str, Any]]:
        """Usage and description, under the name of the command it is made from."""
        return {"fit": {"description": DESCRIPTION, "usage": "lit-cifar lr-find --model.variant NAME [options]"}}

    def after_fit(self) -> None:
        """A search leaves no run to describe."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        add = parser.add_argument
        add(
            "--confirm",
            type=int,
            default=0,
            help="Train at least so many learning rates around the suggestion and rank them.",
        )
        add("--confirm_epochs", type=int, default=3, help="Epochs of each confirm run.")
        add("--min_lr", type=float, default=1e-6, help="Where the range test starts.")
        add("--max_lr", type=float, default=1.0, help="Where the range test ends.")
        add("--steps", type=int, default=300, help="Batches of the range test.")
        add("--output", type=str, help="Folder of lr_find.json and lr_find.png. Default: logs/lr-find/<variant>.")

    def before_instantiate_classes(self) -> None:
        super().before_instantiate_classes()
        given = self.config.fit
        check_search(**{name: given[name] for name in ("confirm", "confirm_epochs", "min_lr", "max_lr", "steps")})

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        kwargs |= {"logger": False}
        return super().instantiate_trainer(**kwargs)

    def fit(self, model: LightningModule, datamodule: LightningDataModule, **_: Any) -> None:
        """Called in place of the Trainer's `fit`."""
        given = self.config.fit
        console = Console()
        if given.trainer.callbacks:
            console.print("The search trains without the callbacks of --trainer.callbacks.")
        trainer_options = {name: given.trainer[name] for name in PASSED_ON if given.trainer[name] is not None}
        search = find_learning_rate(
            self._make,
            confirm=given.confirm,
            confirm_epochs=given.confirm_epochs,
            min_lr=given.min_lr,
            max_lr=given.max_lr,
            steps=given.steps,
            show_progress=given.trainer.enable_progress_bar is not False,
            on_confirmed=lambda run: console.print(
                f"learning rate {run.learning_rate:.2g}: validation loss {run.val_loss:.4f}", highlight=False
            ),
            **trainer_options,
        )
        name = type(self.model.variant).__name__
        folder = Path(given.output or LOGS / "lr-find" / name)
        _write(search, folder, name, self.datamodule.source.name)
        _print(search, folder, self.typed, console)

    def _make(self, learning_rate: float | None) -> tuple[LitClassifier, CIFAR10DataModule]:
        """A fresh model and data, equally seeded each time."""
        if (seed := self.config.fit.seed_everything) is not False:
            seed_everything(seed, workers=True, verbose=False)
        made = self.parser.instantiate(self.config).fit
        model: LitClassifier = made.model
        model.learning_rate = learning_rate or model.learning_rate
        return model, made.data


def _write(search: LearningRateSearch, folder: Path, name: str, data_source: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "lr_find.json", search.to_json())
    with replaced_when_complete(folder / "lr_find.png") as unfinished:
        learning_rate_curves({name: search.curve.to_dict()}, data_source).savefig(unfinished)


def _print(search: LearningRateSearch, folder: Path, typed: Sequence[str], console: Console) -> None:
    curve = search.curve
    readings = Table("rule", "learning rate", title="Range test")
    for rule, value in {
        "valley": curve.valley,
        "steepest": curve.steepest,
        "minimum / 10": curve.minimum_tenth,
        "diverges at": curve.diverges_at,
    }.items():
        readings.add_row(rule, "–" if value is None else f"{value:.2g}")
    console.print(readings)
    if search.confirm_runs:
        confirmed = Table("learning rate", "validation loss", "validation accuracy", title="Confirm runs, best first")
        for run in search.confirm_runs:
            confirmed.add_row(f"{run.learning_rate:.2g}", f"{run.val_loss:.4f}", f"{run.val_accuracy:.1%}")
        console.print(confirmed)
    console.print(f"Curve: {folder / 'lr_find.png'}", highlight=False, markup=False)
    command = shlex.join(["lit-cifar", "fit", *_for_fit(typed), "--model.learning_rate", f"{search.learning_rate:.2g}"])
    console.print(command, highlight=False, markup=False, soft_wrap=True)


def _for_fit(typed: Sequence[str]) -> list[str]:
    """The options that `fit` knows too."""
    own = ("--confirm", "--confirm_epochs", "--min_lr", "--max_lr", "--steps", "--output")
    kept: list[str] = []
    rest = iter(typed)
    for option in rest:
        if option in own:
            next(rest, None)
        elif option.partition("=")[0] not in own:
            kept.append(option)
    return kept
