"""The logits, the loss and the totals of a batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, vmap

from lit_cifar.data.batches import Batch
from lit_cifar.training.metrics import totals

Network = Callable[[Tensor], Tensor]


def logits_of(network: Network, images: Tensor) -> Tensor:
    """Logits [B, classes] of images [B, C, H, W], at least in single precision, as losses need."""
    logits = network(images)
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def loss_and_totals(network: Network, batch: Batch) -> tuple[Tensor, Tensor]:
    """A batch's mean loss, and its totals [3] as `lit_cifar.training.metrics.totals` has them.

    A stack of replicas (`lit_cifar.replicas`) takes images [R, B, C, H, W] and labels [R, B]. Its loss is the sum of
    the replicas' mean losses, so that each replica gets the gradients it would get alone; its totals are [R, 3].
    """
    images, labels = batch
    logits = logits_of(network, images)
    if labels.dim() == 1:
        return _loss_and_totals(logits, labels)
    losses, found = vmap(_loss_and_totals)(logits, labels)
    return losses.sum(), found


def _loss_and_totals(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    loss = F.cross_entropy(logits, labels)
    return loss, totals(loss.detach(), logits.detach(), labels)
