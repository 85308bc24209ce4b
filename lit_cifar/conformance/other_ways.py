"""Checks that other ways to train and load give what the plain way gives: compiled, in a stack, in another process."""

from __future__ import annotations

import multiprocessing
import pickle
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

import variants
from lit_cifar.conformance.hyperparameters import save
from lit_cifar.conformance.networks import ConformanceError, classifier, images_of, labels_of, network, require, seeded
from lit_cifar.replicas.network import NotStackableError, StackedNetwork
from lit_cifar.speed.compiled_step import CompiledGradients, LossFunction
from lit_cifar.training.loss import training_loss
from lit_cifar.training.module import LitClassifier
from variants import Variant

Gradients = Mapping[str, Tensor | None]


def trains_compiled_as_eager(variant_class: type[Variant]) -> None:
    """Where `torch.compile` takes it, the compiled training step gives the gradients of the plain one."""
    variant = variant_class()
    built, loss_function = network(variant).double(), training_loss(None, variant)
    batch = (images_of(20), labels_of(20))
    try:
        compiled = CompiledGradients(built, loss_function, batch)
    except Exception:  # noqa: BLE001 - compilers fail in many ways, and training works without
        return
    expected = _gradients(built, batch, loss_function)
    with seeded(0):
        _, _, found = compiled(batch)
    names = [name for name, _ in built.named_parameters()]
    _require_equal("the compiled step", dict(zip(names, (gradient for _, gradient in found), strict=True)), expected)


def trains_in_a_stack_as_alone(variant_class: type[Variant]) -> None:
    """Where `torch.func` takes it, networks that are trained as one stack get the gradients they get alone."""
    variant = variant_class()
    networks, loss_function = [network(variant, seed=seed).double() for seed in (0, 1)], training_loss(None, variant)
    batch = (images_of(20), labels_of(20))
    if _is_random(networks[0], batch, loss_function):
        for built in networks:  # in a stack, random numbers are drawn in another order
            built.eval()
    with _without_fused_attention():
        expected = [_gradients(built, batch, loss_function) for built in networks]
        try:
            stacked = _gradients_of_stack(networks, batch, loss_function)
        except (NotStackableError, RuntimeError):  # such networks are trained one by one
            return
    for index, alone in enumerate(expected):
        found = dict(zip(alone, (None if g is None else g[index] for g in stacked), strict=True))
        _require_equal("a stack", found, alone)


def _gradients_of_stack(
    networks: list[nn.Module], batch: tuple[Tensor, Tensor], loss_function: LossFunction
) -> list[Tensor | None]:
    with warnings.catch_warnings():  # of operations that vmap runs one network at a time
        warnings.simplefilter("ignore")
        stack = StackedNetwork(networks, seeds=[0, 1])
        loss, _ = loss_function(stack, (torch.stack([batch[0]] * 2), torch.stack([batch[1]] * 2)))
        loss.backward()
    return [p.grad for p in stack.parameters()]


@contextmanager
def _without_fused_attention() -> Iterator[None]:
    """Inside, torch's transformer layers in evaluation mode use operations that have gradients."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def works_in_another_process(variant_class: type[Variant]) -> None:
    """Another process can be sent it, and loads its checkpoint with the same logits."""
    model = classifier(variant_class()).eval()
    try:
        pickle.loads(pickle.dumps(model.variant))  # noqa: S301 - made right here
    except Exception as error:
        reason = variants.describe(error)
        raise ConformanceError(
            f"it can't be pickled ({reason}): define its class at the top level of a module"
        ) from error
    with tempfile.TemporaryDirectory() as folder, seeded(0):
        path = Path(folder, "model.ckpt")
        save(model, path)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            logits = pool.submit(_logits_of_checkpoint, str(path), model.variant).result()
    same = torch.allclose(torch.tensor(logits), model(images_of(4)), atol=1e-5)
    require(same, "the checkpoint gives other logits in another process: keep all state in parameters and buffers")


def _logits_of_checkpoint(path: str, variant: Variant) -> list[list[float]]:
    logits: list[list[float]] = LitClassifier.load_from_checkpoint(path, variant=variant).eval()(images_of(4)).tolist()
    return logits


def _is_random(built: nn.Module, batch: tuple[Tensor, Tensor], loss_function: LossFunction) -> bool:
    one, other = (_gradients(built, batch, loss_function, seed=seed) for seed in (0, 1))
    pairs = zip(one.values(), other.values(), strict=True)
    return any(first is not None and second is not None and not torch.equal(first, second) for first, second in pairs)


def _gradients(
    built: nn.Module, batch: tuple[Tensor, Tensor], loss_function: LossFunction, *, seed: int = 0
) -> Gradients:
    built.zero_grad()
    buffers = {name: buffer.clone() for name, buffer in built.named_buffers()}
    with seeded(seed):
        loss_function(built, batch)[0].backward()
    for name, buffer in built.named_buffers():
        buffer.copy_(buffers[name])
    return {name: None if p.grad is None else p.grad.clone() for name, p in built.named_parameters()}


def _require_equal(way: str, found: Gradients, expected: Gradients) -> None:
    scale = max((g.abs().max().item() for g in expected.values() if g is not None), default=1.0)
    for name, gradient in expected.items():
        other = found.get(name)
        zero = gradient is None or not gradient.any()
        same = zero if other is None else gradient is not None and torch.allclose(other, gradient, atol=1e-6 * scale)
        require(same, f"{way} gives another gradient of {name}: use torch's operations only, and no state of your own")
