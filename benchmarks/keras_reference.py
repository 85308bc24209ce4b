"""One epoch of the 20×100 ELU net in Keras for each line on standard input. Runs in .venv-keras.

python keras_reference.py IMAGES BATCH_SIZE THREADS
"""

import json
import os
import sys
import time

os.environ["KERAS_BACKEND"] = "tensorflow"
import keras
import numpy as np
import tensorflow as tf

count, batch_size, threads = map(int, sys.argv[1:])
tf.config.threading.set_intra_op_parallelism_threads(threads)
tf.config.threading.set_inter_op_parallelism_threads(threads)
pictures = np.random.default_rng(0).random((count, 32, 32, 3), dtype=np.float32)
labels = np.arange(count) % 10
held_out = count // 10

model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten()])
for _ in range(20):
    model.add(keras.layers.Dense(100, activation="elu", kernel_initializer="he_normal"))
model.add(keras.layers.Dense(10, activation="softmax"))
model.compile(loss="sparse_categorical_crossentropy", optimizer=keras.optimizers.Nadam(2e-4), metrics=["accuracy"])

clock = time.perf_counter()


class Clock(keras.callbacks.Callback):
    """Waits for a line before each epoch. Epochs within one `fit` are timed."""

    def on_epoch_begin(self, epoch, logs=None):
        global clock
        if epoch:
            print(json.dumps({"seconds": time.perf_counter() - clock}), flush=True)
        if not sys.stdin.readline():
            os._exit(0)
        clock = time.perf_counter()


def batches(chosen, shuffle):
    """Batches as `fit` makes them from arrays, without tf.data's tuning, which delays epochs by 4 to 10 s."""
    images, classes = tf.constant(pictures[chosen]), tf.constant(labels[chosen])
    indices = tf.data.Dataset.range(len(images))
    indices = indices.shuffle(len(images)) if shuffle else indices
    untuned = tf.data.Options()
    untuned.autotune.enabled = False
    batched = indices.batch(batch_size).map(lambda places: (tf.gather(images, places), tf.gather(classes, places)))
    return batched.prefetch(2).with_options(untuned)


train, val = batches(slice(held_out, None), shuffle=True), batches(slice(held_out), shuffle=False)
model.fit(train, epochs=1000, verbose=0, validation_data=val, callbacks=[Clock()])
