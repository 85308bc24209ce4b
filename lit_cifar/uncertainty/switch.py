"""Applies masks to everything that a network may call as dropout: layers, functions, attention, recurrent networks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeGuard

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lit_cifar.uncertainty.masks import Draw, Masks
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.module_hooks import count_forward_hooks

ELEMENTWISE = (nn.Dropout, nn.AlphaDropout)
CHANNELWISE = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.FeatureAlphaDropout)
DropoutLayer: TypeAlias = (
    nn.Dropout | nn.AlphaDropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d | nn.FeatureAlphaDropout
)
SWITCH_HOOKS = 2
"""Number of hooks that a dropout layer has while it is switched on: `before_layer` and `after_layer`."""
_ALPHA = (nn.AlphaDropout, nn.FeatureAlphaDropout)
_UNBATCHED = {nn.Dropout1d.forward: 2, nn.Dropout3d.forward: 4}
"""Number of input dimensions for which a layer takes the first one for its channels: it then drops whole rows."""

_LAYERS: Mapping[Any, type[DropoutLayer]] = {
    F.dropout: nn.Dropout,
    F.alpha_dropout: nn.AlphaDropout,
    F.dropout1d: nn.Dropout1d,
    F.dropout2d: nn.Dropout2d,
    F.dropout3d: nn.Dropout3d,
    F.feature_alpha_dropout: nn.FeatureAlphaDropout,
}
"""The layer that does what a function does."""

_RECURRENT: Mapping[str, Callable[..., Any]] = {
    "LSTM": torch.lstm,
    "GRU": torch.gru,
    "RNN_TANH": torch.rnn_tanh,
    "RNN_RELU": torch.rnn_relu,
}

_SELU_FLOOR = -1.7580993408473766
"""The limit of SELU for large negative inputs, which alpha dropout gives to a dropped unit."""


def is_dropout(module: nn.Module) -> TypeGuard[DropoutLayer]:
    """Whether a module is one of torch's dropout layers or of a subclass."""
    return any(kind.__module__ == nn.Dropout.__module__ for kind in type(module).__mro__)


