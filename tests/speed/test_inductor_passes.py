"""Rewritten graphs compute what they did before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._inductor.utils import run_and_get_code

from lit_cifar.speed.inductor_passes import Rewrites, quick_expm1


def compiled(function: Callable[..., Any], *arguments: Any) -> tuple[Any, str]:
    """What the function gives, compiled with the rewrites, and its code."""
    torch.compiler.reset()
    options = {"post_grad_custom_post_pass": Rewrites()}
    given, [code] = run_and_get_code(torch.compile(function, dynamic=False, options=options), *arguments)
    return given, code


def test_quick_expm1_is_exact_to_two_units_in_the_last_place() -> None:
    generator = torch.Generator().manual_seed(0)
    near_zero = torch.randn(100_000, generator=generator) * 10.0 ** torch.randint(
        -30, 0, (100_000,), generator=generator
    )
    x = torch.cat([torch.linspace(-110, 88, 1_000_001), torch.linspace(-1, 1, 1_000_001), near_zero])
    exact = x.double().expm1()
    error = (quick_expm1(x).double() - exact).abs() / exact.abs().clamp(min=1e-37)
    assert error.max() < 2 * torch.finfo(torch.float32).eps


def test_quick_expm1_knows_the_ends_of_the_numbers() -> None:
    ends = torch.tensor([-torch.inf, torch.inf, torch.nan, 0.0])
    torch.testing.assert_close(quick_expm1(ends), torch.expm1(ends), rtol=0, atol=0, equal_nan=True)


@pytest.mark.compiles
@pytest.mark.parametrize(("dtype", "rewritten"), [(torch.float32, True), (torch.float64, False)])
def test_expm1_is_rewritten_in_single_precision_only(dtype: torch.dtype, rewritten: bool) -> None:
    x = torch.linspace(-3, 3, 100, dtype=dtype)
    given, code = compiled(lambda x: x.expm1().sin(), x)
    torch.testing.assert_close(given, x.expm1().sin())
    assert ("abs()" in code) is rewritten


@pytest.mark.compiles
def test_biases_are_added_apart_unless_there_are_factors() -> None:
    inputs, weights, bias = torch.randn(8, 4), torch.randn(4, 6), torch.randn(6)
    given, code = compiled(lambda i, w, b: torch.addmm(b, i, w).sin(), inputs, weights, bias)
    torch.testing.assert_close(given, torch.addmm(bias, inputs, weights).sin())
    assert "extern_kernels.mm(" in code
    given, code = compiled(lambda i, w, b: torch.addmm(b, i, w, beta=2).sin(), inputs, weights, bias)
    torch.testing.assert_close(given, torch.addmm(bias, inputs, weights, beta=2).sin())
    assert "extern_kernels.addmm(" in code


def weight_gradients(errors: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    """As autograd finds them for dense layers: those of weights, then those of biases."""
    return [e.T @ i for e, i in zip(errors, inputs, strict=True)] + [e.sum(0, keepdim=True).view(-1) for e in errors]


def errors_and_inputs(layers: int, width: int) -> tuple[list[Tensor], list[Tensor]]:
    return [torch.randn(6, 5) for _ in range(layers)], [torch.randn(6, width) for _ in range(layers)]


@pytest.mark.compiles
@pytest.mark.parametrize(
    ("layers", "width", "products", "batched", "sums"),
    [
        (8, 4, 0, 1, 1),  # alike: together
        (3, 4, 3, 0, 3),  # too few to be dealt out
        (8, 13_200, 8, 0, 8),  # enough work each, and not whole blocks
        (2, 2048, 0, 2, 2),  # wide: in blocks of columns
    ],
)
def test_weight_gradients_are_found_together_or_in_blocks(
    layers: int, width: int, products: int, batched: int, sums: int
) -> None:
    errors, inputs = errors_and_inputs(layers, width)
    given, code = compiled(weight_gradients, errors, inputs)
    torch.testing.assert_close(given, weight_gradients(errors, inputs))
    assert all(gradient.is_contiguous() for gradient in given)
    assert [code.count(f"extern_kernels.{name}(") for name in ("mm", "bmm")] == [products, batched]
    assert len({gradient.untyped_storage().data_ptr() for gradient in given[layers:]}) == sums


@pytest.mark.compiles
def test_gradients_of_which_more_is_computed_are_found_at_once() -> None:
    errors, inputs = errors_and_inputs(8, 4)
    given, code = compiled(lambda e, i: [g * 2 for g in weight_gradients(e, i)], errors, inputs)
    torch.testing.assert_close(given, [g * 2 for g in weight_gradients(errors, inputs)])
    assert "bmm" not in code


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.compiles
@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(
    ("rows", "dtype", "products", "batched"),
    [
        (512, torch.float32, 0, 4),  # 256 for each thread
        (510, torch.float32, 4, 0),  # too few
        (513, torch.float32, 4, 0),  # an odd one out
        (512, torch.float64, 4, 0),
    ],
)
def test_threads_keep_to_their_own_rows(rows: int, dtype: torch.dtype, products: int, batched: int) -> None:
    def layer(x: Tensor, weights: Tensor, errors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return x @ weights.T @ weights, errors.T @ x, errors @ weights

    # whole numbers, whose sums are exact in any order
    arguments = [torch.randint(-3, 4, shape).to(dtype) for shape in ((rows, 7), (5, 7), (rows, 5))]
    given, code = compiled(layer, *arguments)
    torch.testing.assert_close(given, layer(*arguments), rtol=0, atol=0)
    assert all(result.is_contiguous() for result in given)
    assert [code.count(f"extern_kernels.{name}(") for name in ("mm", "bmm")] == [products, batched]
