"""What every variant promises, as checks for `lit-cifar variants check` and for a plugin's own tests:

    import pytest
    from lit_cifar.conformance import CHECKS
    from my_package import MyVariant

    @pytest.mark.parametrize("check", CHECKS)
    def test_keeps_its_promises(check):
        check(MyVariant)

A check's docstring is the promise; it raises `ConformanceError` with one line that says what is wrong. The checks leave
torch's global random state alone and take about two seconds together for a network of the built-in size.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from lightning import Trainer
from torch import Tensor, nn

import variants
from lit_cifar.callbacks.layer_statistics import activation_statistics, layers
from lit_cifar.data.normalization import Scale
from lit_cifar.training.module import LitClassifier
from lit_cifar.uncertainty import dropout_layers, mc_predict
from lit_cifar.utils.parser import OneLineErrorParser
from variants import Variant

CLASS_NAMES = tuple(f"class {index}" for index in range(10))
IMAGE_SHAPE = (3, 32, 32)
STEPS = 50


class ConformanceError(AssertionError):
    """A promise that a variant breaks, in one line."""


Check = Callable[[type[Variant]], None]


def explains_itself(variant_class: type[Variant]) -> None:
    """Its docstring says in a line what it is, and in a sentence what each hyperparameter does."""
    _require(bool((variant_class.__doc__ or "").strip()), "the class has no docstring of its own")
    _require(0 < variant_class.learning_rate < 1, f"learning_rate = {variant_class.learning_rate} can't be right")
    parser = OneLineErrorParser()
    parser.add_class_arguments(variant_class, "variant")
    helps = {action.dest.removeprefix("variant."): action.help for action in parser._actions}
    silent = [name for name in variant_class.hyperparameters() if not helps.get(name)]
    _require(not silent, f"nothing under `Args:` in the class's docstring explains {', '.join(silent)}")


def is_a_plain_value(variant_class: type[Variant]) -> None:
    """Every hyperparameter has a default and is stored under its own name; equal values make an equal variant."""
    variant = variant_class()
    again = variant_class(**variant.init_args)
    _require(again == variant, f"{again!r} isn't equal to {variant!r}")


def builds_fresh_networks(variant_class: type[Variant]) -> None:
    """It builds a new network each time, whose weights follow from the seed alone."""
    one, same, other = (_classifier(variant_class, seed=seed).state_dict() for seed in (0, 0, 1))
    weights = [name for name in one if name.startswith("network.body.")]
    _require(bool(weights), "the network has no weights")
    _require(all(torch.equal(one[name], same[name]) for name in weights), "equal seeds give different weights")
    _require(any(not torch.equal(one[name], other[name]) for name in weights), "all seeds give the same weights")


def gives_logits(variant_class: type[Variant]) -> None:
    """It gives a finite logit for each image and class, for any number of either."""
    for count, classes in ((4, 10), (1, 3)):
        network = _classifier(variant_class, classes=classes).eval().get_submodule("network")
        logits = network(_images(count))
        _require(isinstance(logits, Tensor), f"it gives a {type(logits).__name__}, not a tensor")
        shape = list(logits.shape)
        _require(shape == [count, classes], f"{count} images and {classes} classes give logits of shape {shape}")
        _require(bool(logits.isfinite().all()), "some logits are NaN or infinite")


def judges_images_one_by_one(variant_class: type[Variant]) -> None:
    """In evaluation mode an image's logits depend on nothing but the image."""
    model, images = _classifier(variant_class).eval(), _images(6)
    together, alone = model(images), torch.cat([model(image[None]) for image in images])
    equal = torch.allclose(together, alone, rtol=1e-3, atol=1e-4)
    _require(equal, f"other images move logits by {(together - alone).abs().max().item():.2g}")


