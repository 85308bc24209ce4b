"""The base classes of all variants. Subclass `DenseVariant` for a dense stack, `Variant` for any other network."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import nn

from variants.errors import VariantError

Scaling = Literal["unit", "standardize"]
"""How pixels are scaled before the network: `unit` divides by 255; `standardize` gives each pixel mean 0 and
standard deviation 1 over the training split."""


class Variant(ABC):
    """A recipe that builds a network. It can be printed, compared and stored as text; it is not an `nn.Module`.

    Every constructor argument is a typed keyword and is stored under its own name. The command line is made from them.

    Args:
        scaling: How pixels are scaled before they reach the network.
    """

    learning_rate: ClassVar[float] = 1e-3
    """The default learning rate, found for NAdam and batches of 128 images (see docs/learning_rates.md)."""

    reference: ClassVar[str] = ""
    """The paper or page the technique comes from."""

    aliases: ClassVar[Sequence[str]] = ()
    """Former class paths of this class. Checkpoints that name one of them still load."""

    def __init__(self, *, scaling: Scaling = "standardize") -> None:
        self.scaling = one_of("scaling", scaling, ("unit", "standardize"))

    @abstractmethod
    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """Build a new network with fresh weights.

        Args:
            image_shape: Channels, height and width of an image.
            num_classes: Number of classes.

        Returns:
            A network that takes scaled float images [B, *image_shape] and returns logits [B, num_classes]. In
            training mode a dictionary of tensors for the loss may follow (see `loss`).
        """

    def load_pretrained(self, network: nn.Module) -> None:  # noqa: B027 - doing nothing is the default
        """Load weights from elsewhere into a new network, in place. By default there are none.

        A training calls this when it starts from the beginning. Whatever a checkpoint rebuilds already has its weights,
        so the files that are read here aren't needed any more.

        Args:
            network: What `build` has returned.
        """

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor | Mapping[str, torch.Tensor]:
        """What training minimizes; cross-entropy by default. Validation and test losses are always cross-entropy.

        In training mode a network may return a pair: logits, and a dictionary of tensors. A loss gets those that it has
        keyword-only parameters for. The others must be single numbers, such as penalties on weights; they are added to
        the loss and logged as `train/loss_<name>`.

        Args:
            logits: Logits [B, classes] of a batch, in training mode.
            labels: Labels, int64 [B], or class probabilities [B, classes] where images are mixed (mixup).

        Returns:
            The mean loss of the batch, or named terms whose sum it is; each is logged as `train/loss_<name>`.
        """
        return nn.functional.cross_entropy(logits, labels)

    @classmethod
    def migrate(cls, init_args: dict[str, Any], version: str) -> dict[str, Any]:
        """Turn hyperparameters from an old checkpoint into those that the constructor takes today.

        Args:
            init_args: Hyperparameters as the checkpoint has them.
            version: Version of the package that wrote them; empty for a class of no package.
        """
        return init_args

    @classmethod
    def __subclasses__(cls) -> list[type[Variant]]:
        """The direct subclasses, without those whose name is registered for another class or whose module failed.

        The command line finds variants by name among them, so a class that was refused can't make a name ambiguous.
        """
        from variants import registry

        return [found for found in type.__subclasses__(cls) if registry.can_be_named(found)]

    def stochastic_layers(self, network: nn.Module) -> Sequence[nn.Module]:
        """The modules, other than torch's dropout, that MC dropout keeps in training mode, such as stochastic depth.

        Args:
            network: What `build` has returned.
        """
        return ()

    @classmethod
    def hyperparameters(cls) -> dict[str, inspect.Parameter]:
        """The keyword arguments of the constructor, including those that it passes on to base classes by `**kwargs`."""
        found: dict[str, inspect.Parameter] = {}
        for base in cls.__mro__:
            init = base.__dict__.get("__init__")
            if init is None or base is object:
                continue
            parameters = inspect.signature(init).parameters.values()
            found.update({p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in found})
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
        return found

    @classmethod
    def description(cls) -> str:
        """The first line of the class's docstring."""
        return (inspect.getdoc(cls) or "").partition("\n")[0]

    @property
    def init_args(self) -> Mapping[str, Any]:
        """The constructor arguments that make an equal variant.

        Raises:
            TypeError: If the constructor doesn't store each argument under its own name.
        """
        try:
            return {name: getattr(self, name) for name in self.hyperparameters()}
        except AttributeError as error:
            raise TypeError(
                f"{type(self).__name__} must store each constructor argument under its own name: {error}"
            ) from error

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Variant) and self.init_args == other.init_args

    def __hash__(self) -> int:
        return hash((type(self), repr(self)))

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.init_args.items())
        return f"{type(self).__name__}({arguments})"


