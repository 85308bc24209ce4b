"""The training step compiled: one compiled function computes the loss and all gradients, instead of eager autograd."""

from __future__ import annotations

import copy
import logging
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value

from lit_cifar.data.batches import Batch
from lit_cifar.speed.comparison import Gradients, differing, eager_gradients
from lit_cifar.speed.hooks import overrides
from lit_cifar.speed.memory import arrange, contiguous_groups, keep_freed_memory
from lit_cifar.speed.shared_modules import shared_module
from lit_cifar.utils.console import for_user
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.module_hooks import can_see_hooks, have_hooks, module_hooks
from lit_cifar.utils.private import warn_missing

WORTHWHILE = 5000
"""Training steps from which on compiling pays: it takes 5 to 40 seconds and saves 2 to 5 ms per step."""

UNCHANGING = re.compile(r"__import__\('torch'\)|G\['(?!__import_)|G\['__import_(torch|lit_cifar)(_dot_|'])")
"""How torch's guards name globals of this file, G['…'], and of torch and this package, G['__import_torch_dot_…']."""

BEFORE_BACKWARD = ("on_before_zero_grad", "optimizer_zero_grad", "on_before_backward")
"""Hooks between the forward and the backward pass: a compiled step has finished both before they are called."""

HINTS = (r"\s*TensorFloat32 tensor cores .* available but not enabled", r"\s*Online softmax is disabled")
"""Warnings of Inductor about choices that were made on purpose, such as `matmul_precision`."""


def _is_news(record: logging.LogRecord) -> bool:
    """False for torch's warning that it keeps no further version of `_gradients`, which `CompiledGradients` expects."""
    return not all(part in record.getMessage() for part in ("recompile_limit", f"'{_gradients.__name__}'"))


logging.getLogger("torch._dynamo.convert_frame").addFilter(_is_news)

Tensors = Mapping[str, Tensor]

LossFunction = Callable[[Callable[[Tensor], Tensor], Batch], tuple[Tensor, Tensor]]
"""Takes a network and a batch; returns the mean loss and the totals of the batch's metrics."""


def compile_training_step(
    model: LightningModule, network: nn.Module, loss_function: LossFunction, wanted: bool | Literal["auto"]
) -> CompiledGradients | None:
    """Compile a model's training step at the start of training; None if it isn't wanted or possible.

    Raises:
        UserError: if it is wanted and not possible. With `auto` a line says that it isn't compiled.
    """
    trainer = model.trainer
    if not wanted or (wanted == "auto" and _planned_steps(trainer) < WORTHWHILE):
        return None
    if not can_see_hooks("the training step isn't compiled, which is slower"):
        return None
    started = time.perf_counter()
    try:
        _check_possible(trainer, network)
        say(trainer, "Compiling the training step, which takes up to a minute (compile=false goes without) …")
        with trainer.precision_plugin.train_step_context():
            compiled = CompiledGradients(network, loss_function, _example_batch(trainer, model.device))
    except UserError:  # the user's second Ctrl-C
        raise
    except Exception as error:  # compilers fail in many ways, and training works without
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        if wanted is True:
            raise UserError(f"The training step can't be compiled: {reason} Leave out compile=true.") from error
        say(trainer, f"The training step isn't compiled: {reason}")
        return None
    say(trainer, f"The training step was compiled in {time.perf_counter() - started:.0f} s.")
    return compiled


