"""What is rewritten in the graph of a compiled training step, where torch's own operations are slow."""

from __future__ import annotations

import torch
from torch import Tensor, fx
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch._inductor.pattern_matcher import Arg, CallFunction, Match, PatternMatcherPass, register_graph_pattern

aten = torch.ops.aten
_REWRITES = PatternMatcherPass()


class Rewrites(CustomGraphPass):
    """The rewrites of this file, as a pass for `torch.compile`."""

    def __call__(self, graph: fx.Graph) -> None:
        _REWRITES.apply(graph)

    def uuid(self) -> bytes:
        """The state of this file, by which torch's cache of compiled functions knows the pass."""
        return get_hash_for_files((__file__,))


def quick_expm1(x: Tensor) -> Tensor:
    """e^x - 1 in single precision, to within two units in the last place.

    On CPUs torch 2.15 calls a function of Sleef's, which takes two to seven times as long as its e^x. torch 2.10
    subtracts, as it is done here, but near 0, too, where little is left of a small number.
    """
    taylor = x * (1 / 5040) + 1 / 720
    for coefficient in (1 / 120, 1 / 24, 1 / 6, 1 / 2):
        taylor = taylor * x + coefficient
    return torch.where(x.abs() < 0.35, taylor * x * x + x, x.exp() - 1)  # far from 0 the subtraction loses little


def _add_after_product(bias: Tensor, inputs: Tensor, weights: Tensor) -> Tensor:
    return inputs @ weights + bias


def _is_plain(match: Match) -> bool:
    """Whether there are no factors of the summands."""
    return not match.output_node().kwargs


def _is_single_on_cpu(match: Match) -> bool:
    value = match.output_node().meta["val"]
    return bool(value.dtype == torch.float32 and value.device.type == "cpu")


@register_graph_pattern(CallFunction(aten.addmm.default, Arg(), Arg(), Arg()), _is_plain, pass_dict=_REWRITES)
def _biases_apart(match: Match, bias: fx.Node, inputs: fx.Node, weights: fx.Node) -> None:
    """Layers' biases are added where their activations are computed, not by the matrix product, which would start from
    copies of them. On GPUs torch does so by itself."""
    match.replace_by_example(_add_after_product, [bias, inputs, weights])


@register_graph_pattern(CallFunction(aten.expm1.default, Arg()), _is_single_on_cpu, pass_dict=_REWRITES)
def _expm1_by_exp(match: Match, x: fx.Node) -> None:
    """ELU and SELU are made of it."""
    match.replace_by_example(quick_expm1, [x])
