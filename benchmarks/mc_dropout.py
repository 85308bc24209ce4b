"""Compares `mc_predict` with a plain loop of forward passes, for 20 hidden layers of 100 units.

    python benchmarks/mc_dropout.py [--images N] [--samples S] [--repeats R] [--batch-size B] [--threads T]

Both run in this process, in turns; ratios are of medians. Memory is the peak that a prediction adds in a new process.
Images and weights are random, which takes the same work.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Literal

import torch
from scipy import stats
from torch import Tensor, nn

import variants
from lit_cifar.uncertainty import mc_predict
from lit_cifar.uncertainty.switch import is_dropout

LEVEL = 1e-3
SEEDS = range(5)


@dataclass(frozen=True)
class Setting:
    layers: Literal["last", "all"]
    masks: Literal["independent", "shared"]
    goal: float

    def network(self) -> nn.Module:
        torch.manual_seed(0)
        return variants.get("AlphaDropout")(layers=self.layers).build((3, 32, 32), 10).eval()


SETTINGS = (Setting("last", "independent", 20), Setting("all", "independent", 2), Setting("all", "shared", 4))


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    print(f"{options.images} images, {options.samples} samples, {options.threads} threads, torch {torch.__version__}")
    memory = [fresh_process(peak_memory, setting, options) for setting in SETTINGS]
    images = make_images(options.images)
    agree = True
    print(f"{'dropout':<8}{'masks':<13}{'loop s':>8}{'ours s':>8}{'ratio':>7}{'goal':>6}{'MB':>6}  p-value, see --help")
    for setting, peak in zip(SETTINGS, memory, strict=True):
        network = setting.network()
        loop, ours = alternate(
            lambda network=network: plain_loop(network, images, options.samples, options.batch_size).mean(0),
            lambda network=network, masks=setting.masks: mc_predict(
                network, images, samples=options.samples, masks=masks
            ),
            options.repeats,
        )
        p_value = agreement(network, setting, images[:500], options.samples)
        agree &= p_value > LEVEL
        row = f"{setting.layers:<8}{setting.masks:<13}{loop:>8.2f}{ours:>8.2f}{loop / ours:>6.1f}x{setting.goal:>5.0f}x"
        print(f"{row}{peak / 2**20:>6.0f}  {p_value:.3f}", flush=True)
    if not agree:
        sys.exit(f"The plain loop and mc_predict differ at the {LEVEL} level.")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="The p-value asks whether the plain loop's samples come from the same distribution: Kolmogorov-Smirnov "
        "tests for each class of 500 images and t-tests of each class's mean over images, the smallest p-value times "
        f"the number of tests (at most 1), for the worst of {len(SEEDS)} draws. The command fails below {LEVEL}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, default in (("images", 10_000), ("samples", 100), ("repeats", 3), ("batch-size", 1000), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def make_images(count: int) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def plain_loop(network: nn.Module, images: Tensor, samples: int, batch_size: int) -> Tensor:
    """Probabilities [S, N, C] from whole forward passes with torch's own dropout."""
    dropout = [module for module in network.modules() if is_dropout(module)]
    for module in dropout:
        module.train()
    with torch.inference_mode():
        passes = [torch.cat([network(batch).softmax(1) for batch in images.split(batch_size)]) for _ in range(samples)]
    for module in dropout:
        module.eval()
    return torch.stack(passes)


def alternate(one: Callable[[], object], other: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median seconds of two functions that are called in turns."""
    seconds = [[timed(one), timed(other)] for _ in range(repeats)]
    first, second = zip(*seconds, strict=True)
    return statistics.median(first), statistics.median(second)


def timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def agreement(network: nn.Module, setting: Setting, images: Tensor, samples: int) -> float:
    """The p-value for equal distributions of the loop's and our samples, corrected for the number of tests.

    Several draws are tested, because a single unusual shared mask affects all images.
    """
    return min(1.0, len(SEEDS) * min(_agreement_of(seed, network, setting, images, samples) for seed in SEEDS))


def _agreement_of(seed: int, network: nn.Module, setting: Setting, images: Tensor, samples: int) -> float:
    theirs = plain_loop(network, images, samples, len(images)).numpy()
    found = mc_predict(network, images, samples=samples, masks=setting.masks, keep_samples=True, seed=seed)
    ours = found.samples.numpy()
    each = stats.ks_2samp(ours.round(4), theirs.round(4), axis=0, method="asymp").pvalue
    means = stats.ttest_ind(ours.mean(1), theirs.mean(1), axis=0, equal_var=False).pvalue
    return float(min(each.min(), means.min()) * (each.size + means.size))


def peak_memory(setting: Setting, options: argparse.Namespace) -> int:
    """Bytes that a prediction adds to this process's peak."""
    torch.set_num_threads(options.threads)
    network, images = setting.network(), make_images(options.images)
    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    mc_predict(network, images, samples=options.samples, masks=setting.masks)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit


def fresh_process(function: Callable[..., int], *arguments: object) -> int:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


if __name__ == "__main__":
    main()
