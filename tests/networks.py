"""Small networks of every kind that per-task gradients must support, and batches for them."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from mtk import Task

TASKS = ("left", "right", "size")


def tasks() -> list[Task]:
    """Two classifications and a regression with labels missing as NaN."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return [
        Task("left", loss, ["accuracy"]),
        Task("right", loss, ["accuracy"]),
        Task("size", "mean_squared_error", missing=float("nan")),
    ]


def heads(features):
    return {
        "left": layers.Dense(3, name="left")(features),
        "right": layers.Dense(4, name="right")(features),
        "size": layers.Dense(1, name="size")(features),
    }


def dense(dropout: float = 0.0, synchronized: bool = False) -> keras.Model:
    inputs = keras.Input((6,))
    x = layers.Dense(8, activation="tanh", name="trunk")(inputs)
    x = layers.BatchNormalization(synchronized=synchronized, name="norm")(x)
    x = layers.Dropout(dropout, name="features")(x)
    return keras.Model(inputs, heads(x))


def convolutional() -> keras.Model:
    inputs = keras.Input((6, 6, 1))
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten(name="features")(x)
    return keras.Model(inputs, heads(x))


def embedding() -> keras.Model:
    """An embedding, whose gradient is sparse."""
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(11, 6, name="words")(inputs)
    x = layers.GlobalAveragePooling1D(name="features")(x)
    return keras.Model(inputs, heads(x))


def attention() -> keras.Model:
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(11, 6, name="words")(inputs)
    x = layers.MultiHeadAttention(2, 3, name="attention")(x, x) + x
    x = layers.LayerNormalization(name="norm")(x)
    x = layers.GlobalAveragePooling1D(name="features")(x)
    return keras.Model(inputs, heads(x))


class Subclassed(keras.Model):
    """A subclassed model whose trunk and heads can only be told apart by tracing `call`."""

    def __init__(self):
        super().__init__()
        self.trunk = layers.Dense(8, activation="tanh", name="trunk")
        self.unused = layers.Dense(2, name="unused")
        self.outs = {"left": layers.Dense(3, name="left"), "right": layers.Dense(4, name="right")}
        self.size = layers.Dense(1, name="size")

    def build(self, shape):
        self.trunk.build(shape)
        for layer in (*self.outs.values(), self.size, self.unused):
            layer.build((None, 8))
        self.built = True

    def call(self, inputs):
        x = self.trunk(inputs)
        return {**{name: layer(x) for name, layer in self.outs.items()}, "size": self.size(x)}


class CrossStitch(layers.Layer):
    """Mixes the columns of two towers."""

    def build(self, shapes):
        self.mix = self.add_weight(name="mix", shape=(2, 2), initializer="random_normal")

    def call(self, towers):
        stacked = tf.stack(towers, axis=-1)
        return tf.unstack(tf.matmul(stacked, self.mix + tf.eye(2)[None]), axis=-1)


def cross_stitched() -> keras.Model:
    inputs = keras.Input((6,))
    towers = [layers.Dense(8, activation="tanh", name=f"tower_{k}")(inputs) for k in range(2)]
    one, two = CrossStitch(name="stitch")(towers)
    outputs = {
        "left": layers.Dense(3, name="left")(one),
        "right": layers.Dense(4, name="right")(two),
        "size": layers.Dense(1, name="size")(two),
    }
    return keras.Model(inputs, outputs)


NETWORKS = {
    "dense": dense,
    "convolutional": convolutional,
    "embedding": embedding,
    "attention": attention,
    "subclassed": lambda: _built(Subclassed(), (None, 6)),
    "cross_stitched": cross_stitched,
}


def _built(network: keras.Model, shape: tuple) -> keras.Model:
    network.build(shape)
    return network


def batch(kind: str, size: int = 12, seed: int = 0):
    """Returns `(x, {task: y}, {task: mask})` with labels missing as NaN and by mask."""
    rng = np.random.default_rng(seed)
    if kind == "convolutional":
        x = rng.normal(size=(size, 6, 6, 1)).astype("float32")
    elif kind in ("embedding", "attention"):
        x = rng.integers(0, 11, (size, 5)).astype("int32")
    else:
        x = rng.normal(size=(size, 6)).astype("float32")
    y = {
        "left": rng.integers(0, 3, size).astype("int32"),
        "right": rng.integers(0, 4, size).astype("int32"),
        "size": rng.normal(size=(size, 1)).astype("float32"),
    }
    y["size"][rng.uniform(size=size) < 0.3] = np.nan
    mask = {"right": (rng.uniform(size=size) < 0.6).astype("float32")}
    return tf.nest.map_structure(tf.constant, (x, y, mask))