class CompiledGradients:
    """Loss and gradients of a network for batches of one size, by `torch.compile`.

    Forward and backward pass are traced together, so neither autograd's graph nor a Python call per layer is left; on a
    GPU the whole step is one CUDA graph. Random numbers are drawn as eager torch draws them, so the gradients are the
    same but for rounding; that is checked on the example batch.

    Args:
        network: Takes images and returns logits; in the mode and on the device in which it will be trained.
        loss_function: A function at a module's top level, so that networks of the same kind share compiled code.
        batch: Images [B, C, H, W] and labels [B] of the size to come, used for tracing and checking only.

    Raises:
        ValueError: if the compiled step gives other gradients than the eager one.
        Exception: if torch can't compile this network here; there are many kinds.
    """

    def __init__(self, network: nn.Module, loss_function: LossFunction, batch: Batch) -> None:
        keep_freed_memory()
        self.labels_shape = batch[1].shape
        self._network = network
        self._loss_function = loss_function
        self._parameters = dict(network.named_parameters())
        self._module_hooks = list(module_hooks(network))
        self._interrupted = False
        self._written = _buffers_written_into(network, batch)
        self._compiled = torch.compile(_gradients, fullgraph=True, dynamic=False, options=_options(batch))
        with self._state_kept(batch), _without_hints():
            self(batch)
        with self._state_kept(batch):
            _, _, found = self(batch)
        self._check(found, batch)
        if not batch[1].is_cuda:  # CUDA's optimizers take all parameters at once wherever they lie
            _move_as_gradients(found)

    def _check(self, found: Gradients, batch: Batch) -> None:
        """Raise ValueError where the eager step gives other gradients than those found."""
        with self._state_kept(batch):
            expected = eager_gradients(self._network, self._loss_function, batch)
        names = differing(self._parameters, found, expected)
        if names:
            raise ValueError(
                f"its gradient of {names[0]} isn't that of the eager step. Layers that draw random numbers for tensors "
                "that aren't contiguous, or keep state outside of buffers, can cause that."
            )

    @contextmanager
    def _state_kept(self, batch: Batch) -> Iterator[None]:
        """Restore buffers and random number generators after the block."""
        before = {name: buffer.clone() for name, buffer in self._written.items()}
        with _random_numbers_kept(batch):
            yield
        for name, buffer in self._written.items():
            buffer.copy_(before[name])

    def can_take(self, batch: Batch, trainer: Trainer) -> bool:
        """Whether the compiled step gives what the eager one would: the last batch of an epoch may be smaller, and a
        callback may have begun to accumulate gradients or registered hooks."""
        if any(self._module_hooks) or have_hooks(self._parameters.values()):
            if not self._interrupted:
                say(trainer, "The training step runs eagerly while modules or parameters have hooks.")
            self._interrupted = True
            return False
        return batch[1].shape == self.labels_shape and trainer.accumulate_grad_batches == 1

    @torch.no_grad()
    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor, Gradients]:
        """A batch's mean loss, its totals [3], and each parameter with its gradient; frozen ones have None.

        The last gradients are released first: the new ones reuse their memory, which is still in the caches.
        """
        for p in self._parameters.values():
            p.grad = None
        torch.compiler.cudagraph_mark_step_begin()
        learning = {name: p for name, p in self._parameters.items() if p.requires_grad}
        loss, found, gradients = self._run(self._network, self._loss_function, learning, self._written, batch)
        # Callbacks may keep losses; on a GPU the next step's loss is written to the same place.
        return loss.clone(), found, [(p, gradients.get(name)) for name, p in self._parameters.items()]

    def _run(self, *arguments: Any) -> tuple[Tensor, Tensor, Tensors]:
        try:
            return self._compiled(*arguments)
        except Exception as error:
            if type(error).__name__ != "FailOnRecompileLimitHit":
                raise
        # torch keeps 8 compiled versions of a function. The others can be loaded again from its files.
        torch.compiler.reset()
        return self._compiled(*arguments)


def guards_to_check(guards: Sequence[Any]) -> Sequence[bool]:
    """Which of torch's guards can fail: all but those on globals of torch and of this package's modules."""
    return [not UNCHANGING.match(guard.name) for guard in guards]


def _options(batch: Batch) -> dict[str, Any]:
    """Options of Inductor."""
    options: dict[str, Any] = {"fallback_random": True, "guard_filter_fn": guards_to_check}
    try:
        from lit_cifar.speed.inductor_passes import Rewrites  # imported late: it takes a second

        options["post_grad_custom_post_pass"] = Rewrites()
    except (ImportError, AttributeError) as error:
        warn_missing(f"torch._inductor ({error})", "compiled steps are slower")
    if batch[1].is_cuda:
        options["triton.cudagraphs"] = True
    return options


