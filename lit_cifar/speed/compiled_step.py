"""The training step compiled: loss and gradients from one function, in place of eager torch and autograd."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch._dynamo.exc import FailOnRecompileLimitHit
from torch.func import functional_call, grad_and_value

from lit_cifar.data.batches import Batch
from lit_cifar.speed.memory import arrange, keep_freed_memory, runs_of
from lit_cifar.utils.errors import UserError

WORTHWHILE = 5000
"""Steps of training in which compiling pays: it takes 5 to 40 seconds and saves 2 to 5 ms a step."""

UNCHANGING = re.compile(r"__import__\('torch'\)|G\['(?!__import_)|G\['__import_(torch|lit_cifar)(_dot_|'])")
"""What torch's guards call globals of this file, G['…'], and of torch and this package, G['__import_torch_dot_…']."""

Tensors = Mapping[str, Tensor]

LossFunction = Callable[[Callable[[Tensor], Tensor], Batch], tuple[Tensor, Tensor]]
"""Takes a network and a batch; returns the mean loss and the totals of the batch's metrics."""


def compile_training_step(
    model: LightningModule, network: nn.Module, loss_function: LossFunction, wanted: bool | Literal["auto"]
) -> CompiledGradients | None:
    """Compile a model's training step when its training starts; None where that isn't wanted or possible.

    Raises:
        UserError: it is wanted and not possible. With `auto` that is only said.
    """
    trainer = model.trainer
    if not wanted or (wanted == "auto" and _planned_steps(trainer) < WORTHWHILE):
        return None
    started = time.perf_counter()
    try:
        _check_possible(trainer)
        _say(trainer, "Compiling the training step: up to a minute (--model.compile false goes without) …")
        with trainer.precision_plugin.train_step_context():
            compiled = CompiledGradients(network, loss_function, _batch_to_come(trainer, model.device))
    except UserError:  # the user's second Ctrl-C
        raise
    except Exception as error:  # compilers fail in many ways, and training can do without
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        if wanted is True:
            raise UserError(f"The training step can't be compiled: {reason} Leave out --model.compile true.") from error
        _say(trainer, f"The training step isn't compiled: {reason}")
        return None
    _say(trainer, f"The training step was compiled in {time.perf_counter() - started:.0f} s.")
    return compiled


class CompiledGradients:
    """Loss and gradients of a network for batches of one size, by `torch.compile`.

    Forward and backward pass are traced together, so that neither autograd's graph nor a call of Python for each layer
    is left; on a GPU all of it is one CUDA graph. Random numbers are drawn as eager torch draws them: the gradients
    are the same, but for rounding.

    Args:
        network: Takes images and returns logits; in the mode and on the device in which it is to be trained.
        loss_function: A function at a module's top level, so that networks alike share what is compiled.
        batch: Images [B, C, H, W] and labels [B], of the size to come; nothing is learnt from them.

    Raises:
        Exception: torch can't compile this network here; it has many ways to say so.
    """

    def __init__(self, network: nn.Module, loss_function: LossFunction, batch: Batch) -> None:
        from lit_cifar.speed.inductor_passes import Rewrites  # takes a second, which other commands shouldn't wait for

        keep_freed_memory()
        self.labels_shape = batch[1].shape
        self._network = network
        self._loss_function = loss_function
        self._parameters = dict(network.named_parameters())
        self._written = _buffers_written_into(network, batch)
        options: dict[str, Any] = {
            "fallback_random": True,
            "guard_filter_fn": guards_to_check,
            "post_grad_custom_post_pass": Rewrites(),
        }
        if batch[1].is_cuda:
            options["triton.cudagraphs"] = True
        self._compiled = torch.compile(_gradients, fullgraph=True, dynamic=False, options=options)
        before = {name: buffer.clone() for name, buffer in self._written.items()}
        with _random_numbers_kept(batch):
            _, _, found = self(batch)
        if not batch[1].is_cuda:  # whose optimizers take all parameters at once wherever they lie
            _move_as_gradients(found)
        for name, buffer in self._written.items():
            buffer.copy_(before[name])

    @torch.no_grad()
    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor, Sequence[tuple[nn.Parameter, Tensor | None]]]:
        """A batch's mean loss, its totals [3], and each parameter with its gradient, None for frozen ones.

        The last gradients are given up first: their memory, which is still in the processor's caches, takes the new.
        """
        for p in self._parameters.values():
            p.grad = None
        torch.compiler.cudagraph_mark_step_begin()
        learning = {name: p for name, p in self._parameters.items() if p.requires_grad}
        arguments = self._network, self._loss_function, learning, self._written, batch
        try:
            loss, found, gradients = self._compiled(*arguments)
        except FailOnRecompileLimitHit:  # torch keeps 8 kinds of networks; the others can be had again from its files
            torch.compiler.reset()
            loss, found, gradients = self._compiled(*arguments)
        # Callbacks may keep losses; on a GPU the next step's is written to where this one was found.
        return loss.clone(), found, [(p, gradients.get(name)) for name, p in self._parameters.items()]


