"""Keeping Lightning's messages out of a notebook or script."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lit_cifar.utils.signals import interruptible
from lit_cifar.utils.warnings import silence_lightning

LOGGERS = ("lightning.pytorch", "lightning.fabric")


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Show only Lightning's errors while the block runs, and let Ctrl-C end it; settings are restored afterwards."""
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    with warnings.catch_warnings(), interruptible():
        silence_lightning()
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
