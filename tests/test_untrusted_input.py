"""Files from any source are used, or refused with their name; they never run code."""

from __future__ import annotations

import csv
import io
import string
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lit_cifar.callbacks.prediction_writer import write_table
from lit_cifar.data.sources.folder import FolderSource
from lit_cifar.data.sources.image_files import read_pictures
from lit_cifar.study.schema import Study
from lit_cifar.study.study_file import load_study, parse_study
from lit_cifar.training import checkpoints
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.files import csv_text

few = settings(max_examples=40, deadline=None, derandomize=True, database=None)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def checkpoint() -> dict[str, Any]:
    """What a checkpoint holds, in small."""
    spec = {"class_path": "variants.elu.ELU", "init_args": {}, "distribution": "lit-cifar", "version": "0.1.0"}
    described = {"version": "0.1.0", "variant": spec, "class_names": ["cat", "dog"], "learning_rate": 1e-3}
    return {"state_dict": {"network.scale.mean": torch.zeros(3, 32, 32)}, checkpoints.KEY: described}


@pytest.mark.parametrize("command", ["test", "predict", "validate"])
@pytest.mark.parametrize("place", ["state_dict", "hyper_parameters", checkpoints.KEY])
def test_a_pickle_in_a_checkpoint_never_runs(
    place: str, command: str, checkpoint: dict[str, Any], lit_cifar: Callable[..., Any], workspace: Path
) -> None:
    checkpoint.setdefault(place, {})["bomb"] = Bomb(workspace / "exploded")
    torch.save(checkpoint, "bomb.ckpt")
    code, _, err = lit_cifar(command, "--ckpt_path", "bomb.ckpt")
    assert code == 1
    assert "bomb.ckpt is not a checkpoint of plain data" in err
    assert err.count("\n") == 1
    assert not Path("exploded").exists()


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_checkpoint_cut_off_anywhere_is_refused(share: float, checkpoint: dict[str, Any], tmp_path: Path) -> None:
    torch.save(checkpoint, tmp_path / "whole.ckpt")
    content = (tmp_path / "whole.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match="cut.ckpt is no checkpoint"):
        checkpoints.read(tmp_path / "cut.ckpt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_path": "os.system"}, "os.system"),
        ({"class_path": "../../etc/passwd"}, "passwd"),
        ({"class_path": ""}, "variant"),
        ({"init_args": {"depth": -1}}, "depth=-1 is too small"),
        ({"init_args": {"no_such_knob": 1}}, "no_such_knob"),
    ],
)
def test_a_checkpoint_that_names_a_foreign_variant_is_refused(
    change: dict[str, Any], message: str, checkpoint: dict[str, Any], lit_cifar: Callable[..., Any], workspace: Path
) -> None:
    checkpoint[checkpoints.KEY]["variant"] |= change
    torch.save(checkpoint, "foreign.ckpt")
    code, _, err = lit_cifar("test", "--ckpt_path", "foreign.ckpt", "--data.source", "synthetic")
    assert code == 1
    assert message in err
    assert err.count("lit-cifar: error:") == 1


@pytest.mark.parametrize("described", [None, 7, {}, {"variant": 1, "class_names": 2, "learning_rate": 3}])
def test_a_description_that_is_none_is_refused(
    described: Any, checkpoint: dict[str, Any], lit_cifar: Callable[..., Any], workspace: Path
) -> None:
    torch.save(checkpoint | {checkpoints.KEY: described}, "odd.ckpt")
    code, _, err = lit_cifar("test", "--ckpt_path", "odd.ckpt", "--data.source", "synthetic")
    assert code == 1
    assert "was not written by lit-cifar" in err


@pytest.mark.parametrize(
    "name", ["é ü 日本.png", "🐸.png", "x" * 240 + ".png", "png in truth.jpg", "=cmd().png", "a,b\n.png"]
)
def test_pictures_of_any_name_are_read(name: str, tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), "red").save(tmp_path / name, format="PNG")
    assert read_pictures(tmp_path).paths == (name,)


