"""Lightning's progress bar, with fewer lines."""

from __future__ import annotations

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm


class EpochProgressBar(TQDMProgressBar):
    """One line of progress for `fit`; the bars of `test` and `predict` vanish before results are printed.

    Lightning shows each validation in a bar of its own below. In a notebook's cell, where `!lit-cifar fit` can't move
    the cursor up, that leaves five lines per epoch. Here a validation takes less than a second.

    Args:
        refresh_rate: Batches between two updates.
    """

    def __init__(self, refresh_rate: int = 20) -> None:
        super().__init__(refresh_rate=refresh_rate)
        self._vanishing: list[Tqdm] = []

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        """Begin an epoch's progress. Epochs count from 1, as in all messages; Lightning's bar counts from 0."""
        super().on_train_epoch_start(trainer, *args)
        most = trainer.max_epochs or -1
        self.train_progress_bar.set_description(f"Epoch {trainer.current_epoch + 1}" + f"/{most}" * (most > 0))

    def init_sanity_tqdm(self) -> Tqdm:
        """No bar for Lightning's check of two validation batches before the training."""
        return Tqdm(disable=True)

    def init_validation_tqdm(self) -> Tqdm:
        """No bar for validations within `fit`; `validate` has one."""
        return super().init_validation_tqdm() if self.trainer.state.fn == "validate" else Tqdm(disable=True)

    def init_test_tqdm(self) -> Tqdm:
        """A bar that vanishes when the test has ended."""
        return self._let_vanish(super().init_test_tqdm())

    def init_predict_tqdm(self) -> Tqdm:
        """A bar that vanishes when the prediction has ended."""
        return self._let_vanish(super().init_predict_tqdm())

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar before callbacks that come later print their results."""
        self._close()

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar before callbacks that come later print their results."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar before the error is printed."""
        self._close()

    def _let_vanish(self, bar: Tqdm) -> Tqdm:
        bar.leave = False
        self._vanishing.append(bar)
        return bar

    def _close(self) -> None:
        while self._vanishing:
            self._vanishing.pop().close()

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The metrics beside the bar, without the version that is in the name of the run's folder."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics
