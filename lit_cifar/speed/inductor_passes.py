"""Rewrites in the graph of a compiled training step, where torch's own operations are slow."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import torch
from torch import Tensor, fx
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch._inductor.pattern_matcher import Arg, CallFunction, Match, PatternMatcherPass, register_graph_pattern

FEW = 8
"""The least number of matrix products that pay as one batched product; fewer can't be shared evenly by threads."""
LARGE = 65_536
"""Number of weights of a layer from which on its gradient is enough work for all threads."""
BLOCK = 256
"""Columns of a wide gradient that one thread computes at a time."""
ROWS = 256
"""Rows of a batch per thread from which on each thread works on its own rows only, which are in its cache."""

aten = torch.ops.aten
_REWRITES = PatternMatcherPass()


class Rewrites(CustomGraphPass):
    """The rewrites of this file, as a pass for `torch.compile`."""

    def __call__(self, graph: fx.Graph) -> None:
        _REWRITES.apply(graph)
        _rearrange_weight_gradients(graph)
        _deal_out_rows(graph)

    def uuid(self) -> bytes:
        """The key of this pass in torch's cache of compiled functions."""
        return get_hash_for_files((__file__,), str(torch.get_num_threads()))


def quick_expm1(x: Tensor) -> Tensor:
    """e^x - 1 in single precision, to within two units in the last place.

    On CPUs torch 2.15 calls a function of Sleef that takes two to seven times as long as its e^x. torch 2.10 subtracts
    1, as here, but also near 0, where the subtraction loses most digits.
    """
    taylor = x * (1 / 5040) + 1 / 720
    for coefficient in (1 / 120, 1 / 24, 1 / 6, 1 / 2):
        taylor = taylor * x + coefficient
    return torch.where(x.abs() < 0.35, taylor * x * x + x, x.exp() - 1)  # far from 0 the subtraction loses few digits


def _add_after_product(bias: Tensor, inputs: Tensor, weights: Tensor) -> Tensor:
    return inputs @ weights + bias


def _is_plain(match: Match) -> bool:
    """Whether the summands have no factors."""
    return not match.output_node().kwargs


def _is_single_on_cpu(node: fx.Node) -> bool:
    value = _value(node)
    return bool(value.dtype == torch.float32 and value.device.type == "cpu")


def _gives_single_on_cpu(match: Match) -> bool:
    return _is_single_on_cpu(match.output_node())


@register_graph_pattern(CallFunction(aten.addmm.default, Arg(), Arg(), Arg()), _is_plain, pass_dict=_REWRITES)
def _biases_apart(match: Match, bias: fx.Node, inputs: fx.Node, weights: fx.Node) -> None:
    """Add biases where the activations are computed, not in the matrix product, which would first copy them.

    On GPUs torch does so itself.
    """
    match.replace_by_example(_add_after_product, [bias, inputs, weights])


@register_graph_pattern(CallFunction(aten.expm1.default, Arg()), _gives_single_on_cpu, pass_dict=_REWRITES)
def _expm1_by_exp(match: Match, x: fx.Node) -> None:
    """Replace expm1, which ELU and SELU use."""
    match.replace_by_example(quick_expm1, [x])


class _WeightGradient(NamedTuple):
    """The gradient [units, inputs] of a dense layer's weights: the product of `errors` [B, units], transposed, and
    `inputs` [B, inputs]. The errors are the gradient of the layer's sums."""

    product: fx.Node
    errors: fx.Node
    inputs: fx.Node


def _rearrange_weight_gradients(graph: fx.Graph) -> None:
    """Compute weight gradients, which no other operation waits for, in ways that use all threads.

    For small layers each thread uses its own rows, if it has enough of them; otherwise layers of the same shape are
    computed at the end by one batched product, which shares layers among threads. Wide layers are computed in blocks of
    columns.
    """
    alike: dict[object, list[_WeightGradient]] = defaultdict(list)
    for product in graph.find_nodes(op="call_function", target=aten.mm.default):
        transposed, inputs = product.args
        value = _value(product)
        if transposed.target is aten.permute.default and _is_only_result(product) and value.device.type == "cpu":
            gradient = _WeightGradient(product, transposed.args[0], inputs)
            alike[value.shape, len(_value(inputs)), value.dtype].append(gradient)
    for gradients in alike.values():
        units, width = _value(gradients[0].product).shape
        threads = _threads_for(gradients[0].inputs)
        if units * width < LARGE and threads > 1:
            for gradient in gradients:
                _add_up(graph, gradient, threads)
        elif units * width < LARGE and len(gradients) >= FEW:
            _batch(graph, gradients)
        elif width >= FEW * BLOCK and width % BLOCK == 0:
            for gradient in gradients:
                _divide(graph, gradient)


def _deal_out_rows(graph: fx.Graph) -> None:
    """Let each thread multiply the rows whose activations it computes; MKL may share rows differently."""
    call = graph.call_function
    for product in graph.find_nodes(op="call_function", target=aten.mm.default):
        rows, factor = product.args
        threads = _threads_for(rows)
        if threads > 1 and rows.target is not aten.permute.default:
            with graph.inserting_before(product):
                factors = call(aten.expand.default, (call(aten.unsqueeze.default, (factor, 0)), [threads, -1, -1]))
                found = call(aten.bmm.default, (_shares(graph, rows, threads), factors))
                _replace(graph, product, call(aten.reshape.default, (found, list(_value(product).shape))))


def _threads_for(rows: fx.Node) -> int:
    """The number of threads, if each has the same and a sufficient number of rows of a tensor [B, N]; else 1."""
    threads = torch.get_num_threads()
    share, rest = divmod(len(_value(rows)), threads)
    return threads if share >= ROWS and not rest and _is_single_on_cpu(rows) else 1


def _shares(graph: fx.Graph, rows: fx.Node, threads: int) -> fx.Node:
    """A tensor [B, N] as [threads, B / threads, N]."""
    return graph.call_function(aten.reshape.default, (rows, [threads, -1, _value(rows).shape[1]]))


def _add_up(graph: fx.Graph, gradient: _WeightGradient, threads: int) -> None:
    """Compute a gradient as the sum over each thread's rows."""
    call = graph.call_function
    with graph.inserting_before(gradient.product):
        errors = call(aten.permute.default, (_shares(graph, gradient.errors, threads), [0, 2, 1]))
        found = call(aten.bmm.default, (errors, _shares(graph, gradient.inputs, threads)))
        _replace(graph, gradient.product, call(aten.sum.dim_IntList, (found, [0])))


def _batch(graph: fx.Graph, gradients: list[_WeightGradient]) -> None:
    """Compute the gradients of layers of the same shape by one product, and those of their biases by one sum."""
    call = graph.call_function
    with graph.inserting_before(graph.output_node()):
        errors = _stack(graph, [gradient.errors for gradient in gradients])
        inputs = _stack(graph, [gradient.inputs for gradient in gradients])
        weights = call(aten.bmm.default, (call(aten.permute.default, (errors, [0, 2, 1])), inputs))
        biases = call(aten.sum.dim_IntList, (errors, [1]))
        for layer, gradient in enumerate(gradients):
            _replace(graph, gradient.product, call(aten.select.int, (weights, 0, layer)))
            for shaped in _bias_gradients(gradient.errors):
                _replace(graph, shaped, call(aten.select.int, (biases, 0, layer)))


def _stack(graph: fx.Graph, layers: list[fx.Node]) -> fx.Node:
    """Tensors [B, N] of L layers as one, [L, B, N]."""
    together = graph.call_function(aten.cat.default, (layers,))
    return graph.call_function(aten.view.default, (together, [len(layers), *_value(layers[0]).shape]))


def _bias_gradients(errors: fx.Node) -> list[fx.Node]:
    """The errors' sums over a batch, [units]."""
    sums = [user for user in errors.users if user.target is aten.sum.dim_IntList and user.args[1:] == ([0], True)]
    shaped = [user for total in sums for user in total.users]
    return [node for node in shaped if _is_only_result(node) and _value(node).dim() == 1]


def _divide(graph: fx.Graph, gradient: _WeightGradient) -> None:
    """Compute a product per block of columns: on AMD processors MKL shares a wide one badly among threads."""
    call = graph.call_function
    batch = len(_value(gradient.inputs))
    units, width = _value(gradient.product).shape
    blocks = width // BLOCK
    with graph.inserting_before(gradient.product):
        inputs = call(aten.reshape.default, (gradient.inputs, [batch, blocks, BLOCK]))
        inputs = call(aten.permute.default, (inputs, [1, 0, 2]))
        errors = call(aten.permute.default, (gradient.errors, [1, 0]))
        errors = call(aten.expand.default, (call(aten.unsqueeze.default, (errors, 0)), [blocks, units, batch]))
        found = call(aten.permute.default, (call(aten.bmm.default, (errors, inputs)), [1, 0, 2]))
        _replace(graph, gradient.product, call(aten.reshape.default, (found, [units, width])))


def _replace(graph: fx.Graph, node: fx.Node, by: fx.Node) -> None:
    by.meta["val"] = _value(node)
    node.replace_all_uses_with(by)
    graph.erase_node(node)


def _is_only_result(node: fx.Node) -> bool:
    """Whether no other node uses it."""
    return all(user.op == "output" for user in node.users)


def _value(node: fx.Node) -> Tensor:
    """A tensor with the shape and type of the node's result."""
    value: Tensor = node.meta["val"]
    return value
