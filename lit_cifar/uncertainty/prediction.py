"""Monte Carlo dropout: class probabilities averaged over samples of a network with dropped units, and uncertainties."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Literal

import torch
from torch import Tensor, nn

from lit_cifar.uncertainty.calibration import accuracy, nll
from lit_cifar.uncertainty.dropout import dropout_layers
from lit_cifar.uncertainty.masks import Masks
from lit_cifar.uncertainty.planning import MEMORY_BUDGET
from lit_cifar.uncertainty.sampling import sampled_logits
from lit_cifar.utils.errors import UserError


@dataclass(frozen=True, eq=False)
class MCPrediction:
    """Predictions from S Monte Carlo samples for N images and C classes; entropies are in nats.

    Args:
        probabilities: Class probabilities [N, C], the samples' mean.
        prediction: The most probable class [N].
        confidence: Its probability [N].
        predictive_entropy: Entropy of the mean probabilities [N]: the whole uncertainty.
        expected_entropy: Mean entropy of the samples' probabilities [N]: the data's share of it.
        mutual_information: Their difference [N]: the model's share of it, also known as BALD
            (Houlsby et al. 2011, arXiv:1112.5745).
        variation_ratio: Share of the samples [N] whose most probable class isn't the one most of them have; a sample
            with several most probable classes is divided among them.
        standard_deviation: Of the samples' probabilities [N, C] around their mean (divided by S, not S - 1).
        after: Mean probabilities [N, P, C] of the first samples, for the P numbers of them that were asked for.
        samples: Every sample's probabilities [S, N, C], if they were asked for.
    """

    probabilities: Tensor
    prediction: Tensor
    confidence: Tensor
    predictive_entropy: Tensor
    expected_entropy: Tensor
    mutual_information: Tensor
    variation_ratio: Tensor
    standard_deviation: Tensor
    after: Tensor | None = None
    samples: Tensor | None = None


def can_be_sampled(network: nn.Module, images: Tensor) -> bool:
    """Whether Monte Carlo dropout has anything to sample in a network.

    A forward pass of one image shows dropout that is a function call.

    Args:
        network: The network.
        images: At least one image, as the network takes them.
    """
    if dropout_layers(network):
        return True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of parts that stay off, which `mc_predict` says when it is asked to sample
            mc_predict(network, images[:1], samples=1)
    except UserError:
        return False
    return True


def mc_predict(
    network: nn.Module,
    images: Tensor,
    *,
    samples: int = 100,
    masks: Masks | Literal["independent", "shared"] = "independent",
    seed: int | torch.Generator = 0,
    indices: range | None = None,
    memory_budget: int = MEMORY_BUDGET,
    points: Sequence[int] = (),
    keep_samples: bool = False,
    stochastic: Sequence[nn.Module] | None = None,
) -> MCPrediction:
    """Predict many times with dropout on, and average (Gal and Ghahramani 2016, arXiv:1506.02142).

    These are sampled: torch's dropout layers, calls of `torch.nn.functional.dropout` and similar functions, the dropout
    of `nn.MultiheadAttention` and between the layers of `nn.LSTM`, `nn.GRU` and `nn.RNN`, and the modules in
    `stochastic`. Everything else stays in evaluation mode. If the network is an `nn.Sequential`, the layers before the
    first of them are computed once, also in nested ones; other networks run completely for every sample. The memory
    budget changes the results only by rounding.

    Args:
        network: Any network that drops units; it takes images [N, ...] and returns logits [N, C], and images in a
            batch must not influence each other. It runs on the device of its parameters, and never compiled.
        images: The images [N, ...] as the network takes them, on any device; the results come back to it.
        samples: Number of Monte Carlo samples.
        masks: `independent`: every image of every sample has masks of its own, as in training. `shared`: all images
            of a sample have the same masks, so a sample is one network's prediction; images' errors are then
            correlated, but each image's distribution is the same, and hardly any random numbers are needed.
            Or masks of your own.
        seed: Decides the masks; torch's global random state is neither used nor changed. A generator gives one number.
        indices: Indices of the images in their data set, which decide their masks. So an image has the same masks in
            any batch of any process. Default: 0 to N - 1.
        memory_budget: Bytes that activations and masks may take at a time, beside the results. An estimate:
            tensors inside a module that never leave it are allowed for, but not seen.
        points: Numbers of samples after which to return the mean probabilities as well.
        keep_samples: Whether to return every sample's probabilities, 4 S N C bytes.
        stochastic: Other modules of the network that are random in training mode, such as stochastic depth. They stay
            in that mode. Their random numbers come from torch's generator, seeded for each piece of work, so unlike
            masks they depend on batches; torch's random state is restored afterwards. Default: the modules that
            `declare_stochastic` was given.

    Raises:
        UserError: If nothing in the network is random, a dropout layer has a `forward` of its own, the network doesn't
            return logits [N, C] or returns NaN, it is scripted, traced or exported, or an argument is out of range.

    Warns:
        UserWarning: If the network has parts that seem to be random in training, but stay off.
    """
    if points and not 1 <= min(points) <= max(points) <= samples:
        raise UserError(f"points={list(points)} must be numbers of samples, each from 1 to {samples}.")
    blocks = []
    with sampled_logits(
        network,
        images,
        samples=samples,
        masks=masks,
        seed=seed,
        indices=indices,
        memory_budget=memory_budget,
        stochastic=stochastic,
    ) as pieces:
        for _, block in groupby(pieces, key=attrgetter("images")):
            moments = Moments(points, keep_samples=keep_samples)
            for piece in block:
                moments.add(piece.logits)
            blocks.append({name: value.to(images.device) for name, value in moments.summary().items()})
    # the images are the last dimension but one of [S, N, C] and the first of all others
    return MCPrediction(
        **{name: torch.cat([block[name] for block in blocks], int(name == "samples")) for name in blocks[0]}
    )


class Moments:
    """Sums over the samples, added up piece by piece."""

    def __init__(self, points: Sequence[int], *, keep_samples: bool) -> None:
        self._points = points
        self._after: dict[int, Tensor] = {}
        self._kept: list[Tensor] | None = [] if keep_samples else None
        self._count = 0

    def add(self, logits: Tensor) -> None:
        """Add samples of logits [S, N, C]."""
        log_p = _log_probabilities(logits)
        p = log_p.exp()
        if not self._count:
            self._first = p[:, 0].clone()
            self._sum, self._squares, self._votes = (torch.zeros_like(self._first) for _ in range(3))
            self._entropy = torch.zeros_like(self._first[0])
        if self._kept is not None:
            self._kept.append(p.permute(1, 2, 0))
        votes = torch.eq(log_p, log_p.amax(0), out=torch.empty_like(p))
        self._votes += votes.div_(votes.sum(0)).sum(1)
        # a probability of 0 has an infinite logarithm, and adds nothing to the entropy
        self._entropy -= log_p.clamp_min_(torch.finfo(log_p.dtype).min).mul_(p).sum((0, 1))
        # around the first sample, so that a small variance isn't the difference of two large numbers
        p = p - self._first[:, None]
        for point in self._points:
            if self._count < point <= self._count + p.shape[1]:
                self._after[point] = self._first + (self._sum + p[:, : point - self._count].sum(1)) / point
        self._count += p.shape[1]
        self._sum += p.sum(1)
        self._squares += p.square_().sum(1)

    def summary(self) -> dict[str, Tensor]:
        """The fields of an `MCPrediction`."""
        offset = self._sum / self._count
        mean = self._first + offset
        _check_finite(mean)
        predictive_entropy = torch.special.entr(mean).sum(0)
        expected_entropy = self._entropy / self._count
        confidence, prediction = mean.max(0)
        fields = {
            "probabilities": mean.T,
            "prediction": prediction,
            "confidence": confidence,
            "predictive_entropy": predictive_entropy,
            "expected_entropy": expected_entropy,
            "mutual_information": (predictive_entropy - expected_entropy).clamp_min(0),
            "variation_ratio": 1 - self._votes.amax(0) / self._count,
            "standard_deviation": (self._squares / self._count - offset.square()).clamp_min(0).sqrt().T,
        }
        if self._points:
            fields["after"] = torch.stack([self._after[point] for point in self._points]).permute(2, 0, 1)
        if self._kept is not None:
            fields["samples"] = torch.cat(self._kept)
        return fields


@dataclass(frozen=True)
class SampleCurve:
    """Accuracy and negative log-likelihood of the mean of the first `samples` Monte Carlo samples, for each number."""

    samples: tuple[int, ...]
    accuracy: tuple[float, ...]
    nll: tuple[float, ...]


def sample_curve(after: Tensor, labels: Tensor, points: Sequence[int]) -> SampleCurve:
    """Accuracy and negative log-likelihood against the number of samples.

    Args:
        after: Mean probabilities [N, P, C] of the first samples, as `mc_predict(…, points=points).after` gives them.
        labels: The right classes [N].
        points: The P numbers of samples.
    """
    means = after.unbind(1)
    return SampleCurve(
        tuple(points),
        tuple(accuracy(mean, labels) for mean in means),
        tuple(nll(mean, labels) for mean in means),
    )


def sample_points(samples: int) -> list[int]:
    """Numbers of samples for a curve up to all of them: 1, 2, 5, 10, 20, 50 and so on, and all."""
    steps = (factor * 10**power for power in range(len(str(samples))) for factor in (1, 2, 5))
    return [*(step for step in steps if step < samples), samples]


def _check_finite(probabilities: Tensor) -> None:
    """Check mean probabilities [C, N], which are NaN if any sample's logits are NaN or contain plus infinity."""
    wrong = probabilities.isnan().any(0).sum().item()
    if wrong:
        raise UserError(
            f"The network's logits are NaN or infinite for {wrong} of {probabilities.shape[1]} images. Its weights may "
            "be NaN, or its numbers too large for half precision: use float32 or bfloat16."
        )


def _log_probabilities(logits: Tensor) -> Tensor:
    """Log probabilities [C, S, N] of logits [S, N, C]; a softmax over a short last dimension is slow."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return logits.permute(2, 0, 1).contiguous().log_softmax(0, dtype=dtype)
