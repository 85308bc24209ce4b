"""The library's messages name Python's arguments; at the terminal they name options."""

from __future__ import annotations

import pytest

import lit_cifar.data.datamodule
import lit_cifar.training.module  # noqa: F401 - its arguments are looked up if it has been imported
from lit_cifar.commands.flags import with_flags


@pytest.mark.parametrize(
    ("command", "message", "typed"),
    [
        ("fit", "l1=-1 is too small: use 0.", "--model.l1 -1 is too small: use 0."),
        ("fit", 'take it: source="huggingface"', "take it: --data.source huggingface"),
        ("fit", "classes=['cat', 'dog'] can't be used", "--data.classes '[cat,dog]' can't be used"),
        ("fit", "give urls=[https://x.org/a].", "give --data.urls '[https://x.org/a]'."),
        ("test", "give it yourself: variant=my_module.Mine()", "give it yourself: --model.variant my_module.Mine"),
        ("test", "taken over: variant=SELU(…)", "taken over: --model.variant SELU …"),
        ("compare", "repeat them (fresh=True), or give folder=…", "repeat them (--fresh), or give --output …"),
        ("judge", "give the study, study=…", "give the study, --study …"),
        ("compare", "address=local starts one", "--ray local starts one"),
        ("compare", "val_size=3 is odd, l1=2 is not", "--data.val_size 3 is odd, l1=2 is not"),
        ("fit", "md5=1, minutes=2 and the loss = 3", "md5=1, minutes=2 and the loss = 3"),
        (
            "compare",
            "Run 'ELU, train_size=3' can't have val_size=3",
            "Run 'ELU, train_size=3' can't have --data.val_size 3",
        ),
        ("export", "l1=-1 is too small", "l1=-1 is too small"),
    ],
)
def test_arguments_become_options_of_the_command(command: str, message: str, typed: str) -> None:
    assert with_flags(message, command) == typed
