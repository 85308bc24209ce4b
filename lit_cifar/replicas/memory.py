"""Stacks that don't fit into memory."""

from __future__ import annotations

import gc

import torch

MESSAGES = ("out of memory", "ALLOC_FAILED")
"""What other errors than torch's `OutOfMemoryError` say: of Apple's GPUs, and of CUDA's libraries."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, or one that caused it, says that a device's memory has run out."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    if isinstance(error, RuntimeError) and any(text in str(error) for text in MESSAGES):
        return True
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)


def release_memory() -> None:
    """Free the memory of stacks that nothing uses any more."""
    torch.compiler.reset()  # compiled steps hold the memory of their CUDA graphs
    gc.collect()  # a Trainer and its module refer to each other
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
