"""How results and progress look in a notebook."""

from __future__ import annotations

import base64
import io
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from html import escape
from typing import Any

from lightning import Callback, LightningModule, Trainer
from matplotlib.figure import Figure

from lit_cifar.callbacks.epoch_progress_bar import EpochProgressBar


def in_notebook() -> bool:
    """Whether this code runs in a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def progress_callback() -> Callback:
    """One line that is updated in place: in a notebook an output of its own, elsewhere Lightning's bar."""
    return NotebookProgress() if in_notebook() else EpochProgressBar()


class NotebookProgress(Callback):
    """Show the epoch and its metrics in one line below the cell, updated once per epoch."""

    def __init__(self) -> None:
        self._line: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        from IPython.display import display

        self._line = display(_Text("Training …"), display_id=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._line is not None and not trainer.sanity_checking:
            self._line.update(_Text(self._text(trainer)))

    def _text(self, trainer: Trainer) -> str:
        names = ("train/loss", "val/loss", "val/accuracy")
        values = [
            f"{name} {float(trainer.callback_metrics[name]):.4f}" for name in names if name in trainer.callback_metrics
        ]
        return "  ".join([f"epoch {trainer.current_epoch + 1} of at most {trainer.max_epochs}", *values])


class _Text:
    """Text that a notebook shows without quotation marks."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


class Shown(ABC):
    """Shows itself in a notebook as HTML, followed by pictures.

    The pictures are outputs of their own, because pages that render notebooks may drop those inside of HTML.
    """

    @abstractmethod
    def _html(self) -> str:
        """Tables and text."""

    @abstractmethod
    def _pictures(self) -> Mapping[str, bytes]:
        """PNG files by name."""

    def _repr_html_(self) -> str:
        return self._html() + "".join(_image(content, name) for name, content in self._pictures().items())

    def _ipython_display_(self) -> None:
        from IPython.display import HTML, Image, display

        display(*([HTML(self._html())] if self._html() else []), *map(Image, self._pictures().values()))


class Figures(dict[str, Figure], Shown):
    """Matplotlib figures by name; a notebook shows all of them.

    Save one: `figures["confusion_matrix"].savefig("confusion.png")`.
    """

    def __repr__(self) -> str:
        return f"Figures: {', '.join(self)}"

    def _html(self) -> str:
        return ""

    def _pictures(self) -> Mapping[str, bytes]:
        return {name: png(figure) for name, figure in self.items()}


class LastLine(io.TextIOBase):
    """A text file that shows the last line written to it: below a notebook's cell, or nowhere."""

    def __init__(self, show: bool) -> None:
        self._line: Any = None
        if show and in_notebook():
            from IPython.display import display

            self._line = display(_Text("Starting …"), display_id=True)

    def write(self, text: str) -> int:
        if self._line is not None and text.strip():
            self._line.update(_Text(text.strip().splitlines()[-1]))
        return len(text)


def png(figure: Figure, *, dpi: int = 70) -> bytes:
    """A figure as the content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi)
    return content.getvalue()


def _image(content: bytes, alt: str) -> str:
    """A PNG as HTML that needs no other file."""
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{base64.b64encode(content).decode()}">'


LEFT = "style='text-align:left'"
"""Notebooks align the cells of a table to the right."""


def facts_table(facts: Mapping[str, object]) -> str:
    """Names and values as an HTML table."""
    rows = (
        f"<tr><th {LEFT}>{escape(name)}</th><td {LEFT}>{escape(str(value))}</td></tr>" for name, value in facts.items()
    )
    return f"<table>{''.join(rows)}</table>"
