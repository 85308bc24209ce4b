"""Changes of a study's settings from outside: by the command line, or by arguments of `compare`."""

from __future__ import annotations

from lit_cifar.study.schema import Changes, Study
from lit_cifar.utils.console import say
from lit_cifar.utils.listing import listed


def change_all_runs(study: Study, changes: Changes) -> Study:
    """Change settings of every run, and say whose own values that replaces."""
    for key, value in changes.given().items():
        own = {name: run.given()[key] for name, run in study.runs.items() if key in run.given()}
        replaced = [name for name, before in own.items() if before != value]
        if replaced:
            values = ", ".join(dict.fromkeys(str(own[name]) for name in replaced))
            names = listed([repr(name) for name in replaced])
            say(f"{key}={value} holds for all runs, also for {names}, which had {values}.")
    return study.changed(changes)
