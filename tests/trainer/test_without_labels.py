"""A task without labels in a whole split has NaN or null as results, not zero."""

import itertools
import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mtk

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 4)).astype("float32")
Y = {
    "size": RNG.normal(size=(24, 1)).astype("float32"),
    "size_kind": RNG.integers(0, 3, 24).astype(
        "int32"
    ),  # Its name begins with that of another task.
    "many": RNG.integers(0, 2, (24, 3)).astype("float32"),
}
MISSING = {"size": math.nan, "size_kind": -1, "many": math.nan}


def network():
    x = keras.Input((4,))
    h = layers.Dense(4, name="trunk")(x)
    return keras.Model(
        x,
        {
            "size": layers.Dense(1, name="size")(h),
            "size_kind": layers.Dense(3, "softmax", name="size_kind")(h),
            "many": layers.Dense(3, "sigmoid", name="many")(h),
        },
    )


def tasks(missing=None):
    missing = missing or dict.fromkeys(Y)
    f1 = keras.metrics.F1Score()
    found = [
        mtk.Task("size", "mse", ["mae"]),
        mtk.Task("size_kind", "sparse_categorical_crossentropy", ["accuracy"]),
        mtk.Task("many", "binary_crossentropy", ["AUC", f1], weighted_metrics=["accuracy"]),
    ]
    for task in found:
        task.missing = missing[task.name]
    return found


def unlabelled(form, names, rows=slice(None)):
    """Returns data in which the named tasks have no labels, and the tasks."""
    x, y = X[rows], {task: labels[rows] for task, labels in Y.items()}
    if form == "mask":
        mask = {task: np.full(len(x), task not in names, "float32") for task in Y}
        return (x, y, mask), tasks()
    if form == "missing":
        y = {t: np.full_like(own, MISSING[t]) if t in names else own for t, own in y.items()}
        return (x, y), tasks(MISSING)
    shares = {
        task: (x, own, np.full(len(x), task not in names, "float32")) for task, own in y.items()
    }
    return shares, tasks()


def of_task(logs, task):
    owners = {
        name: max((t for t in Y if name.startswith(f"{t}_")), key=len, default="") for name in logs
    }
    return [float(np.mean(logs[name])) for name in logs if owners[name] == task]


@pytest.mark.parametrize("form", ["mask", "missing", "shares"])
def test_evaluation_gives_nan_for_a_task_without_labels(form):
    model = mtk.MultiTaskModel(network(), unlabelled(form, ())[1])
    model.compile("sgd")
    for number in (0, 1, 2):
        for names in itertools.combinations(Y, number):
            data, _ = unlabelled(form, names)
            batches = tf.data.Dataset.from_tensor_slices(data).batch(8)
            logs = model.evaluate(batches, verbose=0, return_dict=True)
            for task in Y:
                assert np.isnan(of_task(logs, task)).all() == (task in names)
                assert np.isfinite(of_task(logs, task)).all() == (task not in names)
            known = [logs[f"{task}_loss"] for task in Y if task not in names]
            assert logs["loss"] == pytest.approx(np.mean(known), rel=1e-5)
            flat = model.evaluate(batches, verbose=0)
            assert len(flat) == len(logs)
            np.testing.assert_allclose(flat[0], logs["loss"], rtol=1e-6)


def test_run_gives_null_for_a_task_without_labels(tmp_path):
    def make():
        parts = [unlabelled("mask", names, rows)[0] for names, rows in PARTS]
        return mtk.workloads.Arrays(network, tasks(), *parts)

    training = mtk.experiment.Training(epochs=3, monitor="mean_loss")
    optimization = mtk.experiment.Optimization(batch_size=4)
    result = mtk.experiment.run(make, tmp_path / "run", training, optimization=optimization)
    assert (result["status"], result["steps"]) == ("finished", 9)
    for split in ("validation", "test"):
        assert {*result[split]["tasks"]["size"].values()} == {None}
        assert None not in result[split]["tasks"]["size_kind"].values()
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    size = [
        line["value"] for line in lines if line["task"] == "size" and line["split"] == "validation"
    ]
    assert size == [None] * 6
    monitored = mtk.experiment.Training(epochs=3, monitor="size_mae")
    with pytest.raises(ValueError, match=r"without validation labels"):
        mtk.experiment.run(make, tmp_path / "other", monitored, optimization=optimization)


PARTS = [((), slice(0, 12)), (("size",), slice(12, 18)), (("size",), slice(18, 24))]


def test_infinite_loss_ends_training_beside_a_task_without_labels():
    """The NaN results of a task without labels do not end it."""
    watch = mtk.callbacks.TerminateOnNonFinite()
    data, own = unlabelled("mask", ["size"])
    model = mtk.MultiTaskModel(network(), own)
    model.compile(keras.optimizers.SGD(0.0))
    model.fit(X, Y, validation_data=data, epochs=2, verbose=0, callbacks=[watch])
    assert watch.found_at is None
    data[1]["many"] = np.full_like(data[1]["many"], np.inf)
    model.fit(X, Y, validation_data=data, epochs=2, verbose=0, callbacks=[watch])
    assert watch.found_at is not None
