"""Rewritten graphs compute what they did before."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._inductor.utils import run_and_get_code

from lit_cifar.graph_rewrites import Rewrites, quick_expm1


def compiled(function: Callable[..., Tensor], *arguments: Tensor) -> tuple[Tensor, str]:
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
