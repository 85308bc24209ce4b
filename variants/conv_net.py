from collections import OrderedDict

from torch import nn

from variants import Scaling, Variant, at_least, probability, register


@register
class ConvNet(Variant):
    """A small convolutional network: strided convolutions in place of pooling, batch normalization, ReLU.

    Args:
        stages: Number of stages, each of two 3x3 convolutions, the first of which halves height and width.
        channels: Channels of the first stage; every further stage has twice as many.
        rate: Probability that a feature is dropped before the output layer.
        scaling: How pixels are scaled before they reach the network.
    """

    learning_rate = 1.1e-3
    reference = "Springenberg et al. 2015, arXiv:1412.6806; Ioffe and Szegedy 2015, arXiv:1502.03167"

    def __init__(
        self, *, stages: int = 3, channels: int = 16, rate: float = 0.2, scaling: Scaling = "standardize"
    ) -> None:
        super().__init__(scaling=scaling)
        self.stages = at_least("stages", stages, 1)
        self.channels = at_least("channels", channels, 1)
        self.rate = probability("rate", rate)

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        inputs = image_shape[0]
        for stage in range(self.stages):
            outputs = self.channels * 2**stage
            layers[f"conv_{2 * stage + 1:02d}"] = _convolution(inputs, outputs, stride=2)
            layers[f"conv_{2 * stage + 2:02d}"] = _convolution(outputs, outputs, stride=1)
            inputs = outputs
        layers["pool"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        layers["output"] = nn.Sequential(nn.Dropout(self.rate), nn.Linear(inputs, num_classes))
        return nn.Sequential(layers)


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Module:
    """A 3x3 convolution, He-initialized, normalized and rectified; without a bias, which normalization would undo."""
    convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
