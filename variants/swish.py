from collections.abc import Sequence

from torch import nn

from variants import DenseVariant, register


@register
class Swish(DenseVariant):
    """Swish (SiLU) activations on He-initialized weights."""

    learning_rate = 1.7e-4
    reference = "Ramachandran et al. 2017, arXiv:1710.05941; He et al. 2015, arXiv:1502.01852"

    def hidden_block(self, dense: nn.Linear, index: int) -> Sequence[nn.Module]:
        return [dense, nn.SiLU()]
