"""Metric values per test example, against evaluations of one example at a time."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
from mtk import example_values
from mtk.example_values import ExampleValues
from mtk.experiment import per_example, results
from mtk.experiment.per_example import measure
from mtk.metrics import MeanIoU, PixelAccuracy, SparseCategoricalError
from tests.quick import slow

NUMBER = 11


def trained(tasks, outputs):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    trunk = keras.layers.Dense(5, activation="relu")(inputs)
    heads = {name: keras.layers.Dense(units, name=name)(trunk) for name, units in outputs.items()}
    model = mtk.MultiTaskModel(keras.Model(inputs, heads), tasks)
    model.compile("sgd")
    return model


def shared_input(rng):
    """Two tasks with one input; labels of one are missing, by value, and weighted."""
    from_logits = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rmse = keras.metrics.RootMeanSquaredError(name="rmse")
    weighted = keras.metrics.MeanAbsoluteError(name="weighted_mae")
    tasks = [
        mtk.Task("kind", from_logits, ["accuracy", SparseCategoricalError()], missing=-1),
        mtk.Task("size", "mse", ["mae", rmse], weighted_metrics=[weighted]),
    ]
    kind = rng.integers(-1, 3, NUMBER).astype("int32")
    size = rng.normal(size=(NUMBER, 1)).astype("float32")
    weights = rng.uniform(0.5, 2.0, NUMBER).astype("float32")
    weights[3] = 0.0
    x = rng.normal(size=(NUMBER, 4)).astype("float32")
    masks = {"kind": np.ones(NUMBER, "float32"), "size": weights}
    return trained(tasks, {"kind": 3, "size": 1}), (x, {"kind": kind, "size": size}, masks)


def several_labels(rng):
    """Examples with several labels, of which some are missing."""
    cross = keras.losses.BinaryCrossentropy(from_logits=True)
    tasks = [mtk.Task("tags", cross, ["mae", keras.metrics.AUC(name="auc")])]
    y = rng.integers(0, 2, (NUMBER, 3)).astype("float32")
    mask = rng.integers(0, 2, (NUMBER, 3)).astype("float32")
    x = rng.normal(size=(NUMBER, 4)).astype("float32")
    return trained(tasks, {"tags": 3}), (x, {"tags": y}, {"tags": mask})


def mixed(rng):
    """Each example belongs to one task."""
    tasks = [mtk.Task(name, "mse", ["mae"]) for name in ("a", "b")]
    x = rng.normal(size=(NUMBER, 4)).astype("float32")
    ids = rng.integers(0, 2, NUMBER).astype("int32")
    return trained(tasks, {"a": 1, "b": 1}), (x, rng.normal(size=(NUMBER, 1)), ids)


def evaluated(model, data, size):
    batches = tf.data.Dataset.from_tensor_slices(data).batch(size)
    logs = model.evaluate(batches, verbose=0, return_dict=True)
    return results.by_task(logs, model.task_names, "test"), batches


@pytest.mark.parametrize(
    ("made", "kept", "left_out"),
    [
        (
            shared_input,
            {
                "kind/loss",
                "kind/accuracy",
                "kind/error",
                "size/loss",
                "size/mae",
                "size/weighted_mae",
            },
            {"size/rmse"},
        ),
        slow((several_labels, {"tags/loss", "tags/mae"}, {"tags/auc"})),
        slow((mixed, {"a/loss", "a/mae", "b/loss", "b/mae"}, set())),
    ],
)
def test_values_equal_those_of_single_examples(made, kept, left_out):
    model, data = made(np.random.default_rng(1))
    test, batches = evaluated(model, data, 4)
    found = measure(model, batches, test)
    assert {*found.names} == kept
    metrics = {f"{task}/{name}" for task, own in test["tasks"].items() for name in own}
    assert metrics - kept == left_out
    for n in range(NUMBER):
        alone, _ = evaluated(
            model, tf.nest.map_structure(lambda part, n=n: part[n : n + 1], data), 1
        )
        for row, name in enumerate(found.names):
            task, metric = name.split("/")
            if found.counts[row, n]:
                expected = alone["tasks"][task][metric]
                assert found.values[row, n] == pytest.approx(expected, rel=1e-4, abs=1e-5), name
    for row, name in enumerate(found.names):
        task, metric = name.split("/")
        mean = np.average(found.values[row], weights=found.counts[row])
        assert mean == pytest.approx(test["tasks"][task][metric], rel=1e-4)


def test_graph_and_eager_values_are_equal(monkeypatch):
    model, data = shared_input(np.random.default_rng(1))
    test, batches = evaluated(model, data, 1)
    found = []
    for first in (0, NUMBER):
        monkeypatch.setattr(per_example, "_EAGER", first)
        found.append(per_example.measure(model, batches, test))
    np.testing.assert_array_equal(found[0].orders, found[1].orders)
    np.testing.assert_allclose(found[0].values, found[1].values, rtol=1e-4, atol=1e-5)


class Unweighted(keras.metrics.Mean):
    def update_state(self, y_true, y_pred):
        super().update_state(abs(y_true - y_pred))


def of_a_batch(y_true, y_pred):
    return keras.ops.mean(keras.ops.abs(y_true - y_pred))


def test_metrics_without_sample_weights_are_skipped():
    """Regression test: such a metric ended the run with an error after training."""
    rng = np.random.default_rng(0)
    model = trained([mtk.Task("size", "mse", ["mae", Unweighted("own"), of_a_batch])], {"size": 1})
    x, y = (rng.normal(size=(NUMBER, size)).astype("float32") for size in (4, 1))
    test, batches = evaluated(model, (x, {"size": y}), 4)
    assert {"own", "of_a_batch"} <= test["tasks"]["size"].keys()
    assert {*measure(model, batches, test).names} == {"size/loss", "size/mae"}


def test_examples_of_tasks_with_separate_inputs():
    rng = np.random.default_rng(2)
    tasks = [mtk.Task(name, "mse") for name in ("a", "b")]
    model = trained(tasks, {"a": 1, "b": 1})
    shares = {
        n: (rng.normal(size=(k, 4)), rng.normal(size=(k, 1))) for n, k in (("a", 6), ("b", 4))
    }
    logs = model.evaluate(tf.data.Dataset.from_tensors(shares), verbose=0, return_dict=True)
    test = results.by_task(logs, model.task_names, "test")
    found = measure(model, [tf.nest.map_structure(tf.constant, shares)], test)
    assert dict(zip(found.names, found.sizes, strict=True)) == {"a/loss": 6, "b/loss": 4}
    assert (found.counts[1] == [1, 1, 1, 1, 0, 0]).all()


def test_pixels_are_averaged_per_image_and_miou_is_skipped():
    rng = np.random.default_rng(3)
    inputs = keras.Input((2, 2, 3))
    scores = keras.layers.Dense(3, name="scene")(inputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    task = mtk.Task("scene", loss, [PixelAccuracy(3), MeanIoU(3)], missing=-1)
    model = mtk.MultiTaskModel(keras.Model(inputs, {"scene": scores}), [task])
    model.compile("sgd")
    x = rng.normal(size=(5, 2, 2, 3)).astype("float32")
    y = rng.integers(-1, 3, (5, 2, 2)).astype("int32")
    test, batches = evaluated(model, (x, {"scene": y}), 2)
    found = measure(model, batches, test)
    assert [*found.names] == ["scene/loss", "scene/pixel_accuracy"]
    right = (np.asarray(model.network(x)["scene"]).argmax(-1) == y) & (y >= 0)
    labelled = (y >= 0).sum((1, 2))
    np.testing.assert_allclose(found.counts[1], labelled)
    np.testing.assert_allclose(found.values[1], right.sum((1, 2)) / np.maximum(labelled, 1))


def orders(model, data, size):
    test, batches = evaluated(model, data, size)
    return [*measure(model, batches, test).orders]


def test_order_hash_depends_on_examples_and_order_but_not_on_batches():
    model, (x, y, masks) = shared_input(np.random.default_rng(4))
    first = orders(model, (x, y, masks), 4)
    assert orders(model, (x, y, masks), 11) == first
    turned = tf.nest.map_structure(lambda part: part[::-1].copy(), (x, y, masks))
    assert not {*orders(model, turned, 4)} & {*first}


def test_run_saves_values_that_average_to_its_result(finished):
    folder, result = finished
    with (folder / "test_examples.npz").open("rb") as file:
        found = example_values.read(file)
    for row, name in enumerate(found.names):
        task, metric = name.split("/")
        mean = np.average(found.values[row], weights=found.counts[row])
        assert mean == pytest.approx(result["test"]["tasks"][task][metric], rel=1e-3, abs=1e-5)
    assert {"left/loss", "left/accuracy", "right/loss"} <= {*found.names}
    assert {*found.sizes} == {result["test_examples"]}


def written(found):
    file = io.BytesIO()
    example_values.save(file, found)
    return file.getvalue()


def some(number=50, metrics=3):
    rng = np.random.default_rng(0)
    names = np.array([f"task/m{n}" for n in range(metrics)])
    values = rng.normal(size=(metrics, number)).astype(np.float32)
    return ExampleValues(names, names, np.full(metrics, number), values, np.ones_like(values))


def test_file_round_trip():
    for own, its in zip(some(), example_values.read(io.BytesIO(written(some()))), strict=True):
        np.testing.assert_array_equal(own, its)


def test_size_is_bounded(monkeypatch):
    monkeypatch.setattr(example_values, "MOST_VALUES", 60)
    found = example_values.read(io.BytesIO(written(some())))
    assert found.values.size <= 60
    assert {*found.sizes} == {50}
    np.testing.assert_array_equal(found.values, some().values[:, ::3])


def test_damaged_files_raise_or_are_read_consistently():
    content = written(some())
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            damaged[place] = rng.integers(0, 256)
        try:
            found = example_values.read(
                io.BytesIO(bytes(damaged[: rng.integers(1, len(damaged) + 1)]))
            )
        except ValueError:
            continue
        assert found.values.shape == found.counts.shape
    for broken in (b"", b"PK", content[: len(content) // 2]):
        with pytest.raises(ValueError, match="^expected"):
            example_values.read(io.BytesIO(broken))


@pytest.mark.parametrize("change", ["shape", "object", "lack"])
def test_invalid_arrays_raise(change):
    own = some()._asdict()
    if change == "shape":
        own["counts"] = own["counts"][:, :3]
    if change == "object":
        own["values"] = np.full((3, 50), None)
    if change == "lack":
        own.pop("sizes")
    file = io.BytesIO()
    np.savez(file, **own)
    with pytest.raises(ValueError, match="expected"):
        example_values.read(file)
