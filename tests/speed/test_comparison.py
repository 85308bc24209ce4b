"""A compiled step is only used if its gradients are those of the eager step."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from lit_cifar.speed.compiled_step import CompiledGradients
from lit_cifar.training.loss import loss_and_totals

pytestmark = pytest.mark.compiles


class _Otherwise(nn.Linear):
    """Gives other logits where it is compiled."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.flatten(1)) * (1.01 if torch.compiler.is_compiling() else 1.0)


def test_a_step_that_gives_other_gradients_is_not_used() -> None:
    with pytest.raises(ValueError, match=r"its gradient of weight isn't that of the eager step"):
        CompiledGradients(_Otherwise(3072, 10), loss_and_totals, (torch.rand(4, 3, 32, 32), torch.arange(4)))


class _DropsTransposed(nn.Linear):
    """Drops units of a tensor that isn't contiguous, as torch's transformer layers do."""

    def forward(self, images: Tensor) -> Tensor:
        return F.dropout(super().forward(images.flatten(2).mT).transpose(0, 1), 0.5, self.training).mean(0)


@pytest.mark.slow
def test_dropout_of_a_tensor_that_is_not_contiguous_is_equal_or_refused() -> None:
    """On some processors eager torch draws in the order of memory, which the compiled step doesn't."""
    network, batch = _DropsTransposed(3, 10), (torch.rand(4, 3, 32, 32), torch.arange(4))
    torch.manual_seed(0)
    by_index = F.dropout(torch.ones(8, 16))
    torch.manual_seed(0)
    if not torch.equal(F.dropout(torch.ones(16, 8).mT), by_index):
        with pytest.raises(ValueError, match="isn't that of the eager step"):
            CompiledGradients(network, loss_and_totals, batch)
        return
    compiled = CompiledGradients(network, loss_and_totals, batch)
    torch.manual_seed(0)
    _, _, gradients = compiled(batch)
    torch.manual_seed(0)
    loss_and_totals(network, batch)[0].backward()
    for parameter, gradient in gradients:
        torch.testing.assert_close(gradient, parameter.grad)
