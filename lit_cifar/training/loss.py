"""The logits, the loss and the totals of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn, vmap

from lit_cifar.data.batches import Batch
from lit_cifar.speed.compiled_step import LossFunction
from lit_cifar.training.metrics import totals
from lit_cifar.utils.errors import UserError
from variants import Variant

Network = Callable[[Tensor], Tensor]

Loss = Callable[[Tensor, Tensor], Any]
"""Takes logits [B, classes] and labels [B], or class probabilities [B, classes] where images are mixed. Returns the
batch's mean loss, or named terms whose sum is that loss."""


def logits_of(network: Network, images: Tensor) -> Tensor:
    """Logits [B, classes] of images [B, C, H, W], at least in single precision, as losses need."""
    logits = network(images)
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def loss_and_totals(network: Network, batch: Batch, loss: Loss = F.cross_entropy) -> tuple[Tensor, Tensor]:
    """A batch's mean loss, and its totals [3 + terms] as `lit_cifar.training.metrics.totals` has them.

    A stack of replicas (`lit_cifar.replicas`) takes images [R, B, C, H, W] and labels [R, B]. Its loss is the sum of
    the replicas' mean losses, so that each replica gets the gradients it would get alone; its totals are
    [R, 3 + terms].
    """
    images, labels = batch
    logits = logits_of(network, images)
    if labels.is_floating_point():  # class probabilities
        labels = labels.to(logits.dtype)
    if logits.dim() == 2:
        return _loss_and_totals(loss, logits, labels)
    losses, found = vmap(partial(_loss_and_totals, loss))(logits, labels)
    return losses.sum(), found


def _loss_and_totals(loss: Loss, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    total, terms = _total_and_terms(loss(logits, labels))
    return total, totals(total.detach(), logits.detach(), labels, [term.detach() for term in terms.values()])


def _total_and_terms(found: Tensor | Mapping[str, Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
    if isinstance(found, Tensor):
        return found, {}
    return torch.stack(list(found.values())).sum(), found


def training_loss(loss: Loss | None, variant: Variant) -> LossFunction:
    """What a training step computes: of the given loss, or else of the variant's own."""
    if loss is None and type(variant).loss is Variant.loss:
        return loss_and_totals  # the same function for all, so that they share compiled code
    return partial(loss_and_totals, loss=loss or variant.loss)


def loss_in(function: LossFunction) -> Loss:
    """The loss that `training_loss` was made with."""
    loss: Loss = function.keywords["loss"] if isinstance(function, partial) else F.cross_entropy
    return loss


def check_loss(loss: Loss, classes: int, *, soft: bool) -> tuple[str, ...]:
    """Try a loss on two made-up images.

    Args:
        loss: The loss.
        classes: Number of classes.
        soft: Whether labels are class probabilities.

    Returns:
        The names of its terms; none where it is one number.

    Raises:
        UserError: if it has parameters, fails, or doesn't give a mean loss that depends on the logits.
    """
    if isinstance(loss, nn.Module) and any(True for _ in loss.parameters()):
        raise UserError(
            f"loss={_name(loss)} has parameters, which aren't trained: put them into the variant's network."
        )
    logits, labels = torch.zeros(2, classes, requires_grad=True), torch.arange(2) % classes
    kind = f"logits [2, {classes}] and {'class probabilities' if soft else 'labels'} {[2, classes] if soft else [2]}"
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            total, terms = _total_and_terms(loss(logits, F.one_hot(labels, classes).float() if soft else labels))
            is_mean = total.dim() == 0 and total.requires_grad
    except Exception as error:  # anybody's code
        raise UserError(f"loss={_name(loss)} fails for {kind}: {' '.join(str(error).split()):.200}") from error
    if not is_mean:
        raise UserError(f"loss={_name(loss)} must return one number that depends on the logits, as cross_entropy does.")
    return tuple(terms)


def _name(loss: Loss) -> str:
    return getattr(loss, "__name__", type(loss).__name__)
