"""The autoencoder: its shape, what it minimizes, and that labels don't reach its hidden layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import variants
from tests.variants.layers import IMAGE_SHAPE


def network(**options: object) -> nn.Module:
    torch.manual_seed(0)
    return variants.get("Autoencoder")(**{"depth": 3, "width": 8, **options}).build(IMAGE_SHAPE, 10)  # type: ignore[arg-type]


def gradients(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    built = network().train()
    logits, penalties = built(images)
    (nn.functional.cross_entropy(logits, labels) + penalties["reconstruction"]).backward()
    return {name: p.grad for name, p in built.named_parameters() if p.grad is not None}


def test_the_decoder_mirrors_the_encoder() -> None:
    parts = dict(network().named_children())
    assert list(parts) == ["flatten", "hidden_01", "hidden_02", "hidden_03", "decoder", "output"]
    shapes = {
        name: [tuple(m.weight.shape) for m in part.modules() if isinstance(m, nn.Linear)]
        for name, part in parts.items()
    }
    assert shapes["decoder"] == [(8, 8), (8, 8), (3072, 8)]
    assert [type(m) for m in parts["decoder"]] == [nn.Linear, nn.BatchNorm1d, nn.ELU] * 2 + [nn.Linear]
    assert shapes["output"] == [(10, 8)]


def test_its_encoder_fits_the_batch_norm_network() -> None:
    other = variants.get("BatchNorm")(depth=5, width=8).build(IMAGE_SHAPE, 3)  # type: ignore[call-arg]
    other.hidden_03.load_state_dict(network().hidden_03.state_dict())


def test_labels_train_the_output_layer_alone() -> None:
    images = torch.randn(20, *IMAGE_SHAPE)
    one, other = (gradients(images, labels) for labels in (torch.arange(20) % 10, torch.arange(20) % 3))
    assert one.keys() == dict(network().named_parameters()).keys()
    changed = {name for name in one if not torch.equal(one[name], other[name])}
    assert changed == {"output.0.weight", "output.0.bias"}


def test_it_learns_to_reconstruct_images() -> None:
    """The images have three degrees of freedom: a code of eight units can hold them."""
    built = network(depth=2).train()
    factors = torch.randn(200, 3)
    images = (factors @ torch.randn(3, 3072)).view(-1, *IMAGE_SHAPE) / 3**0.5
    optimizer = torch.optim.NAdam(built.parameters(), lr=0.01)
    errors = []
    for _ in range(150):
        optimizer.zero_grad()
        error = built(images)[1]["reconstruction"]
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[0] > 0.8  # the mean image has an error of 1
    assert errors[-1] < 0.3
    assert isinstance(built.eval()(images), Tensor)
