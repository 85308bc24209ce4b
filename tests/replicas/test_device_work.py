"""A stack gives its device as much to do as a single network: no work per replica, and no waiting in a step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from lightning import Callback, seed_everything
from torch.utils._python_dispatch import TorchDispatchMode

from lit_cifar.replicas import stack as stack_module
from lit_cifar.replicas.data import StackedDataModule, StackedLoader
from lit_cifar.replicas.replica import Replica
from lit_cifar.replicas.stack import train_stack
from lit_cifar.speed.fused_nadam import FusedNAdam
from lit_cifar.training.module import LitClassifier
from tests.replicas.conftest import ON_CPU, small_variant

WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "is_nonzero", "equal")
"""Operations for whose result the host waits."""


class Operations(TorchDispatchMode):
    """Counts torch's operations."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


class CountSteps(Callback):
    """Counts the operations of the first epoch's steps."""

    def __init__(self) -> None:
        self.operations = Operations()

    def on_train_epoch_start(self, *_: Any) -> None:
        self.operations.__enter__()

    def on_validation_start(self, *_: Any) -> None:
        self.operations.__exit__(None, None, None)


class CountEpoch(CountSteps):
    """Counts the operations of the first epoch, with its validation and everything that follows it."""

    def on_validation_start(self, *_: Any) -> None:
        pass

    def on_train_epoch_end(self, *_: Any) -> None:
        self.operations.__exit__(None, None, None)


@pytest.fixture
def count(data_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Counter[str]]:
    """Count operations while a stack is trained for an epoch."""

    def do(counter: CountSteps, replicas: int, variant: str = "ELU", **model: Any) -> Counter[str]:
        def make(replica: Replica) -> LitClassifier:
            seed_everything(replica.seed, workers=True, verbose=False)
            return LitClassifier(small_variant(variant), learning_rate=1e-3, compile=False, **model)

        def with_counter(callbacks: list[Callback], **options: Any) -> Any:
            return make_trainer([*callbacks, counter], **options)

        make_trainer = stack_module.stack_trainer
        members = [Replica(str(seed), seed, 1e-3) for seed in range(replicas)]
        data = StackedDataModule(seeds=range(replicas), **data_options)
        with monkeypatch.context() as patch:
            patch.setattr(stack_module, "stack_trainer", with_counter)
            patch.setattr(StackedLoader, "_order", orders_known(data))
            train_stack(make, members, data, max_epochs=1, patience=1, **ON_CPU)
        return counter.operations.counts

    return do


def orders_known(data: StackedDataModule) -> Callable[[StackedLoader, int], torch.Tensor]:
    """Orders that take no operations: those of replicas are drawn one by one, on the CPU."""
    return lambda loader, seed: data.indices(loader.name, seed)


@pytest.mark.parametrize("variant", ["ELU", "BatchNorm", "AlphaDropout"])
@pytest.mark.parametrize("model", [{}, {"l1": 0.1}, {"sparsity": 0.5}, {"max_norm": 1.0}], ids=str)
def test_an_epoch_takes_as_many_operations_for_six_replicas_as_for_two(
    count: Callable[..., Counter[str]], variant: str, model: dict[str, Any]
) -> None:
    two, six = (count(CountEpoch(), replicas, variant, optimizer=torch.optim.Adam, **model) for replicas in (2, 6))
    assert two.total() > 500
    assert six - two == two - six == Counter()


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, partial(FusedNAdam, betas=(0.9, 0.99))], ids=["SGD", "NAdam"])
def test_steps_do_not_wait_for_the_device(count: Callable[..., Counter[str]], optimizer: Any) -> None:
    found = count(CountSteps(), 3, "AlphaDropout", optimizer=optimizer, scheduler="one_cycle")
    waiting = {name: number for name, number in found.items() if name in WAITING}
    # NAdam keeps the step and a product on the CPU, which are read in every step.
    assert waiting == {} if optimizer is torch.optim.SGD else set(waiting) <= {"_local_scalar_dense"}


class ForbidWaiting(Callback):
    """Lets CUDA raise an error where a step waits for the GPU."""

    def on_train_batch_start(self, *arguments: Any) -> None:
        torch.cuda.set_sync_debug_mode("error" if 2 <= arguments[-1] <= 4 else "default")


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("rates", [[1e-3] * 3, [1e-3, 1e-3, 1e-2]], ids=["one rate", "two rates"])
def test_steps_of_a_stack_do_not_wait_for_a_gpu(
    data_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, compiled: bool, rates: list[float]
) -> None:
    def make(replica: Replica) -> LitClassifier:
        seed_everything(replica.seed, workers=True, verbose=False)
        return LitClassifier(small_variant("AlphaDropout"), learning_rate=replica.learning_rate, compile=compiled)

    make_trainer = stack_module.stack_trainer
    monkeypatch.setattr(
        stack_module,
        "stack_trainer",
        lambda callbacks, **options: make_trainer([*callbacks, ForbidWaiting()], **options),
    )
    members = [Replica(str(seed), seed, rate) for seed, rate in enumerate(rates)]
    data = StackedDataModule(seeds=range(len(rates)), **data_options)
    try:
        trained = train_stack(make, members, data, max_epochs=3, patience=3, accelerator="gpu")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert [len(replica.training.epochs) for replica in trained] == [3] * len(rates)