def _buffers_written_into(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Buffers that a training step updates, such as batch-norm statistics. A layer frozen now may be unfrozen later."""
    trial = copy.deepcopy(network).train()
    before = dict(trial.named_buffers())
    with _random_numbers_kept(batch), torch.no_grad():
        trial(batch[0])
    after = dict(trial.named_buffers())
    for name, buffer in before.items():
        if after.get(name) is not buffer:
            raise ValueError(f"the network replaces its buffer {name} instead of writing into it.")
    return {name: buffer for name, buffer in network.named_buffers() if not torch.equal(buffer, after[name])}


def _move_as_gradients(found: Gradients) -> None:
    """Move the parameters so that they are neighbours in memory where their gradients are."""
    learning = [(p, gradient) for p, gradient in found if gradient is not None]
    arrange([p for p, _ in learning], contiguous_groups([gradient for _, gradient in learning]))


def _random_numbers_kept(batch: Batch) -> AbstractContextManager[None]:
    """Restore the random number generators of the CPU and of the batch's device after the block."""
    labels = batch[1]
    return torch.random.fork_rng([labels.device] if labels.is_cuda else [])


@contextmanager
def _without_hints() -> Iterator[None]:
    """Ignore Inductor's hints in the block, in which it compiles."""
    with warnings.catch_warnings():
        for hint in HINTS:
            warnings.filterwarnings("ignore", hint)
        yield


def _gradients(
    network: nn.Module, loss_function: LossFunction, parameters: Tensors, written: Tensors, batch: Batch
) -> tuple[Tensor, Tensor, Tensors]:
    """A function of its arguments alone, so that networks of the same kind share compiled code."""

    def loss_of(parameters: Tensors) -> tuple[Tensor, tuple[Tensor, Tensors]]:
        buffers = {name: buffer.clone() for name, buffer in written.items()}
        state = {**parameters, **buffers}
        loss, found = loss_function(lambda images: functional_call(network, state, (images,)), batch)
        return loss, (found, buffers)

    gradients, (loss, (found, buffers)) = grad_and_value(loss_of, has_aux=True)(parameters)
    for name, buffer in buffers.items():
        written[name].copy_(buffer)
    # As autograd leaves them in `grad`: fused optimizers expect them to lie as the parameters do.
    return loss, found, {name: _laid_out_as(parameters[name], gradient) for name, gradient in gradients.items()}


def _laid_out_as(parameter: Tensor, gradient: Tensor) -> Tensor:
    return gradient if gradient.stride() == parameter.stride() else torch.empty_like(parameter).copy_(gradient)


def _planned_steps(trainer: Trainer) -> float:
    epochs, steps = trainer.max_epochs or -1, trainer.max_steps
    by_epochs = epochs * trainer.num_training_batches if epochs > 0 else float("inf")
    return min(by_epochs, steps if steps > 0 else float("inf"))


def _check_possible(trainer: Trainer, network: nn.Module) -> None:
    """Raise ValueError where the eager step does more than the compiled one would."""
    if trainer.world_size > 1:
        raise ValueError("several processes average their gradients during the backward pass.")
    if trainer.accumulate_grad_batches > 1:
        raise ValueError("gradients of several batches are added up (accumulate_grad_batches).")
    if not (trainer.precision.endswith("-true") or trainer.precision == "bf16-mixed"):
        raise ValueError(f"precision {trainer.precision} scales the loss before the backward pass.")
    if torch.is_anomaly_enabled():
        raise ValueError("detect_anomaly checks every operation of autograd.")
    for hook in BEFORE_BACKWARD:
        if _is_hooked(hook, trainer):
            raise ValueError(f"{hook} is overridden, which runs between the forward and the backward pass.")
    if name := shared_module(network):
        raise ValueError(f"{name} is in several places of the network.")
    if any(module_hooks(network)) or have_hooks(network.parameters()):
        raise ValueError("a module or a parameter of the network has hooks, which a compiled step doesn't call.")


def _is_hooked(hook: str, trainer: Trainer) -> bool:
    """Whether a callback or the module overrides a hook."""
    callbacks: list[Callback] = trainer.callbacks if hasattr(Callback, hook) else []  # type: ignore[attr-defined]
    by_callback = any(overrides(callback, hook, Callback) for callback in callbacks)
    return by_callback or overrides(trainer.lightning_module, hook, LightningModule)


def _example_batch(trainer: Trainer, device: torch.device) -> Batch:
    """An example batch, used only for tracing."""
    images, labels = trainer.datamodule.example_batch()  # type: ignore[attr-defined]
    return images.to(device), labels.to(device)


def say(trainer: Trainer, line: str) -> None:
    """Print a line without breaking the progress bar."""
    line = for_user(line)
    if trainer.progress_bar_callback is not None:
        trainer.progress_bar_callback.print(line)
    else:
        rank_zero_info(line)
