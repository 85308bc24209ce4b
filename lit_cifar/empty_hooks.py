"""Callbacks' hooks that do nothing are not called in every step."""

from __future__ import annotations

from collections.abc import Iterable

from lightning import Callback

PER_STEP_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)


def leave_out_empty_hooks(callbacks: Iterable[Callback]) -> None:
    """Replace hooks that callbacks merely inherit by None.

    Lightning calls whatever is callable, of each callback, six times a step: 0.9 ms for twenty that do next to nothing.
    """
    for callback in callbacks:
        for hook in PER_STEP_HOOKS:
            if getattr(type(callback), hook) is getattr(Callback, hook) and hook not in vars(callback):
                setattr(callback, hook, None)
