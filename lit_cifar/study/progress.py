"""The progress of a study: finished runs, epochs and accuracies of the current ones, and the time left."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from lit_cifar.study.finished import Row
from lit_cifar.study.plan import PlannedRun


class StudyProgress:
    """A live display on a terminal, or one line for each finished run elsewhere. Use it as a context manager.

    Args:
        total: Number of runs.
        console: Console for the output.
    """

    def __init__(self, total: int, console: Console) -> None:
        self.console = console
        self.total = total
        self._done = 0
        self._done_here = 0
        self._started = time.monotonic()
        self._running: dict[str, str] = {}
        self._bar = Progress(
            TextColumn("runs"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self._task = self._bar.add_task("runs", total=total, left="")
        # drawn when it is refreshed, not after every epoch of every run
        self._live = Live(get_renderable=self._drawn, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> StudyProgress:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def epoch(self, label: str, epoch: int, accuracy: float) -> None:
        """Show that a run has finished an epoch."""
        self._running[label] = f"epoch {epoch}, validation accuracy {accuracy:.1%}"

    def finished(self, run: PlannedRun, row: Row, *, here: bool) -> None:
        """Show that a run is finished; `here` is false if an earlier call of the command did it."""
        self._done += 1
        self._done_here += here
        self._running.pop(run.label, None)
        if here:
            line = f"[{self._done}/{self.total}] {run.label}: {outcome(row)}"
            self.console.print(line, highlight=False, markup=False)

    def _drawn(self) -> Group:
        self._bar.update(self._task, completed=self._done, left=self._time_left())
        table = Table.grid(padding=(0, 2))
        for label, state in list(self._running.items()):  # Live draws in a thread of its own
            table.add_row(Text(label), state)
        return Group(table, self._bar)

    def _time_left(self) -> str:
        if not self._done_here:
            return ""
        seconds = (time.monotonic() - self._started) / self._done_here * (self.total - self._done)
        return f"about {seconds / 60:.0f} min left" if seconds > 90 else f"about {seconds:.0f} s left"


def outcome(row: Row) -> str:
    """A finished run in a few words."""
    if row["status"] != "ok":
        return f"failed: {row['reason']}"
    if "cpu_share" in row:
        return f"{row['seconds_per_epoch']:.2f} seconds per epoch"
    if "test_acc" not in row:
        return f"learning rate {row['lr']:.2g}"
    seconds = f", {row['seconds_per_epoch']:.2f} s/epoch" if "seconds_per_epoch" in row else ""  # a stack has none
    return (
        f"test accuracy {row['test_acc']:.1%}, validation accuracy {row['val_acc']:.1%}, "
        f"best epoch {row['best_epoch']} of {row['epochs']}{seconds}"
    )
