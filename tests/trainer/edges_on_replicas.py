"""Trains unusual models on one device and on two replicas, and saves the results of both.

    python -m tests.trainer.edges_on_replicas out.json [name ...]

One process can hold one MirroredStrategy, so replicas have a process of their own.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

import mtk
from mtk import combiners

SCENARIOS: dict[str, Callable[[], tuple[mtk.MultiTaskModel, tf.data.Dataset]]] = {}
# The others take long, and each is similar to one of these.
QUICK = (
    "conditioned",
    "empty part mgda-ub",
    "empty share pcgrad synchronized",
    "metrics",
    "on batch",
    "repeated rows",
    "uneven penalty pcgrad",
)
COMBINERS = {"static": combiners.StaticWeights, "pcgrad": combiners.PCGrad}


def _normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def _dataset(batches: list[Any]) -> tf.data.Dataset:
    """Returns a dataset whose batches may differ in size."""
    free = tf.nest.map_structure(
        lambda array: tf.TensorSpec((None, *array.shape[1:]), array.dtype), batches[0]
    )
    return tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=free)


def _model(network: keras.Model, combiner=None, metrics=(), loss="mse", **compiled: Any):
    tasks = [mtk.Task(task, loss, list(metrics)) for task in "ab"]
    model = mtk.MultiTaskModel(network, tasks, combiner)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), **compiled)
    return model


# A replica without examples.


def _normalized(**options: Any) -> keras.Model:
    """Batch norm over examples and positions, so that a single example has a variance."""
    i = keras.Input((4, 3))
    h = layers.Dense(4, use_bias=False)(i)
    h = layers.BatchNormalization(momentum=0.9, **options)(h)
    h = layers.Flatten()(layers.Activation("tanh")(h))
    return keras.Model(i, {task: layers.Dense(1)(h) for task in "ab"})


def _repeated_batch(size: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns a batch of two equal halves, whose statistics are those of the whole batch."""
    x, y = _normal(size, 4, 3, seed=seed), _normal(size, 1, seed=seed)
    return np.concatenate([x, x]), {task: np.concatenate([y, y]) for task in "ab"}


def _single_example(seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    y = _normal(1, 1, seed=seed)
    return _normal(1, 4, 3, seed=seed), {"a": y, "b": 2 * y}


def _separate_inputs(*sizes: int, seed: int) -> dict[str, Any]:
    shares = {}
    for k, (task, size) in enumerate(zip("ab", sizes, strict=True)):
        seeds = [seed + k] if size == 1 else [seed + k, seed + k]
        x = np.concatenate([_normal(max(1, size // 2), 4, 3, seed=s) for s in seeds])
        y = np.concatenate([_normal(max(1, size // 2), 1, seed=s) for s in seeds])
        shares[task] = (x, y)
    return shares


for _name, _combiner in COMBINERS.items():
    for _synchronized in (False, True):

        def empty_part(combiner=_combiner, synchronized=_synchronized):
            network = _normalized(synchronized=synchronized)
            return _model(network, combiner()), _dataset(
                [_repeated_batch(4, 1), _single_example(2), _single_example(3)]
            )

        def empty_share(combiner=_combiner, synchronized=_synchronized):
            """First one task and then both tasks have no example on one replica."""
            batches = [
                _separate_inputs(*s, seed=9 * k) for k, s in enumerate([(4, 4), (1, 2), (1, 1)])
            ]
            return _model(_normalized(synchronized=synchronized), combiner()), _dataset(batches)

        _kind = "synchronized" if _synchronized else "plain"
        SCENARIOS[f"empty part {_name} {_kind}"] = empty_part
        SCENARIOS[f"empty share {_name} {_kind}"] = empty_share


def _empty_features(combiner):
    def make():
        return _model(_normalized(), combiner), _dataset(
            [_repeated_batch(4, 1), _single_example(2), _single_example(3)]
        )

    return make


SCENARIOS["empty part mgda-ub"] = _empty_features(combiners.MGDA(at="representation"))
SCENARIOS["empty part famo"] = _empty_features(combiners.FAMO())


# Metrics.


class LazyMean(keras.metrics.Metric):
    """Creates its variables at the first update."""

    total = None

    def update_state(self, y_true, y_pred, sample_weight=None):
        if self.total is None:
            shape = y_pred.shape[1:]
            self.total = self.add_variable(shape, "zeros", name="total")
            self.number = self.add_variable((), "zeros", name="number")
        values = ops.cast(y_true, "float32") * y_pred
        if sample_weight is not None:
            values = values * ops.reshape(ops.cast(sample_weight, "float32"), (-1, 1))
        self.total.assign_add(ops.sum(values, axis=0))
        self.number.assign_add(ops.cast(ops.shape(values)[0], "float32"))

    def result(self):
        return ops.mean(self.total) / self.number


class Count(keras.metrics.Metric):
    def __init__(self, name="count"):
        super().__init__(name=name)
        self.number = self.add_variable((), "zeros", dtype="int32", name="number")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.number.assign_add(ops.shape(y_true)[0])

    def result(self):
        return self.number


def _classifier() -> keras.Model:
    i = keras.Input((3,))
    h = layers.Dense(4, activation="tanh")(i)
    return keras.Model(i, {task: layers.Dense(3, activation="sigmoid")(h) for task in "ab"})


def metrics():
    found = [
        keras.metrics.F1Score(threshold=0.5, average="micro"),
        keras.metrics.F1Score(name="each"),
        keras.metrics.FBetaScore(beta=0.5, average="macro"),
        keras.metrics.R2Score(),
        keras.metrics.AUC(),
        keras.metrics.AUC(multi_label=True, name="auc_each"),
        keras.metrics.OneHotMeanIoU(3),
        keras.metrics.PrecisionAtRecall(0.5),
        LazyMean(name="lazy"),
        Count(),
        Count(name="count_again"),
    ]
    x = _normal(13, 3)
    labels = {task: (_normal(13, 3, seed=k) > 0).astype("float32") for k, task in enumerate("ab")}
    batches = [tf.nest.map_structure(lambda a, k=k: a[k : k + 4], (x, labels)) for k in (0, 4, 8)]
    batches.append(tf.nest.map_structure(lambda a: a[12:], (x, labels)))
    network = _classifier()
    tasks = [mtk.Task(task, "binary_crossentropy", found if task == "a" else ()) for task in "ab"]
    model = mtk.MultiTaskModel(network, tasks)
    model.compile(keras.optimizers.SGD(0.1))
    return model, _dataset(batches)


SCENARIOS["metrics"] = metrics


def mean_iou():
    i = keras.Input((3,))
    h = layers.Dense(4, activation="tanh")(i)
    network = keras.Model(i, {task: layers.Dense(3)(h) for task in "ab"})
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    metric = keras.metrics.MeanIoU(3, sparse_y_pred=False)
    tasks = [mtk.Task("a", loss, [metric]), mtk.Task("b", loss)]
    model = mtk.MultiTaskModel(network, tasks, combiners.MGDA())
    model.compile(keras.optimizers.SGD(0.1))
    y = {task: np.arange(7, dtype="int32") * (k + 1) % 3 for k, task in enumerate("ab")}
    whole = (_normal(7, 3), y)
    parts = [tf.nest.map_structure(lambda a, k=k: a[k : k + 4], whole) for k in (0, 4)]
    return model, _dataset(parts)


SCENARIOS["mean iou"] = mean_iou


# Losses that layers add.


class Added(layers.Layer):
    """Adds the mean over examples of a nonlinear function as a loss."""

    def call(self, x):
        self.add_loss(0.3 * ops.mean(ops.sum(ops.square(x), -1)))
        return x


def _regularized() -> keras.Model:
    i = keras.Input((3,))
    l2 = keras.regularizers.L2(0.1)
    h = layers.Dense(4, "tanh", kernel_regularizer=l2, activity_regularizer=l2)(i)
    h = layers.Dense(4, "tanh", bias_regularizer=l2)(Added()(h))
    return keras.Model(i, {task: layers.Dense(1, kernel_regularizer=l2)(h) for task in "ab"})


for _name, _combiner in COMBINERS.items():

    def uneven(combiner=_combiner):
        batches = [
            (_normal(n, 3, seed=n), {task: _normal(n, 1, seed=n + 1) for task in "ab"})
            for n in (5, 3, 1, 7)
        ]
        return _model(_regularized(), combiner()), _dataset(batches)

    def uneven_shares(combiner=_combiner):
        batches = [
            {
                task: (_normal(n, 3, seed=n), _normal(n, 1, seed=n + 1))
                for task, n in zip("ab", sizes, strict=True)
            }
            for sizes in ((5, 2), (3, 4), (1, 7))
        ]
        return _model(_regularized(), combiner()), _dataset(batches)

    def micro(combiner=_combiner):
        batches = [
            (_normal(n, 3, seed=n), {task: _normal(n, 1, seed=n + 1) for task in "ab"})
            for n in (4, 8, 12)
        ]
        return _model(_regularized(), combiner(), micro_batches=2), _dataset(batches)

    SCENARIOS[f"uneven penalty {_name}"] = uneven
    SCENARIOS[f"uneven penalty of shares {_name}"] = uneven_shares
    SCENARIOS[f"penalty of micro-batches {_name}"] = micro


# Losses and metrics of layers on a replica without examples, also in the logs.


class Watched(Added):
    def __init__(self):
        super().__init__()
        self.seen = keras.metrics.Sum(name="seen")

    def call(self, x):
        self.seen.update_state(ops.ones_like(x[:, 0]))
        return super().call(x)


for _synchronized in (False, True):

    def watched(synchronized=_synchronized):
        i = keras.Input((3,))
        h = layers.BatchNormalization(synchronized=True)(i) if synchronized else i
        h = layers.Dense(4, "tanh")(Watched()(h))
        model = mtk.MultiTaskModel(keras.Model(i, {task: layers.Dense(1)(h) for task in "ab"}))
        model.compile(keras.optimizers.SGD(0.1), dict.fromkeys("ab", "mse"), metrics={"a": ["mae"]})
        batches = [
            (_normal(n, 3, seed=n), {task: _normal(n, 1, seed=n + 1) for task in "ab"})
            for n in (5, 4, 1)
        ]
        return model, _dataset(batches)

    SCENARIOS[f"empty part watched {'synchronized' if _synchronized else 'plain'}"] = watched


# Losses with other reductions than the mean, in batches of unequal sizes and weights.


def reductions():
    network = _classifier()
    losses = [keras.losses.MeanSquaredError(r) for r in ("sum", "mean_with_sample_weight")]
    model = mtk.MultiTaskModel(network)
    model.compile(keras.optimizers.SGD(0.01), dict(zip("ab", losses, strict=True)))
    batches = [
        (
            _normal(n, 3),
            {t: _normal(n, 3, seed=1) for t in "ab"},
            {t: abs(_normal(n)) for t in "ab"},
        )
        for n in (5, 3, 1, 7)
    ]
    return model, _dataset(batches)


SCENARIOS["reductions"] = reductions


# A custom `train_step`, as in Keras' documentation.


class OwnStep(mtk.MultiTaskModel):
    def train_step(self, data):
        x, y, weights = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True), weights)
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return {"loss": loss}


def own_step():
    model = OwnStep(_regularized(), [mtk.Task("a", "mse", ["mae"]), mtk.Task("b", "mse")])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
    batches = [
        (
            _normal(n, 3, seed=n),
            {task: _normal(n, 1, seed=n + 1) for task in "ab"},
            {"a": abs(_normal(n)), "b": (np.arange(n) > n // 2).astype("float32")},
        )
        for n in (5, 8, 1, 7)
    ]
    return model, _dataset(batches)


SCENARIOS["own step"] = own_step


# `train_on_batch`, `test_on_batch` and `predict_on_batch`.


class OnBatch(mtk.MultiTaskModel):
    def fit(self, data, **others):
        del others
        for batch in data.as_numpy_iterator():
            logs = self.train_on_batch(*batch, return_dict=True)
        logs |= {f"val_{k}": v for k, v in self.test_on_batch(*batch, return_dict=True).items()}
        found = {**logs, "predicted": self.predict_on_batch(batch[0])["a"]}
        return SimpleNamespace(history={name: [value] for name, value in found.items()})


def on_batch():
    tasks = [mtk.Task(task, "mse", ["mae"], normalize="sum") for task in "ab"]
    model = OnBatch(_classifier(), tasks, combiners.PCGrad(seed=0))
    model.compile(keras.optimizers.SGD(0.01))
    return model, _dataset(
        [(_normal(n, 3, seed=n), {t: _normal(n, 3, seed=1) for t in "ab"}) for n in (5, 4)]
    )


SCENARIOS["on batch"] = on_batch


# Embedding rows that several examples read, on one or both replicas: gradients are summed.


def repeated_rows():
    i = keras.Input((3,), dtype="int32")
    h = layers.Flatten()(layers.Embedding(4, 2)(i))
    network = keras.Model(i, {task: layers.Dense(1)(h) for task in "ab"})
    words = np.random.default_rng(0).integers(0, 4, (12, 3)).astype("int32")
    batch = (words, {task: _normal(12, 1, seed=k) for k, task in enumerate("ab")})
    model = _model(network)
    model.compile(keras.optimizers.Adam(0.1), clip_norm=0.5)
    return model, _dataset([batch] * 5)


SCENARIOS["repeated rows"] = repeated_rows


# The network reads the drawn task weights, equal on all replicas that have examples.


def conditioned():
    i = keras.Input((3,))
    h = layers.Dense(4, "tanh", name="trunk")(i)
    plain = keras.Model(i, {task: layers.Dense(1)(h) for task in "ab"})
    network = mtk.models.conditioned(plain, ["trunk"], hidden=3, seed=0)
    kernel = network.get_layer("trunk_film").to_features.kernel
    kernel.assign(_normal(*kernel.shape))
    batches = [(_normal(n, 3), {task: _normal(n, 1, seed=n) for task in "ab"}) for n in (4, 3, 1)]
    return _model(network, combiners.RLW("dirichlet")), _dataset(batches)


SCENARIOS["conditioned"] = conditioned


def trained(make: Callable[[], Any], strategy: tf.distribute.Strategy | None) -> dict[str, Any]:
    keras.utils.set_random_seed(1)
    with contextlib.nullcontext() if strategy is None else strategy.scope():
        model, data = make()
    history = model.fit(data, epochs=2, verbose=0, shuffle=False).history
    logs = {key: values[-1] for key, values in history.items()}
    if any(task.metrics for task in model.tasks):
        tested = model.evaluate(data, verbose=0, return_dict=True)
        logs.update({f"val_{key}": value for key, value in tested.items()})
    return {
        "weights": [w.tolist() for w in model.network.get_weights()],
        "logs": {key: np.asarray(value).tolist() for key, value in logs.items()},
    }


def main(path: str, *names: str) -> None:
    strategy = mtk.distribution.mirrored(2)
    results: dict[str, Any] = {}
    for name in names or SCENARIOS:
        make = SCENARIOS[name]
        results[name] = {}
        for way, each in (("one", None), ("two", strategy)):
            try:
                results[name][way] = trained(make, each)
            except Exception as error:
                results[name][way] = {"error": f"{type(error).__name__}: {error}"[-1500:]}
    Path(path).write_text(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
