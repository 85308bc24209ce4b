"""States of random number generators, of which some devices have one of their own."""

from __future__ import annotations

import pytest
import torch

from lit_cifar.callbacks.process_state import random_states, set_random_states


def test_the_generator_of_apples_gpus_is_saved_and_set(monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpu = torch.Generator()
    before = random_states()
    assert before["mps"] is None
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "get_rng_state", on_gpu.get_state)
    monkeypatch.setattr(torch.mps, "set_rng_state", on_gpu.set_state)
    states = random_states()
    drawn = torch.rand(3, generator=on_gpu), torch.rand(3)
    set_random_states(states)
    again = torch.rand(3, generator=on_gpu), torch.rand(3)
    assert all(map(torch.equal, drawn, again))
    del before["mps"]
    set_random_states(before)  # of an older checkpoint, or of a machine without such a GPU