class Switch:
    """Applies masks after modules that drop nothing in evaluation mode. Its methods are forward hooks."""

    def __init__(self, masks: Masks) -> None:
        self._masks = masks
        self.inside_layer = False
        self.select(range(1), range(0))

    def select(self, samples: range, images: range) -> None:
        """State what the rows of the next forward pass are: all images for the first sample, then for the next one."""
        self._samples, self._images, self.calls = samples, images, 0

    def before_layer(self, layer: nn.Module, inputs: object) -> None:
        """A forward pre-hook for dropout layers."""
        self.inside_layer = True

    def after_layer(self, layer: DropoutLayer, inputs: object, x: Tensor) -> Tensor:
        """A forward hook for dropout layers, which drops units of their output."""
        self.inside_layer = False
        return self.drop(layer, x)

    def after_attention(
        self, layer: nn.MultiheadAttention, args: tuple[Any, ...], kwargs: dict[str, Any], output: object
    ) -> tuple[Tensor, Tensor | None]:
        """A forward hook for attention, which drops attention weights."""
        bound = inspect.signature(layer.forward).bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        _, weights = layer.forward(**{**given, "need_weights": True, "average_attn_weights": False})
        if weights is None or weights.dim() != 4:
            raise UserError("nn.MultiheadAttention was given a sequence without a batch: its dropout can't be sampled.")
        weights = self.drop(nn.Dropout(layer.dropout), weights)  # [B, heads, L, S]
        attended = layer.out_proj((weights @ _values(layer, given["value"])).transpose(1, 2).flatten(2))
        attended = attended if layer.batch_first else attended.transpose(0, 1)
        if not given["need_weights"]:
            return attended, None
        return attended, weights.mean(1) if given["average_attn_weights"] else weights

    def after_recurrent(
        self, layer: nn.RNNBase, args: tuple[Any, ...], kwargs: dict[str, Any], output: tuple[Any, Any]
    ) -> tuple[Tensor, Any]:
        """A forward hook for recurrent networks, which drops units between their layers."""
        bound = inspect.signature(layer.forward).bind(*args, **kwargs)
        bound.apply_defaults()
        x, states = bound.arguments["input"], bound.arguments["hx"]
        if not isinstance(x, Tensor) or x.dim() != 3:
            raise UserError(
                f"nn.{layer.mode.partition('_')[0]} was given a packed sequence or one without a batch: the dropout "
                "between its layers can't be sampled. Give a padded batch."
            )
        if states is None:
            states = output[1]
            states = tuple(map(torch.zeros_like, states)) if isinstance(states, tuple) else torch.zeros_like(states)
        return self._layer_by_layer(layer, x, states)

    def _layer_by_layer(self, recurrent: nn.RNNBase, x: Tensor, states: Any) -> tuple[Tensor, Any]:
        directions, last = 1 + recurrent.bidirectional, recurrent.num_layers - 1
        is_lstm, finals = isinstance(states, tuple), []
        for index in range(recurrent.num_layers):
            rows = slice(index * directions, (index + 1) * directions)
            before = tuple(state[rows] for state in states) if is_lstm else states[rows]
            weights = [weight for group in recurrent.all_weights[rows] for weight in group]
            options = (recurrent.bias, 1, 0.0, False, recurrent.bidirectional, recurrent.batch_first)
            x, *after = _RECURRENT[recurrent.mode](x, before, weights, *options)
            finals.append(after)
            if index < last:
                batch = 0 if recurrent.batch_first else 1
                x = self.drop(nn.Dropout(recurrent.dropout), x.transpose(0, batch)).transpose(0, batch)
        found = tuple(torch.cat(kind) for kind in zip(*finals, strict=True))
        return x, found if is_lstm else found[0]

    def drop(self, layer: DropoutLayer, x: Tensor) -> Tensor:
        """The output of the layer for x [rows, ...] in training mode, with our masks."""
        rows = len(self._samples) * len(self._images)
        if not rows or len(x) % rows:
            raise UserError(
                f"{layer} was given a tensor of shape {list(x.shape)} for {rows} images: a dropout layer's first "
                "dimension must be the images. Use layers with batch_first=True, or move the images to the front."
            )
        folded = x.reshape(len(self._samples), len(self._images), len(x) // rows, *x.shape[1:])
        return _dropped(layer, folded, self._keep(layer, x, len(x) // rows)).reshape(x.shape)

    def linear(self, linear: nn.Linear, layer: DropoutLayer, x: Tensor) -> Tensor:
        """`linear(layer(x))` [samples * N, C] of every sample, for images [N, units] that the samples share.

        Either the images or, with shared masks, the masks multiply the weights, so no sample needs its own units.
        """
        keep = self._keep(layer, x, 1).flatten(2)
        scale, floor, shift = affine(layer)
        kept = (x - floor) * scale
        if keep.shape[1] == 1:
            logits = kept @ (keep * linear.weight).transpose(1, 2)
        else:
            logits = (keep.transpose(0, 1) @ (kept[:, None] * linear.weight).transpose(1, 2)).transpose(0, 1)
        constant = linear.weight.sum(1) * (scale * floor + shift)
        return (logits + (constant if linear.bias is None else constant + linear.bias)).flatten(0, 1)

    def _keep(self, layer: DropoutLayer, x: Tensor, rows_per_image: int) -> Tensor:
        shape = (rows_per_image, *_mask_shape(layer, x))
        draw = Draw(self.calls, layer.p, shape, self._samples, self._images, x.dtype, x.device)
        self.calls += 1
        return self._masks.keep(draw).to(x)


class FunctionalDropout(TorchFunctionMode):
    """Inside, a switch also applies its masks where a network calls `torch.nn.functional.dropout` and the like.

    Networks call them with `training=self.training`, so in evaluation mode they would drop nothing.
    """

    def __init__(self, switch: Switch) -> None:
        super().__init__()
        self._switch = switch
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        kind = _LAYERS.get(func)
        if kind is None or self._switch.inside_layer or not kwargs.get("p"):
            return func(*args, **kwargs)
        self.calls += 1
        x = self._switch.drop(kind(kwargs["p"]), args[0])
        return args[0].copy_(x) if kwargs.get("inplace") else x


def takes_masks(linear: nn.Linear, layer: DropoutLayer, x: Tensor) -> bool:
    """Whether `Switch.linear` gives what the two layers give. Hooks other than the switch's would not be called."""
    plain = type(linear) is nn.Linear and isinstance(layer, ELEMENTWISE) and 0 < layer.p < 1 and x.dim() == 2
    return plain and count_forward_hooks(linear) == 0 and count_forward_hooks(layer) == SWITCH_HOOKS


def _values(layer: nn.MultiheadAttention, value: Tensor) -> Tensor:
    """The projected values [B, heads, S, features] of attention."""
    value = value if layer.batch_first else value.transpose(0, 1)
    start = 2 * layer.embed_dim
    weight = layer.v_proj_weight if layer.in_proj_weight is None else layer.in_proj_weight[start:]
    values = F.linear(value, weight, None if layer.in_proj_bias is None else layer.in_proj_bias[start:])
    if layer.bias_v is not None:
        values = torch.cat([values, layer.bias_v.expand(len(values), 1, -1)], 1)
    if layer.add_zero_attn:
        values = F.pad(values, (0, 0, 0, 1))
    heads: Tensor = values.unflatten(2, (layer.num_heads, -1)).transpose(1, 2)
    return heads


def _mask_shape(layer: DropoutLayer, x: Tensor) -> tuple[int, ...]:
    """The shape of one row's mask."""
    if isinstance(layer, ELEMENTWISE):
        return tuple(x.shape[1:])
    whole_row = x.dim() == _UNBATCHED.get(type(layer).forward)
    return (1 if whole_row else x.shape[1], *(1 for _ in x.shape[2:]))


def affine(layer: DropoutLayer) -> tuple[float, float, float]:
    """Scale, floor and shift: in training mode the layer returns scale * (x or, where dropped, floor) + shift."""
    if not isinstance(layer, _ALPHA):
        return 1 / (1 - layer.p), 0.0, 0.0
    # Klambauer et al. 2017, arXiv:1706.02515: keeps mean 0 and variance 1
    scale = ((1 - layer.p) * (1 + layer.p * _SELU_FLOOR**2)) ** -0.5
    return scale, _SELU_FLOOR, -scale * layer.p * _SELU_FLOOR


def _dropped(layer: DropoutLayer, x: Tensor, keep: Tensor) -> Tensor:
    """Drop the units that aren't kept, as the layer does in training mode."""
    if layer.p == 1:
        return torch.zeros_like(x)
    scale, floor, shift = affine(layer)
    if not floor:
        return x * (keep * scale)
    return torch.addcmul((keep * (-scale * floor)).add_(scale * floor + shift), x, keep, value=scale)