def test_a_name_that_is_no_unicode_gets_its_row(tmp_path: Path) -> None:
    name = b"\xff.png".decode(errors="surrogateescape")
    Image.new("RGB", (40, 40)).save(tmp_path / name, format="PNG")
    write_table(pd.DataFrame({"path": read_pictures(tmp_path).paths}), tmp_path / "out.csv")
    assert pd.read_csv(tmp_path / "out.csv")["path"].tolist() == ["\N{REPLACEMENT CHARACTER}.png"]


@pytest.mark.parametrize("text", ["=cmd()", "+1", "-1", "@SUM(A1)", "\t=x", "\r=x", "<script>", 'a"b', "plain", "a=b"])
def test_a_text_in_a_csv_file_is_no_formula(text: str) -> None:
    table = pd.DataFrame({text: [1.5, -2], "label": ["cat", text]})
    header, _, row = csv.reader(io.StringIO(csv_text(table)))
    for cell in (header[0], row[1]):
        assert cell.removeprefix("'") == text.replace("\r", " ")
        assert not cell.lstrip().startswith(("=", "+", "-", "@"))
    assert row[0] == "-2.0", "numbers stay numbers"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: [\n", "line 2: this is not YAML"),
        ("title: \x00\n", "not YAML"),
        ("title: 2001-99-99\n", "not YAML"),
        ("[" * 1500, "not YAML"),
        ("!!python/object/apply:os.system [touch exploded]", "could not determine a constructor"),
        ("a: &a [x, *a]\nruns: {}", "anchors unfold"),
        ("&a {runs: *a}", "anchors unfold"),
        ("a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60)), "anchors unfold"),
        ("seeds: many\n", "seeds"),
        ("colour: red\n", "unknown key"),
        ("", "expected a mapping"),
        ("7", "expected a mapping"),
    ],
)
def test_a_study_file_that_is_wrong_or_a_bomb_is_one_line(text: str, message: str, workspace: Path) -> None:
    Path("mine.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        load_study("mine.yaml")
    assert "mine.yaml" in str(error.value)
    assert "\n" not in str(error.value)
    assert not Path("exploded").exists()


def test_a_study_file_may_use_anchors() -> None:
    text = "title: T\nruns:\n  a: {model: &elu {variant: ELU}}\n  b: {model: {<<: *elu, learning_rate: 0.1}}\n"
    study = parse_study(text, source="s", name="s")
    assert study.runs["b"].model == {"variant": "ELU", "learning_rate": 0.1}


keys = st.sampled_from(["title", "seeds", "protocol", "runs", "questions", "quick", "model", "variant", "ask", "x"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable, max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=12,
)


@contextmanager
def mistakes_of_the_user(named: str) -> Iterator[None]:
    """Let pass a mistake that is told with the name of the file."""
    try:
        yield
    except UserError as error:
        if named not in str(error):
            raise


@few
@given(st.text(max_size=60) | values.map(str) | values.map(yaml.safe_dump))
def test_any_text_is_a_study_or_a_mistake_of_the_user(text: str) -> None:
    with mistakes_of_the_user("any.yaml"):
        assert isinstance(parse_study(text, source="any.yaml", name="any"), Study)


names = st.text(st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]), min_size=1, max_size=8)
layouts = st.dictionaries(names.filter(lambda name: name not in (".", "..")), st.integers(0, 2), max_size=3)


@settings(few, max_examples=25)
@given(train=layouts, test=layouts)
def test_any_folder_is_a_data_set_or_a_mistake_of_the_user(
    train: dict[str, int], test: dict[str, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    for split, classes in (("train", train), ("test", test)):
        for name, count in classes.items():
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                Image.fromarray(np.zeros((2, 2), np.uint8)).save(folder / split / name / f"{index}.png")
    source = FolderSource(folder)
    with mistakes_of_the_user(str(folder)):
        source.prepare()
        visible = {name: count for name, count in train.items() if not name.startswith(".")}
        assert source.class_names == tuple(sorted(visible))
        assert torch.bincount(source.train().labels).tolist() == [visible[name] for name in source.class_names]