class DenseVariant(Variant):
    """A stack of `depth` hidden layers of `width` units and a linear output layer.

    A new dense technique overrides `hidden_block`. Override `initialize` and `initialize_bias` to replace He
    initialization of the weights and zero biases.

    Args:
        depth: Number of hidden layers.
        width: Units in each hidden layer.
        scaling: How pixels are scaled before they reach the network.
    """

    def __init__(self, *, depth: int = 20, width: int = 100, scaling: Scaling = "standardize") -> None:
        super().__init__(scaling=scaling)
        self.depth = at_least("depth", depth, 1)
        self.width = at_least("width", width, 1)

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        features = math.prod(image_shape)
        for index in range(self.depth):
            block = self.hidden_block(self.dense_layer(features, self.width), index)
            layers[f"hidden_{index + 1:02d}"] = self._in_order(block, "hidden_block")
            features = self.width
        output = self.output_block(self.dense_layer(features, num_classes))
        layers["output"] = self._in_order(output, "output_block")
        return nn.Sequential(layers)

    def _in_order(self, block: Sequence[nn.Module], method: str) -> nn.Sequential:
        """The modules that a method of a subclass has returned, as one."""
        if not isinstance(block, Iterable) or not (modules := list(block)):
            returned = "an empty list" if isinstance(block, Iterable) else f"{block!r}"
            raise VariantError(
                f"{type(self).__name__}.{method} has returned {returned}: return a list of modules, `dense` among them."
            )
        return nn.Sequential(*modules)

    @abstractmethod
    def hidden_block(self, dense: nn.Linear, index: int) -> Sequence[nn.Module]:
        """The modules of a hidden layer, in order.

        Args:
            dense: The initialized dense layer.
            index: The layer's index; 0 is next to the image.
        """

    def output_block(self, dense: nn.Linear) -> Sequence[nn.Module]:
        """The modules of the output layer, in order; `dense` is the initialized dense layer."""
        return [dense]

    def initialize(self, weight: torch.Tensor) -> None:
        """Fill the weight [units, inputs] of a dense layer in place; He normal by default (He et al. 2015, §2.2)."""
        nn.init.kaiming_normal_(weight, nonlinearity="relu")

    def initialize_bias(self, bias: torch.Tensor) -> None:
        """Fill the bias [units] of a dense layer in place; zeros by default."""
        nn.init.zeros_(bias)

    def dense_layer(self, inputs: int, units: int) -> nn.Linear:
        """A dense layer with this variant's initialization."""
        dense: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, units)
        self.initialize(dense.weight)
        self.initialize_bias(dense.bias)
        return dense


Number = TypeVar("Number", int, float)


def at_least(name: str, value: Number, low: Number) -> Number:
    """Return the value, or raise a `ValueError` that says that it is too small."""
    _check_number(name, value)
    if not value >= low:
        raise ValueError(f"{name}={value} is too small: it must be at least {low:g}.")
    return value


def probability(name: str, value: float) -> float:
    """Return the value, or raise a `ValueError` unless it is a probability below 1."""
    _check_number(name, value)
    if not 0 <= value < 1:
        raise ValueError(f"{name}={value} is out of range: it must be at least 0 and below 1.")
    return value


def share(name: str, value: float) -> float:
    """Return the value, or raise a `ValueError` unless it is above 0 and at most 1."""
    _check_number(name, value)
    if not 0 < value <= 1:
        raise ValueError(f"{name}={value} is out of range: it must be above 0 and at most 1.")
    return value


def one_of(name: str, value: Any, choices: Sequence[Any]) -> Any:
    """Return the value, or raise a `ValueError` that lists the choices."""
    if value not in choices:
        raise ValueError(f"{name}={value!r} is not a choice: use one of {', '.join(map(repr, choices))}.")
    return value


def _check_number(name: str, value: object) -> None:
    if not isinstance(value, Real):
        raise ValueError(f"{name}={value!r} is no number.")
