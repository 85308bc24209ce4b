import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from variants import register
from variants.dense import Dense
from variants.techniques import Activation, Normalization


class AutoencoderNetwork(nn.Sequential):
    """Hidden layers that learn from the reconstruction error of the images, not from their labels.

    Its parts are the encoder's layers, then `decoder` and `output`. `output` classifies the code, the encoder's output,
    but its gradient doesn't reach the encoder.
    """

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Mapping[str, Tensor]]:
        """Logits [B, classes] of scaled images [B, C, H, W]; in training mode also the mean squared error per pixel."""
        *encoder, decoder, output = self
        code = images
        for layer in encoder:
            code = layer(code)
        logits: Tensor = output(code.detach())
        if not self.training:
            return logits
        return logits, {"reconstruction": nn.functional.mse_loss(decoder(code), images.flatten(1))}


@register
class Autoencoder(Dense):
    """Hidden layers that learn to reconstruct the images, without labels: for unsupervised pretraining.

    The decoder mirrors the encoder. A linear output layer classifies the code; it is the only part that labels train.
    `lit_cifar.callbacks.ReuseLayers` gives the encoder's layers to a network of the same width.

    Args:
        depth: Number of hidden layers of the encoder; the decoder has one less.
        activation: Activation of the hidden layers; see `Dense`.
        normalization: Normalization in every hidden layer; see `Dense`.
        **dense: The other keywords of `Dense`.
    """

    learning_rate = 3e-3
    reference = "Hinton and Salakhutdinov 2006, Science 313:504; Bengio et al. 2006, NIPS 19:153"

    def __init__(
        self, *, depth: int = 10, activation: Activation = "elu", normalization: Normalization = "batch", **dense: Any
    ) -> None:
        super().__init__(depth=depth, activation=activation, normalization=normalization, **dense)

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        *encoder, output = super().build(image_shape, num_classes).named_children()
        decoder: list[nn.Module] = []
        for index in reversed(range(self.depth - 1)):
            decoder += self.hidden_block(self.dense_layer(self.width, self.width), index)
        decoder.append(self.dense_layer(self.width, math.prod(image_shape)))
        return AutoencoderNetwork(OrderedDict([*encoder, ("decoder", nn.Sequential(*decoder)), output]))
