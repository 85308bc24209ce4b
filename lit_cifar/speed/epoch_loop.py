"""Chooses the loop over an epoch's batches: Lightning's own, or the shorter one where it does the same."""

from __future__ import annotations

from lightning import Trainer

from lit_cifar.utils.private import warn_missing

SLOWER = "training takes about 0.25 ms longer per batch"


def shorten_epochs(trainer: Trainer) -> None:
    """Replace a trainer's epoch loop by `ShortEpochLoop`; call it before the training begins.

    The short loop builds on private parts of Lightning. Where one has been removed or renamed, a warning names it, and
    Lightning's own loop stays.
    """
    try:
        from lit_cifar.speed.short_epoch_loop import LIGHTNINGS_LOOP, ShortEpochLoop, missing_part
    except (ImportError, AttributeError) as error:
        warn_missing(str(error), SLOWER)
        return
    if (missing := missing_part(trainer)) is not None:
        warn_missing(missing, SLOWER)
    elif type(trainer.fit_loop.epoch_loop) is LIGHTNINGS_LOOP:
        trainer.fit_loop.epoch_loop.__class__ = ShortEpochLoop  # the Trainer has already told the loop of its data
