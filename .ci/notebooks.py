"""Run notebooks in `examples/` from top to bottom, each in an empty folder, and save what they show.

`python .ci/notebooks.py` runs all of them, `python .ci/notebooks.py exercise` one.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 1800
"""How long a cell may take."""


def run(path: Path) -> None:
    """Run a notebook and save it with its outputs, without the times of its cells."""
    notebook: Any = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        where = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=SECONDS, resources=where, coalesce_streams=True).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = output.text.replace("\r\n", "\n")  # commands after ! write to a terminal
    nbformat.write(notebook, path)
    print(f"{path.relative_to(ROOT)}: run and saved.")


os.environ["PYTHONPATH"] = str(ROOT)
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
for path in sorted((ROOT / "examples").glob("*.ipynb")):
    if path.stem in sys.argv[1:] or len(sys.argv) == 1:
        run(path)
