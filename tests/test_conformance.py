"""Every registered variant keeps every promise, and each check notices a variant that doesn't."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

import variants
from lit_cifar import conformance
from lit_cifar.conformance import CHECKS, SLOW_CHECKS, Check
from tests.variants import zoo
from variants import DenseVariant, Variant

LONG = (conformance.takes_other_values, conformance.trains_in_a_stack_as_alone, conformance.lowers_its_loss)
"""Checks that take seconds for a network of 20 layers."""


def cases(variant_classes: Iterable[type[Variant]], quick: Sequence[str]) -> Iterator[object]:
    """Each check for each class; long checks are slow for all but the classes named."""
    for variant_class, check in product(variant_classes, (*CHECKS, *SLOW_CHECKS)):
        slow = check in SLOW_CHECKS or (check in LONG and variant_class.__name__ not in quick)
        marks = [pytest.mark.slow] if slow else []
        marks += [pytest.mark.compiles] if check is conformance.trains_compiled_as_eager else []
        yield pytest.param(check, variant_class, marks=marks, id=f"{variant_class.__name__}-{check.__name__}")


REGISTERED = map(variants.get, variants.available())
SMALL = [kind.__name__ for kind in zoo.ZOO if kind is not zoo.Torchvision]


@pytest.mark.parametrize(("check", "variant_class"), list(cases(REGISTERED, ["AlphaDropout"])))
def test_registered_variants_conform(check: Check, variant_class: type[Variant]) -> None:
    check(variant_class)


@pytest.mark.parametrize(("check", "variant_class"), list(cases(zoo.ZOO, SMALL)))
def test_sound_networks_of_all_kinds_conform(check: Check, variant_class: type[Variant]) -> None:
    check(variant_class)


class Flat(Variant):
    """The smallest variant: one layer, or what a test puts in its place."""

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), *self.body(nn.Linear(3072, num_classes)))

    def body(self, dense: nn.Linear) -> list[nn.Module]:
        return [dense]


def with_body(body: Callable[[Variant, nn.Linear], list[nn.Module]]) -> type[Variant]:
    return type("Broken", (Flat,), {"body": body, "__doc__": "Broken in some way."})


class Calls(nn.Module):
    """A module that only calls a function."""

    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> object:
        return self.function(images)


class Silent(DenseVariant):
    """Doesn't explain a hyperparameter."""

    def __init__(self, *, secret: int = 1, depth: int = 2) -> None:
        super().__init__(depth=depth)
        self.secret = secret

    def hidden_block(self, dense: nn.Linear, index: int) -> list[nn.Module]:
        return [dense]


class Forgetful(Silent):
    """Doesn't store a hyperparameter."""

    def __init__(self, *, secret: int = 1, depth: int = 2) -> None:
        super().__init__(depth=depth)
        del self.secret


class Demanding(Silent):
    """Can't be built without a hyperparameter."""

    def __init__(self, *, secret: int) -> None:
        super().__init__(secret=secret)


class Odd(Silent):
    """Changes a hyperparameter."""

    def __init__(self, *, secret: int = 1, depth: int = 2) -> None:
        super().__init__(secret=secret + 1, depth=depth)


class Slow(Flat):
    """Hardly learns."""

    learning_rate = 1e-9


class Functional(Silent):
    """Takes a function."""

    def __init__(self, *, secret: object = print, depth: int = 2) -> None:
        super().__init__(depth=depth)
        self.secret = secret


class Mistyped(Silent):
    """Takes a tuple that is said to be anything."""

    def __init__(self, *, secret: object = (1, 2), depth: int = 2) -> None:
        super().__init__(depth=depth)
        self.secret = secret


class Narrow(Silent):
    """Works for the default only."""

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return super().build(image_shape, num_classes + self.secret - 1)


