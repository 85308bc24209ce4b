"""Warnings of Lightning and torch that do not apply here."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

UNFOUNDED = (
    # Everything is logged once an epoch.
    ".*is smaller than the logging interval.*",
    # `test` and `predict` do not need the callbacks of `fit`.
    ".*callbacks used to create the checkpoint need to be provided.*",
    # main() passes the command line's arguments on.
    "LightningCLI's args parameter is intended to run from within Python.*",
    # `metrics.csv` is in the same folder as TensorBoard's events.
    ".*Experiment logs directory .* exists and is not empty.*",
    # Lightning still calls a function that torch has deprecated.
    r".*isinstance\(treespec, LeafSpec\)` is deprecated",
)
"""Patterns of warnings that do not apply here. Warnings about the user's own choices stay."""

ADVICE = ("Tip", "Tensor Cores")
"""What Lightning's advertisements and its advice about `matmul_precision`, an option here, contain."""


def drop_unfounded_advice() -> None:
    """Ignore the warnings that do not apply here, and Lightning's advertisements."""
    for message in UNFOUNDED:
        warnings.filterwarnings("ignore", message)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: not any(advice in record.getMessage() for advice in ADVICE)
    )
    # torch's compiler warns on every machine that has the CUDA toolkit and no GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)


def silence_lightning() -> None:
    """Show only Lightning's errors. A study reports the progress of its runs itself."""
    drop_unfounded_advice()
    warnings.filterwarnings("ignore", module="lightning")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def one_report_of_system_errors() -> Iterator[None]:
    """Keep threads from printing the traceback of an OSError.

    TensorBoard writes in a thread of its own. An error there is raised in the main thread as well.
    """
    before = threading.excepthook
    threading.excepthook = lambda error: None if isinstance(error.exc_value, OSError) else before(error)
    try:
        yield
    finally:
        threading.excepthook = before
