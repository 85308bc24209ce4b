from collections.abc import Sequence

from torch import nn

from variants import DenseVariant, register


@register
class ELU(DenseVariant):
    """ELU activations on He-initialized weights: the exercise's baseline."""

    learning_rate = 2.3e-4
    reference = "Clevert et al. 2016, arXiv:1511.07289; He et al. 2015, arXiv:1502.01852"

    def hidden_block(self, dense: nn.Linear, index: int) -> Sequence[nn.Module]:
        return [dense, nn.ELU(inplace=True)]