def guards_to_check(guards: Sequence[Any]) -> Sequence[bool]:
    """Which of the things that torch would look at before each step may have changed: all but what torch and this
    package define at their modules' top level."""
    return [not UNCHANGING.match(guard.name) for guard in guards]


def _buffers_written_into(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Those that a step of training changes, as batch normalization does; if it is frozen now, it may not stay so."""
    trial = copy.deepcopy(network).train()
    before = dict(trial.named_buffers())
    with _random_numbers_kept(batch), torch.no_grad():
        trial(batch[0])
    after = dict(trial.named_buffers())
    for name, buffer in before.items():
        if after.get(name) is not buffer:
            raise ValueError(f"the network replaces its buffer {name} instead of writing into it.")
    return {name: buffer for name, buffer in network.named_buffers() if not torch.equal(buffer, after[name])}


def _move_as_gradients(found: Sequence[tuple[nn.Parameter, Tensor | None]]) -> None:
    """Move parameters so that they follow one another in memory where their gradients, found together, do."""
    learning = [(p, gradient) for p, gradient in found if gradient is not None]
    arrange([p for p, _ in learning], runs_of([gradient for _, gradient in learning]))


def _random_numbers_kept(batch: Batch) -> AbstractContextManager[None]:
    """Leaves those to come, on the CPU and where the batch is, as if none had been drawn meanwhile."""
    labels = batch[1]
    return torch.random.fork_rng([labels.device] if labels.is_cuda else [])


def _gradients(
    network: nn.Module, loss_function: LossFunction, parameters: Tensors, written: Tensors, batch: Batch
) -> tuple[Tensor, Tensor, Tensors]:
    """A function of its arguments alone: networks alike share what is compiled."""

    def loss_of(parameters: Tensors) -> tuple[Tensor, tuple[Tensor, Tensors]]:
        buffers = {name: buffer.clone() for name, buffer in written.items()}
        state = {**parameters, **buffers}
        loss, found = loss_function(lambda images: functional_call(network, state, (images,)), batch)
        return loss, (found, buffers)

    gradients, (loss, (found, buffers)) = grad_and_value(loss_of, has_aux=True)(parameters)
    for name, buffer in buffers.items():
        written[name].copy_(buffer)
    return loss, found, gradients


def _planned_steps(trainer: Trainer) -> float:
    epochs, steps = trainer.max_epochs or -1, trainer.max_steps
    by_epochs = epochs * trainer.num_training_batches if epochs > 0 else float("inf")
    return min(by_epochs, steps if steps > 0 else float("inf"))


def _check_possible(trainer: Trainer) -> None:
    """Raise ValueError where autograd does more than to find gradients."""
    if trainer.world_size > 1:
        raise ValueError("several processes average their gradients while these are found.")
    if trainer.accumulate_grad_batches > 1:
        raise ValueError("gradients of several batches are added up (--trainer.accumulate_grad_batches).")
    if not (trainer.precision.endswith("-true") or trainer.precision == "bf16-mixed"):
        raise ValueError(f"--trainer.precision {trainer.precision} scales the loss on the way.")
    if torch.is_anomaly_enabled():
        raise ValueError("--trainer.detect_anomaly looks at every step of autograd.")


def _batch_to_come(trainer: Trainer, device: torch.device) -> Batch:
    """An example batch, used only for tracing."""
    images, labels = trainer.datamodule.example_batch()  # type: ignore[attr-defined]
    return images.to(device), labels.to(device)


def _say(trainer: Trainer, line: str) -> None:
    if trainer.progress_bar_callback is not None:
        trainer.progress_bar_callback.print(line)
    else:
        rank_zero_info(line)
