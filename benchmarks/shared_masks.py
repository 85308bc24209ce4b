"""What it changes to give all images of a sample the same masks: time, scores, and how they vary with the seed.

python benchmarks/shared_masks.py CHECKPOINT [--source folder --data_dir DIR] [--samples S] [--seeds N] [--images N]
"""

from __future__ import annotations

import argparse
import statistics
import time

from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.training.module import LitClassifier
from lit_cifar.uncertainty import evaluate, mc_predict

SCORES = ("accuracy", "nll", "ece")


def main() -> None:
    options = parse()
    network = LitClassifier.load_from_checkpoint(options.checkpoint).network
    data = CIFAR10DataModule(source=options.source, data_dir=options.data_dir)
    data.prepare_data()
    data.setup("test")
    every = slice(None, None, max(1, len(data.test_images) // options.images))
    images, labels = data.test_images.images[every], data.test_images.labels[every]
    print(f"{len(images)} test images, {data.data_source}; {options.samples} samples, {options.seeds} seeds")
    print(f"{'masks':<14}{'s':>6}" + "".join(f"{name:>10}{'± sd':>9}" for name in SCORES))
    for masks in ("independent", "shared"):
        start, found = time.perf_counter(), []
        for seed in range(options.seeds):
            predicted = mc_predict(network, images, samples=options.samples, masks=masks, seed=seed)
            found.append(evaluate(predicted.probabilities, labels))
        seconds = (time.perf_counter() - start) / options.seeds
        columns = ([scores[name] for scores in found] for name in SCORES)
        numbers = "".join(f"{statistics.mean(c):>10.4f}{statistics.stdev(c):>9.5f}" for c in columns)
        print(f"{masks:<14}{seconds:>6.2f}{numbers}", flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--source", default="cifar10")
    parser.add_argument("--data_dir", default="data")
    for name, default in (("samples", 20), ("seeds", 10), ("images", 10_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


if __name__ == "__main__":
    main()