class Stateful(nn.Module):
    """Scales its input by a number that it keeps outside of its state."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.rand(()).item()

    def forward(self, images: Tensor) -> Tensor:
        return images * self.scale


def constant(variant: Variant, dense: nn.Linear) -> list[nn.Module]:
    nn.init.zeros_(dense.weight)
    nn.init.zeros_(dense.bias)
    return [dense]


def poisoned(variant: Variant, dense: nn.Linear) -> list[nn.Module]:
    nn.init.constant_(dense.weight, torch.nan)
    return [dense]


class Skips(nn.Sequential):
    """Never calls its first part."""

    def forward(self, images: Tensor) -> Tensor:
        return self[1](images)


BROKEN = [
    (conformance.explains_itself, type("Mute", (Flat,), {"__doc__": None}), "no docstring"),
    (conformance.explains_itself, type("Rate", (Flat,), {"__doc__": "Too fast.", "learning_rate": 30.0}), "30.0"),
    (conformance.explains_itself, Silent, "explains secret"),
    (conformance.is_a_plain_value, Forgetful, "store each constructor argument under its own name"),
    (conformance.is_a_plain_value, Demanding, "secret"),
    (conformance.is_a_plain_value, Odd, "isn't equal"),
    (conformance.builds_fresh_networks, with_body(constant), "all seeds give the same weights"),
    (conformance.builds_fresh_networks, with_body(lambda v, d: [Calls(lambda x: x[:, :10])]), "no weights"),
    (conformance.gives_logits, with_body(lambda v, d: [nn.Linear(3072, 9)]), r"logits of shape \[4, 9\]"),
    (
        conformance.gives_logits,
        with_body(lambda v, d: [d, Calls(lambda x: (x, x))]),
        "evaluation mode it gives a tuple",
    ),
    (conformance.gives_logits, with_body(lambda v, d: [d, Calls(torch.log)]), "NaN"),
    (conformance.judges_images_one_by_one, with_body(lambda v, d: [d, Calls(lambda x: x - x.mean(0))]), "other images"),
    (conformance.learns_with_every_weight, with_body(lambda v, d: [d, Calls(Tensor.detach)]), "grad"),
    (
        conformance.learns_with_every_weight,
        with_body(lambda v, d: [nn.BatchNorm1d(3072), Calls(Tensor.detach), d]),
        r"no gradient reaches network\.body\.1\.weight",
    ),
    (conformance.learns_with_every_weight, with_body(lambda v, d: [d, Calls(lambda x: (x - x).sqrt())]), "NaN"),
    (conformance.lowers_its_loss, Slow, "the loss went from"),
    (conformance.comes_back_from_the_command_line, with_body(constant), "Broken"),
    (conformance.shows_its_layers, with_body(lambda v, d: [Skips(d, Calls(lambda x: x[:, :10]))]), "none of the parts"),
    (conformance.shows_its_layers, with_body(poisoned), "is NaN or infinite"),
    (
        conformance.judges_images_one_by_one,
        with_body(lambda v, d: [d, Calls(lambda x: x + 1e-6 * torch.rand(1))]),
        "random parts",
    ),
    (
        conformance.is_a_plain_value,
        Functional,
        "secret: a builtin_function_or_method has no plain form.*: use str",
    ),
    (conformance.is_a_plain_value, Mistyped, r"secret=\(1, 2\) comes back from a checkpoint as \[1, 2\]: annotate"),
    (conformance.takes_other_values, Narrow, r"secret=2: gives logits of shape \[3, 11\]\. Make it work, or raise"),
    (conformance.trains_in_a_stack_as_alone, with_body(lambda v, d: [Stateful(), d]), "a stack gives another gradient"),
    (
        conformance.works_in_another_process,
        with_body(lambda v, d: [d]),
        "can't be pickled .* top level of a module",
    ),
    (
        conformance.has_dropout_that_can_stay_on,
        with_body(lambda v, d: [nn.Dropout(), StochasticDepth(0.5, "row"), d]),
        r"body\.2 \(StochasticDepth\)\. Declare them",
    ),
    (
        conformance.has_dropout_that_can_stay_on,
        with_body(lambda v, d: [Skips(nn.Dropout(), d)]),
        "every sample would be the same",
    ),
]


@pytest.mark.parametrize(("check", "variant_class", "reason"), BROKEN)
def test_a_broken_promise_is_noticed(check: Check, variant_class: type[Variant], reason: str) -> None:
    with pytest.raises(Exception, match=reason):
        check(variant_class)


def test_one_broken_promise_leaves_the_others_standing() -> None:
    reasons = [reason for _, reason in conformance.results(Slow)]
    assert len(reasons) == len(CHECKS)
    broken = [check for check, reason in zip(CHECKS, reasons, strict=True) if reason]
    assert broken == [conformance.lowers_its_loss]


def test_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    list(conformance.results(Flat))
    assert torch.equal(torch.rand(3), expected)
