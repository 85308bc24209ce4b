"""What Lightning says that nobody needs to hear."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

UNFOUNDED = (
    # Everything is logged once an epoch.
    ".*is smaller than the logging interval.*",
    # `test` and `predict` have no use for the callbacks of `fit`.
    ".*callbacks used to create the checkpoint need to be provided.*",
    # main() takes arguments, for tests; they are those of the command line all the same.
    "LightningCLI's args parameter is intended to run from within Python.*",
    # TensorBoard's events are already in the folder that `metrics.csv` shares.
    ".*Experiment logs directory .* exists and is not empty.*",
    # Lightning's own: it still calls what torch has deprecated.
    r".*isinstance\(treespec, LeafSpec\)` is deprecated",
)
"""Warnings that don't hold here. Those about the user's own choices stay."""


def drop_unfounded_advice() -> None:
    """Drop Lightning's warnings that don't hold here, and its tips for another product."""
    for message in UNFOUNDED:
        warnings.filterwarnings("ignore", message)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: "Tip" not in record.getMessage()
    )
    # torch's compiler says it of every machine that has CUDA's tools and no GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)


def silence_lightning() -> None:
    """Leave only Lightning's errors: a study says itself what its runs do."""
    drop_unfounded_advice()
    warnings.filterwarnings("ignore", module="lightning")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def one_report_of_system_errors() -> Iterator[None]:
    """Keep threads from printing a traceback of an OSError.

    TensorBoard's writes in one, and what goes wrong there is raised in the main thread as well.
    """
    before = threading.excepthook
    threading.excepthook = lambda error: None if isinstance(error.exc_value, OSError) else before(error)
    try:
        yield
    finally:
        threading.excepthook = before
