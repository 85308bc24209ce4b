"""`lit-cifar export`: write a checkpoint's network to a file that can be used without lit_cifar."""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

import lit_cifar
from lit_cifar.commands.checkpoint_options import check_variant
from lit_cifar.commands.variants import variant_class
from lit_cifar.training import checkpoints
from lit_cifar.training.module import LitClassifier
from lit_cifar.training.network import image_shape
from lit_cifar.utils.console import say
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.files import check_writable, replaced_when_complete
from lit_cifar.utils.parser import OneLineErrorParser

Format = Literal["onnx", "torch", "state_dict"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch": ".pt2", "state_dict": ".pt"}
TOLERANCE = 1e-4
"""Largest difference between exported and original logits, as a share of the largest logit (at least 1)."""

COMPARED_IMAGES = 50


def export(arguments: Sequence[str]) -> None:
    """Export a checkpoint and print where the file is and what it takes."""
    given = _parser().parse_args(list(arguments))
    if not given.ckpt_path:
        raise UserError("export needs trained weights: give --ckpt_path FILE.")
    form = _format_of(given.format, given.output)
    if form == "onnx":
        _check_onnx()
    model = _loaded(Path(given.ckpt_path), given.variant)
    path = Path(given.output) if given.output else Path(given.ckpt_path).with_suffix(SUFFIXES[form])
    check_writable(path, "The exported network")
    difference = export_network(model, form, path)
    shape = ", ".join(map(str, image_shape(model.built())))
    print(
        f"Wrote {path}: {model.variant!r}, classes {', '.join(model.class_names)}.\n"
        f"It takes uint8 {_colors(model)} images [N, {shape}] and gives logits.\n"
        f"Checked against the checkpoint on {COMPARED_IMAGES} images: logits differ by at most {difference:.1g}.\n"
        "How to use it without lit_cifar: docs/export.md"
    )


def _parser() -> OneLineErrorParser:
    parser = OneLineErrorParser(
        prog="lit-cifar export", description="Write a checkpoint's network to a file that needs no lit_cifar."
    )
    add = parser.add_argument
    add("--ckpt_path", type=str, help="The checkpoint.")
    add(
        "--format",
        type=Format | None,
        help="onnx (needs the extra lit-cifar[onnx]), torch (a program of torch.export) or state_dict (weights only). "
        "Default: that of the output's suffix, or torch.",
    )
    add("--output", type=str, help="The file to write. Default: beside the checkpoint, with the format's suffix.")
    add("--variant", type=str, help="Class path of a variant of your own, if the checkpoint's isn't registered.")
    return parser


def _format_of(given: Format | None, output: str | None) -> Format:
    """The format to write: the given one, or that of the output's suffix."""
    if output is None:
        return given or "torch"
    of_suffix = {suffix: form for form, suffix in SUFFIXES.items()}
    if Path(output).is_dir():
        raise UserError(f"--output {output} is a folder: give the name of a file in it.")
    found = of_suffix.get(Path(output).suffix)
    if found is None or given not in (None, found):
        listed = ", ".join(f"{suffix} ({form})" for suffix, form in of_suffix.items())
        raise UserError(f"--output {output}: the file's suffix says its format. Use {listed}.")
    return found


def _loaded(checkpoint: Path, variant: str | None) -> LitClassifier:
    spec = checkpoints.description(checkpoints.read(checkpoint))["variant"]
    if variant is None:
        check_variant(spec, checkpoint)
    recipe = variant_class(variant or spec["class_path"])
    if recipe.__name__ != spec["class_path"].rpartition(".")[2]:
        say(f"The checkpoint's variant is {spec['class_path']}; its weights are put into {recipe.__name__}.")
    return LitClassifier.load_from_checkpoint(checkpoint, variant=recipe(**spec["init_args"]), map_location="cpu")


def export_network(model: LitClassifier, form: Format, path: Path) -> float:
    """Write a trained classifier's network, pixel scaling included, and compare it with the original.

    Args:
        model: A trained classifier. Dropout is off in the exported network.
        form: The format.
        path: The file to write; it appears only if the comparison is passed.

    Returns:
        The largest difference between both networks' logits.

    Raises:
        UserError: if the network can't be exported, or what was written gives other logits.
    """
    network = model.network
    if network is None:
        raise UserError("There are no trained weights yet: fit first.")
    network.eval().requires_grad_(False)
    shape = (COMPARED_IMAGES, *image_shape(network))
    images = torch.randint(256, shape, dtype=torch.uint8, generator=_generator())
    write, read = _FORMATS[form]
    with replaced_when_complete(path) as unfinished:
        try:
            with _quiet():
                write(network, images[:4], unfinished, metadata(model))
                logits = read(network, unfinished, images)
        except (OSError, UserError):
            raise
        except Exception as error:  # exporters raise anything
            reason = str(error).strip().partition("\n")[0]
            raise UserError(f"This network can't be exported to {form}: {reason} Try another --format.") from error
        return _compared(network(images), logits)


def metadata(model: LitClassifier) -> dict[str, Any]:
    """What somebody needs to know who has only the file."""
    return {
        "made_by": f"lit_cifar {lit_cifar.__version__}",
        "variant": repr(model.variant),
        "input": f"images: uint8, {_colors(model)}, values 0 to 255; pixels are scaled inside the network",
        "input_shape": ["N", *image_shape(model.built())],
        "output": "logits; their softmax are the class probabilities",
        "output_shape": ["N", len(model.class_names)],
        "classes": list(model.class_names),
    }


def _colors(model: LitClassifier) -> str:
    return "grey" if image_shape(model.built())[0] == 1 else "RGB"


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _compared(expected: Tensor, found: Tensor) -> float:
    difference = (expected - found).abs().max().item()
    if not difference <= TOLERANCE * max(1.0, expected.abs().max().item()):
        raise UserError(
            f"The exported network gives other logits (they differ by {difference:.2g}): nothing was written."
        )
    return difference


def _write_onnx(network: nn.Module, images: Tensor, path: Path, facts: dict[str, Any]) -> None:
    program: Any = torch.onnx.export(
        network,
        (images,),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("N")},),
        input_names=["images"],
        output_names=["logits"],
        verbose=False,
    )
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}
    program.model.metadata_props.update(texts)
    program.save(path)


