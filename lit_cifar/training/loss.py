"""The logits, the loss and the totals of a batch."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn, vmap

from lit_cifar.data.batches import Batch
from lit_cifar.speed.compiled_step import LossFunction
from lit_cifar.training.metrics import totals
from lit_cifar.utils.errors import UserError
from variants import Variant

Network = Callable[[Tensor], Any]
"""Takes images [B, C, H, W] and returns logits [B, classes]. In training mode it may return a pair: logits, and extra
tensors by name."""

Extra = Mapping[str, Tensor]
"""What a network returns beside logits in training mode. The loss gets those that it has keyword-only parameters for;
the others must be single numbers, such as penalties on weights, and are added to the loss."""

Loss = Callable[..., Any]
"""Takes logits [B, classes] and labels [B], or class probabilities [B, classes] where images are mixed, and by name
what the network returns beside the logits. Returns the batch's mean loss, or named terms whose sum is that loss."""

MAIN = "main"
"""Name of the loss itself among the terms, where a network adds penalties to a loss without named terms."""


def outputs_of(network: Network, images: Tensor) -> tuple[Tensor, Extra]:
    """Logits [B, classes] of images [B, C, H, W], at least in single precision as losses need, and extra tensors."""
    found = network(images)
    logits, extra = found if isinstance(found, tuple) else (found, {})
    return logits.to(torch.promote_types(logits.dtype, torch.float32)), extra


def logits_of(network: Network, images: Tensor) -> Tensor:
    """Logits [B, classes] of images [B, C, H, W], at least in single precision."""
    return outputs_of(network, images)[0]


def loss_and_totals(
    network: Network, batch: Batch, loss: Loss = F.cross_entropy, takes: tuple[str, ...] = ()
) -> tuple[Tensor, Tensor]:
    """A batch's mean loss, and its totals [3 + terms] as `lit_cifar.training.metrics.totals` has them.

    A stack of replicas (`lit_cifar.replicas`) takes images [R, B, C, H, W] and labels [R, B]. Its loss is the sum of
    the replicas' mean losses, so that each replica gets the gradients it would get alone; its totals are
    [R, 3 + terms].

    Args:
        network: The network, in training mode.
        batch: Images and labels.
        loss: The loss.
        takes: Names of the network's extra tensors that the loss takes.
    """
    images, labels = batch
    logits, extra = outputs_of(network, images)
    if labels.is_floating_point():  # class probabilities
        labels = labels.to(logits.dtype)
    if logits.dim() == 2:
        return _loss_and_totals(loss, takes, logits, labels, extra)
    losses, found = vmap(partial(_loss_and_totals, loss, takes))(logits, labels, dict(extra))
    return losses.sum(), found


def _loss_and_totals(
    loss: Loss, takes: tuple[str, ...], logits: Tensor, labels: Tensor, extra: Extra
) -> tuple[Tensor, Tensor]:
    total, terms = _total_and_terms(loss, takes, logits, labels, extra)
    return total, totals(total.detach(), logits.detach(), labels, [term.detach() for term in terms.values()])


def _total_and_terms(
    loss: Loss, takes: tuple[str, ...], logits: Tensor, labels: Tensor, extra: Extra
) -> tuple[Tensor, Mapping[str, Tensor]]:
    found = loss(logits, labels, **{name: extra[name] for name in takes if name in extra})
    penalties = {name: value for name, value in extra.items() if name not in takes}
    if isinstance(found, Tensor):
        if not penalties:
            return found, {}
        found = {MAIN: found}
    terms = {**found, **penalties}
    return torch.stack(list(terms.values())).sum(), terms


def taken_by(loss: Loss) -> tuple[str, ...]:
    """Names of the extra tensors that a loss takes: its keyword-only parameters."""
    function = loss.forward if isinstance(loss, nn.Module) else loss
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a function that isn't written in Python
        return ()
    return tuple(parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY)


def extra_of(network: nn.Module, images: Tensor) -> Extra:
    """The values that a network returns in training mode beside logits. The network's state doesn't change.

    Args:
        network: The network, or a stack of R networks.
        images: A few images [B, C, H, W], or [R, B, C, H, W].

    Returns:
        The extra tensors; those of a stack are its first network's.

    Raises:
        UserError: If it returns anything but logits, or a pair of logits and a dictionary of tensors.
    """
    trial = copy.deepcopy(network).train()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        found = trial(images)
    if isinstance(found, Tensor):
        return {}
    pair = found if isinstance(found, tuple) and len(found) == 2 else (found, None)
    if not (isinstance(pair[0], Tensor) and isinstance(pair[1], Mapping)):
        raise UserError(
            f"In training mode the network returns a {type(found).__name__}: return logits, or a pair of logits and a "
            "dictionary of tensors for the loss."
        )
    return {name: value[0] if images.dim() == 5 else value for name, value in pair[1].items()}


def training_loss(loss: Loss | None, variant: Variant) -> LossFunction:
    """The function that a training step computes, from the given loss or the variant's own."""
    if loss is None and type(variant).loss is Variant.loss:
        return loss_and_totals  # the same function for all, so that they share compiled code
    chosen = loss or variant.loss
    return partial(loss_and_totals, loss=chosen, takes=taken_by(chosen))


def loss_in(function: LossFunction) -> Loss:
    """The loss that `training_loss` was made with."""
    loss: Loss = function.keywords["loss"] if isinstance(function, partial) else F.cross_entropy
    return loss


def check_loss(loss: Loss, classes: int, *, soft: bool, extra: Extra = MappingProxyType({})) -> tuple[str, ...]:
    """Try a loss on two made-up images.

    Args:
        loss: The loss.
        classes: Number of classes.
        soft: Whether labels are class probabilities.
        extra: Values that the network returns for two images beside logits.

    Returns:
        The names of its terms; none where it is one number.

    Raises:
        UserError: if it has parameters, fails, or doesn't give a mean loss that depends on the logits.
    """
    if isinstance(loss, nn.Module) and any(True for _ in loss.parameters()):
        raise UserError(
            f"loss={_name(loss)} has parameters, which aren't trained: put them into the variant's network."
        )
    takes = taken_by(loss)
    unused = [name for name, value in extra.items() if name not in takes and value.numel() != 1]
    if unused:
        raise UserError(
            f"The network returns {', '.join(unused)} for the loss, which loss={_name(loss)} doesn't take: give the "
            f"loss a keyword-only parameter `{unused[0]}`, or return one number to be added to the loss."
        )
    logits, labels = torch.zeros(2, classes, requires_grad=True), torch.arange(2) % classes
    kind = f"logits [2, {classes}] and {'class probabilities' if soft else 'labels'} {[2, classes] if soft else [2]}"
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            targets = F.one_hot(labels, classes).float() if soft else labels
            total, terms = _total_and_terms(loss, takes, logits, targets, extra)
            is_mean = total.dim() == 0 and total.requires_grad
    except Exception as error:  # user code may raise anything
        raise UserError(f"loss={_name(loss)} fails for {kind}: {' '.join(str(error).split()):.200}") from error
    if not is_mean:
        raise UserError(f"loss={_name(loss)} must return one number that depends on the logits, as cross_entropy does.")
    return tuple(terms)


def _name(loss: Loss) -> str:
    return getattr(loss, "__name__", type(loss).__name__)
