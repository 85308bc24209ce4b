"""The hooks of modules and parameters. torch keeps them in private dictionaries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor, nn

from lit_cifar.utils.private import warn_missing

FORWARD = ("_forward_hooks", "_forward_pre_hooks")
BACKWARD = ("_backward_hooks", "_backward_pre_hooks")
PARAMETER = ("_backward_hooks", "_post_accumulate_grad_hooks")


def count_forward_hooks(module: nn.Module) -> int | None:
    """The number of hooks before and after a module's forward pass; None, with a warning, where torch hides them."""
    if not _exist(FORWARD, module, "Monte Carlo samples share no computation, which is slower"):
        return None
    return sum(len(getattr(module, name)) for name in FORWARD)


def can_see_hooks(without: str) -> bool:
    """Whether torch still has the dictionaries of hooks. If not, a warning says what happens without them."""
    return _exist((*FORWARD, *BACKWARD), nn.Identity(), without) and _exist(PARAMETER, Tensor(), without)


def module_hooks(network: nn.Module) -> Iterator[Mapping[int, object]]:
    """The dictionaries of hooks of a network's modules; they change when a hook is registered."""
    for module in network.modules():
        yield from (vars(module)[name] for name in (*FORWARD, *BACKWARD) if name in vars(module))


def have_hooks(parameters: Iterable[nn.Parameter]) -> bool:
    """Whether autograd calls a hook for the gradient of one of the parameters."""
    return any(getattr(p, name, None) for p in parameters for name in PARAMETER)


def _exist(names: Iterable[str], owner: nn.Module | Tensor, without: str) -> bool:
    lost = [name for name in names if not hasattr(owner, name)]
    for name in lost[:1]:
        warn_missing(f"torch's {name}", without)
    return not lost