def _read_onnx(_: nn.Module, path: Path, images: Tensor) -> Tensor:
    from onnx.reference import ReferenceEvaluator

    (logits,) = ReferenceEvaluator(str(path)).run(None, {"images": images.numpy()})
    return torch.from_numpy(logits)


def _write_torch(network: nn.Module, images: Tensor, path: Path, facts: dict[str, Any]) -> None:
    program = torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("N")},))
    torch.export.save(program, path, extra_files={"metadata.json": json.dumps(facts)})


def _read_torch(_: nn.Module, path: Path, images: Tensor) -> Tensor:
    logits: Tensor = torch.export.load(path).module()(images)
    return logits


def _write_state_dict(network: nn.Module, _: Tensor, path: Path, facts: dict[str, Any]) -> None:
    torch.save({"state_dict": network.state_dict(), "metadata": facts}, path)


def _read_state_dict(network: nn.Module, path: Path, images: Tensor) -> Tensor:
    state = torch.load(path, weights_only=True)["state_dict"]
    logits: Tensor = torch.func.functional_call(network, state, (images,), strict=True)
    return logits


_FORMATS: dict[Format, tuple[Callable[..., None], Callable[..., Tensor]]] = {
    "onnx": (_write_onnx, _read_onnx),
    "torch": (_write_torch, _read_torch),
    "state_dict": (_write_state_dict, _read_state_dict),
}


def _check_onnx() -> None:
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"--format onnx needs {' and '.join(missing)}: pip install 'lit-cifar[onnx]'.")


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters print their progress and warn of their own deprecations."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(before)
