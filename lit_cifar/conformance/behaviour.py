"""Checks of what a network computes and learns."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from lit_cifar.callbacks.layer_statistics import activation_statistics, layers
from lit_cifar.conformance.networks import classifier, images_of, labels_of, network, require, seeded
from lit_cifar.uncertainty import can_be_sampled, mc_predict, not_sampled
from lit_cifar.utils.listing import listed
from variants import Variant

STEPS = 50
BATCHES = 20


def builds_fresh_networks(variant_class: type[Variant]) -> None:
    """It builds a new network each time, with weights that depend on torch's seed alone."""
    one, same, other = (classifier(variant_class(), seed=seed).state_dict() for seed in (0, 0, 1))
    weights = [name for name in one if name.startswith("network.body.")]
    require(bool(weights), "the network has no weights: `build` must return layers with parameters")
    differing = [name for name in weights if not torch.equal(one[name], same[name])]
    require(not differing, f"equal seeds give different {listed(differing)}: use torch's random numbers only")
    changed = any(not torch.equal(one[name], other[name]) for name in weights)
    require(changed, "all seeds give the same weights: make new random ones in `build`, or keep none between calls")


def gives_logits(variant_class: type[Variant]) -> None:
    """It gives a finite logit for each image and class, for any number of either."""
    for count, classes in ((4, 10), (1, 3)):
        logits = classifier(variant_class(), classes=classes).eval().get_submodule("network")(images_of(count))
        require(
            isinstance(logits, Tensor),
            f"in evaluation mode it gives a {type(logits).__name__}, not a tensor: return the logits alone there; in "
            "training mode a dictionary of tensors for the loss may follow",
        )
        shape = list(logits.shape)
        wrong = f"{count} images and {classes} classes give logits of shape {shape}: make it `num_classes` wide"
        require(shape == [count, classes], wrong)
        require(bool(logits.isfinite().all()), "some logits are NaN or infinite: check the initialization")


def judges_images_one_by_one(variant_class: type[Variant]) -> None:
    """In evaluation mode the logits of an image depend on nothing but the image."""
    model, images = classifier(variant_class()).eval(), images_of(6)
    together, alone = model(images), torch.cat([model(image[None]) for image in images])
    moved = (together - alone).abs().max().item()
    equal = torch.allclose(together, alone, rtol=1e-3, atol=1e-4)
    require(equal, f"other images move logits by {moved:.2g}: use running statistics there, as BatchNorm does")
    again = torch.equal(model(images), together)
    require(again, "the same images give other logits: switch random parts off where `self.training` is false")


def learns_with_every_weight(variant_class: type[Variant]) -> None:
    """The gradients of a loss reach every weight, and are finite."""
    model, missing = classifier(variant_class()), [""]
    batch = (images_of(40), labels_of(40))
    for seed in range(BATCHES):  # a block may be skipped at random in some of them
        with seeded(seed):
            model.loss_function(model.built(), batch)[0].backward()
        missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
        if not missing:
            break
    require(not missing, f"no gradient reaches {listed(missing)}: use it in `forward`, or turn requires_grad off")
    wild = [name for name, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    require(not wild, f"the gradient of {listed(wild)} is NaN or infinite: check for 1 / 0, roots and logarithms of 0")


def lowers_its_loss(variant_class: type[Variant]) -> None:
    """Fifty steps at its own learning rate lower the loss on a small batch that is easy to learn."""
    model, batch = classifier(variant_class()), (images_of(40), labels_of(40))
    optimizer = model.optimizer(model.parameters(), model.learning_rate)
    losses = []
    with seeded(0):
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss, _ = model.loss_function(model.built(), batch)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    first, last = losses[0], sum(losses[-5:]) / 5
    rate = variant_class.learning_rate
    learned = f"the loss went from {first:.3f} to {last:.3f}: change learning_rate = {rate:g} (see lit-cifar lr-find)"
    require(last < 0.9 * first, learned)


def shows_its_layers(variant_class: type[Variant]) -> None:
    """Some of its named parts give tensors, with finite statistics."""
    model = classifier(variant_class())
    found = activation_statistics(model, images_of(40))
    parts = ", ".join(layers(model))
    require(bool(found), f"none of the parts {parts} gives a tensor: call the network's layers in `forward`")
    wild = [name for name, value in found.items() if not value.isfinite()]
    require(not wild, f"{listed(wild)} is NaN or infinite: check the initialization of that part")


def has_dropout_that_can_stay_on(variant_class: type[Variant]) -> None:
    """If it drops units, MC dropout samples all of it: samples of one image differ."""
    built = network(variant_class()).eval()
    if not (can_be_sampled(built, images_of(1)) or not_sampled(built)):
        return
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        samples = mc_predict(built, images_of(4), samples=4, keep_samples=True).samples
    require(samples is not None and bool(samples.std(0).any()), "all MC samples are equal: drop units in `forward`")
    off = [str(warning.message) for warning in said if "leaves these parts off" in str(warning.message)]
    require(not off, "".join(off[:1]))
