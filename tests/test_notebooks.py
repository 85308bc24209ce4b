"""The notebooks in `examples/`: they run, and what they show is what is saved in them."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
SMALL = {
    "SOURCE": '"synthetic"',
    "TRAIN_SIZE": "400",
    "EPOCHS": "1",
    "SEEDS": "1",
    "SAMPLES": "5",
    "PICTURES_PER_CLASS": "40",
    "WORKERS": "2",
}
SHOWN = {
    "exercise": ["epoch 1 of at most 1", "best epoch", "MC dropout", "Is SELU better than ELU?", "Report: "],
    "mc_dropout": ["mutual information", "ece"],
    "own_pictures": ["best epoch", "disc", "Checked against the checkpoint on 50 images"],
    "own_variant": ["✓", "Is Sine better than ELU?"],
}
"""What a reader of each notebook must see, whatever the numbers are."""

FEW_SHAPES = """
from lit_cifar.data.sources.synthetic import SyntheticSource
SyntheticSource.__init__.__kwdefaults__.update(train_size=3000, test_size=100)
"""


@pytest.fixture
def kernel_environment(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder for a kernel whose commands include `lit-cifar`."""
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(workspace / ".ipython"))
    return workspace


def small(path: Path) -> Any:
    """The notebook, with parameters that make it quick."""
    notebook: Any = nbformat.read(path, as_version=4)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    names = re.findall(r"^(\w+) =", parameters.source, re.MULTILINE)
    parameters.source += "\n" + "\n".join(f"{name} = {SMALL[name]}" for name in names if name in SMALL) + FEW_SHAPES
    for cell in notebook.cells:
        cell.source = cell.source.replace("val_size=2000", "val_size=200")
    return notebook


def text(notebook: Any) -> str:
    """All text that the outputs show."""
    shown = []
    for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
        data = output.get("data", {})
        shown += [output.get("text", ""), data.get("text/plain", ""), data.get("text/html", "")]
    return "\n".join(shown)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, kernel_environment: Path) -> None:
    notebook = small(path)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(kernel_environment)}}).execute()
    seen = text(notebook)
    assert [wanted for wanted in SHOWN[path.stem] if wanted not in seen] == []
    assert "Warning" not in seen
    assert "Traceback" not in seen
    streams = [o.text for c in notebook.cells for o in c.get("outputs", ()) if o.output_type == "stream"]
    assert max(stream.count("\n") for stream in [*streams, ""]) < 40, "no wall of lines"


def test_every_notebook_is_tested() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(SHOWN)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_saved_is_fit_to_be_shown(path: Path) -> None:
    notebook: Any = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert (
        f"colab.research.google.com/github/lit-cifar/lit_cifar/blob/main/examples/{path.name}"
        in notebook.cells[0].source
    )
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "run from top to bottom"
    outputs = [output for cell in code for output in cell.outputs]
    assert not any(output.output_type == "error" for output in outputs)
    assert any("image/png" in output.get("data", {}) for output in outputs) or path.stem == "mc_dropout"
    assert [
        wanted for wanted in SHOWN[path.stem] if wanted not in text(notebook) and "of at most 1" not in wanted
    ] == []
    assert not re.search(r"/(home|root|work|tmp)/", text(notebook)), "no folder of the machine that ran it"
    assert path.stat().st_size < 1_000_000


INTERRUPTED = """
import lit_cifar, variants
data = lit_cifar.CIFAR10DataModule(source="synthetic", train_size=2000, val_size=200)
lit_cifar.compare(["ELU", "SELU"], data, seeds=2, max_epochs=500, patience=500, workers=2)
"""


@pytest.mark.slow
def test_interrupting_a_cell_stops_its_workers(kernel_environment: Path) -> None:
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(cwd=str(kernel_environment))
    try:
        asked = client.execute(INTERRUPTED)
        deadline = time.monotonic() + 240
        while not list(kernel_environment.glob("logs/compare/*/runs/*/seed_*")):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=60)
        while reply["parent_header"]["msg_id"] != asked:
            reply = client.get_shell_msg(timeout=60)
        assert reply["content"]["status"] == "error"
        assert reply["content"]["ename"] in ("KeyboardInterrupt", "StoppedBySignalError")
        assert not children(manager.provisioner.pid)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def children(process: int) -> list[str]:
    """Worker processes of a process; empty where `ps` can't tell."""
    listed = subprocess.run(["ps", "-o", "args=", "--ppid", str(process)], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return [line for line in listed.stdout.splitlines() if "spawn_main" in line]
