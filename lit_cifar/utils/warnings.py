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
    # Metrics are summed over processes before they are logged.
    r".*It is recommended to use `self.log\('(train|val|test)/.*sync_dist=True.*",
    # Lightning still calls a function that torch has deprecated.
    r".*isinstance\(treespec, LeafSpec\)` is deprecated",
)
"""Patterns of warnings that do not apply here. Warnings about the user's own choices stay."""

UNINFORMATIVE = (
    "Tip",  # advertisements
    "Tensor Cores",  # advice about `matmul_precision`, an option here
    "Seed set to",  # config.yaml has it
    "GPU available: False",
    "TPU available: False",
    "LOCAL_RANK: ",
    "already configured with model summary",
    "Restoring states from the checkpoint",  # the user has just typed its path
    "Loaded model weights from",
    "`Trainer.fit` stopped: `max_epochs=",  # `fit` ends with the number of epochs; here it would break the bar's line
)
"""What messages of Lightning contain that tell users nothing."""

LIGHTNINGS_LOGGERS = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.pytorch.accelerators.cuda",
    "lightning.fabric.utilities.seed",
)
"""The loggers that these messages come from."""


def drop_unfounded_advice() -> None:
    """Ignore the warnings that do not apply here, and Lightning's messages that tell users nothing."""
    for message in UNFOUNDED:
        warnings.filterwarnings("ignore", message)
    for name in LIGHTNINGS_LOGGERS:
        logging.getLogger(name).addFilter(_is_informative)
    # torch's compiler warns on every machine that has the CUDA toolkit and no GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)


def _is_informative(record: logging.LogRecord) -> bool:
    return not any(words in record.getMessage() for words in UNINFORMATIVE)


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
