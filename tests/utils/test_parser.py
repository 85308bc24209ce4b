"""The parser of every command: order of options, and one-line messages."""

from __future__ import annotations

import pytest

from lit_cifar.utils.errors import UserError
from lit_cifar.utils.parser import OneLineErrorParser, class_before_options, files_before_options


@pytest.mark.parametrize(
    ("typed", "parsed"),
    [
        ("fit --model.variant.depth 10 --model.variant SELU", "fit --model.variant SELU --model.variant.depth 10"),
        (
            "fit --model.variant.depth=10 --x 1 --model.variant=SELU",
            "fit --model.variant=SELU --model.variant.depth=10 --x 1",
        ),
        ("fit --model.variant SELU --model.variant.depth 10", "fit --model.variant SELU --model.variant.depth 10"),
        ("fit --trainer.callbacks.x 1 --trainer.callbacks A", "fit --trainer.callbacks.x 1 --trainer.callbacks A"),
        ("--variant SELU", "--variant SELU"),
    ],
)
def test_a_class_comes_before_its_options(typed: str, parsed: str) -> None:
    assert class_before_options(typed.split()) == parsed.split()


def test_options_have_priority_over_files_wherever_they_stand() -> None:
    epochs, rate = ["--trainer.max_epochs", "1"], ["--model.learning_rate=1e-3"]
    files = [["--config", "a.yaml"], ["-c", "b.yaml"], ["--config=c.yaml"]]
    typed = [*epochs, *files[0], *rate, *files[1], *files[2]]
    assert files_before_options(typed) == [*files[0], *files[1], *files[2], *epochs, *rate]


@pytest.fixture(scope="module")
def parser() -> OneLineErrorParser:
    """The options of a model, some data and a Trainer."""
    from lightning import Trainer

    from lit_cifar.data.datamodule import CIFAR10DataModule
    from lit_cifar.training.module import LitClassifier

    parser = OneLineErrorParser()
    parser.add_lightning_class_args(LitClassifier, "model")
    parser.add_lightning_class_args(CIFAR10DataModule, "data")
    parser.add_lightning_class_args(Trainer, "trainer")
    return parser


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (
            "--model.variant SELU --model.variant.dept 3",
            "--model.variant.dept: there is no such option. Did you mean depth? There",
        ),
        (
            "--model.variant.dept 3 --model.variant SELU",
            "--model.variant.dept: there is no such option. Did you mean depth? There",
        ),
        (
            "--model.scheduler onecycle",
            "--model.scheduler onecycle: there is no such class. Did you mean one_cycle? There",
        ),
        (
            "--model.optimizer AdamX",
            "--model.optimizer AdamX: there is no such class. Did you mean Adamax? There are ASGD",
        ),
        (
            "--model.optimizer SGD --model.optimizer.momentun 3",
            "--model.optimizer.momentun: there is no such option. Did you mean momentum?",
        ),
        ("SELU", "SELU has no option before it. Did you mean --model.variant SELU?"),
        ("selu --model.variant ELU", "selu has no option before it. Did you mean --model.variant SELU?"),
        ("--max_epochs 3", "There is no option --max_epochs. Did you mean --trainer.max_epochs?"),
        ("--depth 3", "There is no option --depth. Did you mean --model.variant.depth?"),
        ("--trainer.max_epochz 3", "There is no option --trainer.max_epochz. Did you mean --trainer.max_epochs?"),
        ("--trainer.max_epochs abc", "--trainer.max_epochs abc: give a whole number or null."),
        ("--model.variant SLU", "Unknown variant 'SLU'. Did you mean 'SELU'?"),
        (
            "--model.variant R_ReLU",
            "Unknown variant 'R_ReLU'. Did you mean Dense with the option activation rrelu?",
        ),
    ],
)
def test_a_mistake_is_one_line_with_the_useful_part_first(typed: str, line: str, parser: OneLineErrorParser) -> None:
    with pytest.raises(UserError) as error:
        parser.parse_args(typed.split())
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


def test_a_class_that_lacks_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning.pytorch.loggers import wandb

    from lit_cifar.utils.messages import readable

    monkeypatch.setattr(wandb, "_WANDB_AVAILABLE", wandb.RequirementCache("no-such-package>=1"))
    parser = OneLineErrorParser()
    parser.add_argument("--logger", type=wandb.WandbLogger)
    with pytest.raises(ValueError, match="Problem with given class_path") as error:
        parser.instantiate(parser.parse_args(["--logger", "lightning.pytorch.loggers.WandbLogger"]))
    assert readable(str(error.value)).startswith("WandbLogger needs a package that isn't installed: pip install ")
