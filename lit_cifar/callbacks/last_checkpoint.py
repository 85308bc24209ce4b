from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from lit_cifar.training.run_folder import CHECKPOINTS, LAST
from lit_cifar.utils.files import put_in_place


class LastCheckpoint(Checkpoint):
    """Keep `checkpoints/last.ckpt` in the run's folder, from which `fit --ckpt_path last` continues.

    It is saved at the end of every epoch and moved into place once the epoch's metrics are on disk as well. So whenever
    a run is killed, the checkpoint and `metrics.csv` contain the same epochs. The callback must come after those whose
    state it saves. (ModelCheckpoint's `save_last` saves only when the best weights are saved.)
    """

    def __init__(self) -> None:
        self.path = Path(LAST)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.path = Path(trainer.log_dir or trainer.default_root_dir) / CHECKPOINTS / LAST
        if trainer.is_global_zero:
            for leftover in self.path.parent.glob(".*.ckpt*"):  # of a run that was killed while writing
                leftover.unlink()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Correct the paths in the state of checkpoint callbacks if the run's folder has been moved."""
        for callback in trainer.checkpoint_callbacks:
            state = checkpoint["callbacks"].get(callback.state_key)
            now = getattr(callback, "dirpath", None)
            if state and now and Path(now).resolve() == self.path.parent.resolve():
                _rename(state, str(state["dirpath"]), str(now))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.save_checkpoint(self._pending(), weights_only=False)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._move_into_place(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._move_into_place(trainer)

    def save_now(self, trainer: Trainer) -> None:
        """Save in the middle of an epoch."""
        trainer.save_checkpoint(self.path, weights_only=False)

    def _pending(self) -> Path:
        return self.path.with_name(f".{self.path.name}.next")

    def _move_into_place(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and self._pending().is_file():
            put_in_place(self._pending(), self.path)


def _rename(state: dict[str, Any], before: str, now: str) -> None:
    """Replace the folder in a ModelCheckpoint's state."""
    for name, value in state.items():
        if isinstance(value, str) and name.endswith("path"):
            state[name] = value.replace(before, now, 1)
    state["best_k_models"] = {path.replace(before, now, 1): score for path, score in state["best_k_models"].items()}
