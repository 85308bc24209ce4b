"""Train the second student's recipe in Keras, with the same batches in every epoch or with new ones.

    python benchmarks/keras_students.py FOLDER --seed 0
    python benchmarks/keras_students.py FOLDER --seed 0 --same-batches
    python benchmarks/keras_students.py FOLDER --seed 0 --momentum 0.9

Needs Keras, TensorFlow, NumPy and Pillow (`make bench-keras` installs the first two into .venv-keras). FOLDER holds
`train/<class>/*` and `test/<class>/*`. The recipe: 20 hidden layers of 100 units, batch normalization and Swish after
each, batch normalization before the output, pixels divided by 255, Nadam at 1e-3, batches of 32, 20 % of the training
images held out, at most 20 epochs with patience 5, the weights of the lowest validation loss.

After `keras.utils.set_random_seed`, Keras on TensorFlow shuffles the images once: every epoch has the same batches, in
the same order. Without that call, it shuffles them before every epoch.
"""

import argparse
import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
import keras
import numpy as np
from keras import layers
from PIL import Image


def read(folder: Path):
    """Images [N, 32, 32, 3], pixels divided by 255, and class indices [N]."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    files = [(path, index) for index, name in enumerate(classes) for path in sorted(name.iterdir())]
    images = np.stack([np.asarray(Image.open(path).convert("RGB")) for path, _ in files])
    return images.astype("float32") / 255, np.array([index for _, index in files])


def build(momentum):
    """The network, compiled; `momentum` is the share of its old statistics that batch normalization keeps."""
    network = keras.Sequential([keras.Input((32, 32, 3)), layers.Flatten()])
    for _ in range(20):
        network.add(layers.Dense(100, kernel_initializer="he_normal"))
        network.add(layers.BatchNormalization(momentum=momentum))
        network.add(layers.Activation("swish"))
    network.add(layers.BatchNormalization(momentum=momentum))
    network.add(layers.Dense(10, activation="softmax"))
    network.compile(
        loss="sparse_categorical_crossentropy", optimizer=keras.optimizers.Nadam(1e-3), metrics=["accuracy"]
    )
    return network


def main():
    parser = argparse.ArgumentParser(description="Train the second student's recipe in Keras.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--same-batches", action="store_true", help="Give every epoch the same batches.")
    parser.add_argument("--momentum", type=float, default=0.99, help="Of batch normalization; Keras's default is 0.99.")
    options = parser.parse_args()
    images, labels = read(options.folder / "train")
    order = np.random.default_rng(options.seed).permutation(len(images))
    held_out = len(order) // 5
    if options.same_batches:
        keras.utils.set_random_seed(options.seed)
    network = build(options.momentum)
    history = network.fit(
        images[order[held_out:]],
        labels[order[held_out:]],
        batch_size=32,
        epochs=20,
        validation_data=(images[order[:held_out]], labels[order[:held_out]]),
        callbacks=[keras.callbacks.EarlyStopping(patience=5, restore_best_weights=True)],
        verbose=2,
    ).history
    _, accuracy = network.evaluate(*read(options.folder / "test"), verbose=0)
    best = int(np.argmin(history["val_loss"])) + 1
    print(f"test accuracy {accuracy:.2%}, {len(history['val_loss'])} epochs, best {best}")


if __name__ == "__main__":
    main()
