from collections.abc import Sequence

from torch import nn

from variants import register
from variants.swish import Swish


@register
class SwishBatchNorm(Swish):
    """Swish with batch normalization before every activation and before the output layer."""

    learning_rate = 2.3e-3
    reference = "Ramachandran et al. 2017, arXiv:1710.05941; Ioffe and Szegedy 2015, arXiv:1502.03167"

    def hidden_block(self, dense: nn.Linear, index: int) -> Sequence[nn.Module]:
        return [dense, nn.BatchNorm1d(dense.out_features), nn.SiLU()]

    def output_block(self, dense: nn.Linear) -> Sequence[nn.Module]:
        return [nn.BatchNorm1d(dense.in_features), dense]