def learns_with_every_weight(variant_class: type[Variant]) -> None:
    """A loss's gradients reach every weight, and are finite."""
    model = _classifier(variant_class)
    with _seeded(0):
        F.cross_entropy(model(_images(40)), _labels(40)).backward()
    missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    _require(not missing, f"no gradient reaches {', '.join(missing)}")
    wild = [name for name, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    _require(not wild, f"the gradient of {', '.join(wild)} is NaN or infinite")


def lowers_its_loss(variant_class: type[Variant]) -> None:
    """Fifty steps at its own learning rate lower the loss on a small batch that is easy to learn."""
    model, images, labels = _classifier(variant_class), _images(40), _labels(40)
    optimizer = model.optimizer(model.parameters(), model.learning_rate)
    losses = []
    with _seeded(0):
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    first, last = losses[0], sum(losses[-5:]) / 5
    _require(last < 0.9 * first, f"the loss went from {first:.3f} to {last:.3f}")


def comes_back_from_a_checkpoint(variant_class: type[Variant]) -> None:
    """A checkpoint of plain data holds all that it takes to rebuild it."""
    model, images = _classifier(variant_class).eval(), _images(4)
    with tempfile.TemporaryDirectory() as folder, _seeded(1):
        path = Path(folder, "model.ckpt")
        _save(model, path)
        known = None if _is_registered(variant_class) else model.variant
        again = LitClassifier.load_from_checkpoint(path, variant=known).eval()
    _require(again.variant == model.variant, f"the checkpoint gives {again.variant!r}, not {model.variant!r}")
    _require(torch.equal(again(images), model(images)), "the network from the checkpoint gives other logits")


def comes_back_from_the_command_line(variant_class: type[Variant]) -> None:
    """Each hyperparameter can be given on the command line, and a configuration file brings it back."""
    variant = variant_class()
    parser = OneLineErrorParser()
    parser.add_argument("--variant", type=Variant)
    typed = [f"--variant.{name}={_as_typed(value)}" for name, value in variant.init_args.items()]
    parsed = parser.parse_args([f"--variant={variants.to_spec(variant)['class_path']}", *typed])
    again = parser.instantiate(parser.parse_string(parser.dump(parsed))).variant
    _require(again == variant, f"`{' '.join(typed)}` gives {again!r}, not {variant!r}")


def shows_its_layers(variant_class: type[Variant]) -> None:
    """Its named parts run in their order, give tensors and have finite statistics."""
    model = _classifier(variant_class)
    found = activation_statistics(model, _images(40))
    parts = list(layers(model))
    seen = [name.removeprefix("mean/") for name in found if name.startswith("mean/")]
    _require(seen == parts, f"the parts are {', '.join(parts)}; tensors come from {', '.join(seen)}")
    wild = [name for name, value in found.items() if not value.isfinite()]
    _require(not wild, f"{', '.join(wild)} is NaN or infinite")


def has_dropout_that_can_stay_on(variant_class: type[Variant]) -> None:
    """If it drops units, MC dropout works: samples of one image differ."""
    model, images = _classifier(variant_class).eval(), _images(4)
    if dropout_layers(model):
        samples = mc_predict(model.network or nn.Identity(), images, samples=4, keep_samples=True).samples
        _require(samples is not None and bool(samples.std(0).any()), "all MC samples are equal")


CHECKS: tuple[Check, ...] = (
    explains_itself,
    is_a_plain_value,
    builds_fresh_networks,
    gives_logits,
    judges_images_one_by_one,
    learns_with_every_weight,
    lowers_its_loss,
    comes_back_from_a_checkpoint,
    comes_back_from_the_command_line,
    shows_its_layers,
    has_dropout_that_can_stay_on,
)
"""All checks, the simplest first."""


def results(variant_class: type[Variant]) -> Iterator[tuple[str, str]]:
    """Each promise in turn, and why it isn't kept: an empty string if it is."""
    for check in CHECKS:
        try:
            check(variant_class)
            reason = ""
        except ConformanceError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - whatever a stranger's class does, the other checks go on
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        yield (check.__doc__ or "").rstrip("."), reason


def _require(kept: bool, otherwise: str) -> None:
    if not kept:
        raise ConformanceError(otherwise)


def _classifier(variant_class: type[Variant], *, classes: int = len(CLASS_NAMES), seed: int = 0) -> LitClassifier:
    model = LitClassifier(variant_class())
    with _seeded(seed):
        model.build(CLASS_NAMES[:classes], Scale.fit(model.variant.scaling, _images(40)))
    return model


def _images(count: int) -> Tensor:
    """Noisy uint8 images [count, 3, 32, 32] of ten patterns in turn, a pattern for each of `_labels`."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randint(176, (len(CLASS_NAMES), *IMAGE_SHAPE), generator=generator)
    noise = torch.randint(80, (count, *IMAGE_SHAPE), generator=generator)
    return (patterns[_labels(count)] + noise).to(torch.uint8)


def _labels(count: int) -> Tensor:
    return torch.arange(count) % len(CLASS_NAMES)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers of a seed inside the block; afterwards they go on as if nothing had been."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _save(model: LitClassifier, path: Path) -> None:
    """Write a checkpoint as a training's end does."""
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path, weights_only=True)


def _is_registered(variant_class: type[Variant]) -> bool:
    name = variant_class.__name__
    return name in variants.available() and variants.get(name) is variant_class


def _as_typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
