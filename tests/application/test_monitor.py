"""Monitors: forms, directions, values, and their record in a run's folder."""

import json
import math
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from application_runs import fit, read_metrics, start

import mtk
from mtk import callbacks, metrics, monitor
from mtk.callbacks.base import entries
from mtk.callbacks.monitored import monitor_of, of_trained
from mtk.directions import direction, directions
from mtk.losses import SmoothedCrossentropy
from mtk.workloads import MultiDigits
from tests.quick import slow, some

sys.path.append(str(Path(__file__).parents[1] / "resume"))
TASKS = ("left", "right")
KNOWN = {"loss": "min", "a_loss": "min", "b_loss": "min", "a_acc": "max", "b_what": None}


UNITS = {"a_loss": "mse", "b_loss": "mse", "a_acc": "share", "b_what": "share"}


def resolved(given, units=UNITS, known=KNOWN):
    return monitor.resolve(given, known, ["a_loss", "b_loss"], units)


@pytest.mark.parametrize(
    ("given", "name", "way", "terms"),
    [
        (None, "mean_loss", "min", [("loss", "min")]),
        ("mean_loss", "mean_loss", "min", [("loss", "min")]),
        ("loss", "mean_loss", "min", [("loss", "min")]),
        ("val_loss", "mean_loss", "min", [("loss", "min")]),
        ("relative_loss", "relative_loss", "min", [("a_loss", "min"), ("b_loss", "min")]),
        ("a_loss", "a_loss", "min", [("a_loss", "min")]),
        ("a_acc", "a_acc", "max", [("a_acc", "max")]),
        ("val_a_acc", "a_acc", "max", [("a_acc", "max")]),
        (("b_what", "max"), "b_what", "max", [("b_what", "max")]),
        (["b_what", "min"], "b_what", "min", [("b_what", "min")]),
        ({"b_what": "min"}, "b_what", "min", [("b_what", "min")]),
        (["a_acc"], "a_acc", "max", [("a_acc", "max")]),
        (["a_loss", "b_loss"], "mean(a_loss: min, b_loss: min)", "min", None),
        (["a_acc", "a_loss"], "mean(a_acc: max, a_loss / first: min)", "min", None),
        (["a_acc", ("b_what", "max")], "mean(a_acc: max, b_what: max)", "max", None),
        ({"a_acc": "max", "b_loss": "min"}, "mean(a_acc: max, b_loss / first: min)", "min", None),
        ({"mean_loss": "min", "a_acc": "max"}, "mean(loss / first: min, a_acc: max)", "min", None),
    ],
)
def test_forms(given, name, way, terms):
    found = resolved(given)
    assert (found.name, found.direction) == (name, way)
    assert terms is None or list(found.terms) == terms
    assert monitor.resolve(found, {}, [], {}) is found


def test_default_depends_on_units():
    assert resolved(None).name == "mean_loss"
    assert resolved(None, {"a_loss": "mse", "b_loss": "nats"}).name == "relative_loss"
    assert resolved(None, {}).name == "relative_loss"
    assert monitor.resolve(None, {"loss": "min"}, [], {}).name == "mean_loss"


def test_task_named_mean():
    known = {**KNOWN, "mean_loss": "min"}
    assert resolved("mean_loss", known=known).terms == (("loss", "min"),)
    assert resolved(("mean_loss", "min"), known=known).terms == (("mean_loss", "min"),)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a_los", "Did you mean 'a_loss'.*a_acc, a_loss, b_loss, b_what, mean_loss, relative_loss"),
        ("b_what", r"is unknown.*monitor=\('b_what', 'max'\)"),
        (["a_acc", "b_what"], "is unknown"),
        (("a_acc", "up"), "No evaluation measures 'up'"),
        ({"a_acc": "up"}, "'min' or 'max'"),
        ({"a_acc": None}, "'min' or 'max'"),
        ([], "one or more metrics"),
        ({}, "one or more metrics"),
        (["a_acc", "a_acc"], "each once"),
        (["a_acc", "val_a_acc"], "each once"),
        (3, r"(?s)mean_loss.*Received: 3"),
        ([3], "Received: 3"),
        ("", "No evaluation measures ''"),
        (["relative_loss", "a_acc"], "a mean itself"),
    ],
)
def test_invalid_forms_raise(given, message):
    with pytest.raises(ValueError, match=message):
        resolved(given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("mean_loss", 1.5),
        ("a_loss", 1.0),
        ("a_acc", 0.75),
        ({"a_acc": "max", "b_loss": "min"}, (2.0 / 0.5 - 0.75) / 2),
        (["a_loss", "b_loss"], (1.0 + 2.0) / 2),
        ({"a_acc": "max", "b_what": "max"}, (0.75 + 5.0) / 2),
        ("relative_loss", (1.0 / 4 + 2.0 / 0.5) / 2),
    ],
)
def test_values(given, expected):
    logs = {"val_loss": 1.5, "val_a_loss": 1.0, "val_b_loss": 2.0, "val_a_acc": 0.75}
    logs |= {"val_b_what": 5.0, "loss": 100.0, "a_loss": 100.0}
    found = resolved({given: "max"} if given == "b_what" else given)
    assert found.value(logs, {"a_loss": 4.0, "b_loss": 0.5}) == pytest.approx(expected)


@pytest.mark.parametrize("first", [2.0, 1e-9, 1e9, -3.0])
def test_relative_loss_is_increasing_for_any_sign_of_the_first_value(first):
    found = monitor.resolve("relative_loss", {"a_loss": "min"}, ["a_loss"], {})
    values = [found.value({"val_a_loss": x}, {"a_loss": first}) for x in (-5, -1, 0.0, first, 1e10)]
    assert found.value({"val_a_loss": first}, {"a_loss": first}) == 1.0
    order = sorted([-5, -1, 0.0, first, 1e10])
    again = [found.value({"val_a_loss": x}, {"a_loss": first}) for x in order]
    assert again == sorted(values)


@pytest.mark.parametrize("first", [0.0, math.inf, math.nan])
def test_first_value_of_zero_or_nan_is_not_used(first):
    found = monitor.resolve("relative_loss", {"a_loss": "min"}, ["a_loss"], {})
    assert found.first({"val_a_loss": first}) is None
    assert math.isnan(found.value({"val_a_loss": 1.0}, None))
    assert found.first({"val_a_loss": -2.0}) == {"a_loss": -2.0}


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_selection_does_not_depend_on_units_of_metrics(scale):
    """The selection is the same for an error in grams or in tonnes."""
    units = {"a_auc": "share", "b_mae": "mae", "c_rank": None}
    ways = {"a_auc": "max", "b_mae": "min", "c_rank": "max"}
    found = monitor.resolve(ways, ways, [], units)
    assert found.name == "mean(a_auc: max, b_mae / first: min, c_rank / first: max)"
    logs = [
        {"val_a_auc": auc, "val_b_mae": mae * scale, "val_c_rank": rank * max(1.0, scale)}
        for auc, mae, rank in [(0.5, 4.0, 1.0), (0.9, 1.0, 2.0), (0.4, 0.9, 2.0)]
    ]
    first = found.first(logs[0])
    assert set(first) == {"b_mae", "c_rank"}
    values = [found.value(each, first) for each in logs]
    expected = [(1 - 0.5 - 1) / 3, (1 / 4 - 0.9 - 2) / 3, (0.9 / 4 - 0.4 - 2) / 3]
    assert values == pytest.approx(expected)
    runs = [
        monitor.Selected(found.name, found.direction, value, terms=found.signed(each), first=first)
        for value, each in zip(values, logs, strict=True)
    ]
    assert monitor.compared(runs) == pytest.approx(expected)


@pytest.mark.parametrize("score", [0.0, 1e-3, -1e-3])
def test_score_with_a_first_value_near_zero_is_not_divided_by_it(score):
    ways = {"a_f1": "max", "b_auc": "max"}
    found = monitor.resolve(ways, ways, [], {"a_f1": "f1", "b_auc": "share"})
    first = found.first({"val_a_f1": score, "val_b_auc": 0.5})
    assert first == {"a_f1": 1.0}
    assert found.value({"val_a_f1": 0.5, "val_b_auc": 0.75}, first) == (0.5 + 0.75) / 2
    assert found.first({"val_a_f1": math.nan, "val_b_auc": 0.5}) is None


def test_mean_of_maximized_metrics_in_two_units():
    ways = {"a_rank": "max", "b_count": "max"}
    found = monitor.resolve(ways, ways, [], {"a_rank": "rank", "b_count": "count"})
    assert found.direction == "max"
    firsts = [{"a_rank": 1.0, "b_count": 100.0}, {"a_rank": 4.0, "b_count": 400.0}]
    logs = [{"val_a_rank": 4.0, "val_b_count": 400.0}, {"val_a_rank": 8.0, "val_b_count": 800.0}]
    runs = {
        str(n): monitor.Selected(
            found.name,
            found.direction,
            found.value(logs[n], firsts[n]),
            terms=found.signed(logs[n]),
            first=firsts[n],
        )
        for n in range(2)
    }
    assert [run.value for run in runs.values()] == [4.0, 2.0]
    # In the geometric mean of both units, 2 and 200, the second run has twice as much.
    assert monitor.compared(list(runs.values())) == pytest.approx([-2.0, -4.0])
    assert monitor.shown(runs) == pytest.approx({"0": 2.0, "1": 4.0})


def test_nan_is_never_better():
    for given in ("a_loss", "a_acc"):
        found = resolved(given)
        assert not found.is_better(math.nan, found.worst)
        assert found.is_better(0.5, found.worst)
        assert not found.is_better(0.5, 0.5)
    assert resolved("a_acc").is_better(0.6, 0.5)
    assert resolved("a_loss").is_better(0.4, 0.5)


class Custom(keras.metrics.Mean):
    pass


class WithDirection(keras.metrics.Mean):
    direction = "max"


class Derived(keras.metrics.AUC):
    pass


def decorated_metric(y_true, y_pred):
    return y_pred


decorated_metric.direction = "max"
DIRECTIONS = {
    "max": [
        *(keras.metrics.SparseCategoricalAccuracy(name="error"), keras.metrics.AUC(name="loss")),
        *(keras.metrics.F1Score(), keras.metrics.R2Score(), keras.metrics.MeanIoU(2), Derived()),
        *(keras.metrics.CosineSimilarity(), keras.metrics.Precision(), keras.metrics.Recall()),
        *(keras.metrics.BinaryIoU(), keras.metrics.OneHotMeanIoU(2), keras.metrics.Accuracy()),
        *(keras.metrics.TopKCategoricalAccuracy(), keras.metrics.TruePositives(), WithDirection()),
        *(metrics.MeanIoU(3), metrics.PixelAccuracy(3)),
        keras.metrics.MeanMetricWrapper(decorated_metric, name="error"),
        keras.metrics.MeanMetricWrapper(keras.metrics.binary_accuracy, name="loss"),
        keras.metrics.sparse_categorical_accuracy,
    ],
    "min": [
        *(keras.metrics.MeanSquaredError(name="accuracy"), keras.metrics.MeanAbsoluteError()),
        *(keras.metrics.RootMeanSquaredError(), keras.metrics.FalsePositives()),
        *(keras.metrics.Hinge(), keras.metrics.KLDivergence(), keras.metrics.Poisson()),
        *(keras.metrics.SparseCategoricalCrossentropy(), keras.metrics.LogCoshError()),
        *(metrics.SparseCategoricalError(), metrics.SparseCrossEntropy(), metrics.RelativeError()),
        keras.metrics.MeanMetricWrapper(keras.losses.huber, name="accuracy"),
    ],
    None: [
        *(keras.metrics.Mean(name="accuracy"), keras.metrics.Sum(name="loss"), Custom("accuracy")),
        keras.metrics.MeanMetricWrapper(lambda y_true, y_pred: y_pred, name="accuracy"),
    ],
}


@pytest.mark.parametrize(
    ("metric", "way"), [(metric, way) for way, each in DIRECTIONS.items() for metric in each]
)
def test_direction_depends_on_the_class_and_not_on_the_name(metric, way):
    assert direction(metric) == way


def test_direction_attribute_is_validated():
    metric = keras.metrics.Mean()
    metric._direction = "up"
    assert direction(metric) == "max"
    metric.direction = "min"
    assert direction(metric) == "min"
    metric.direction = "up"
    with pytest.raises(ValueError, match=r"`direction`.*'min' or 'max'.*'up'"):
        direction(metric)


def test_direction_of_accuracy_given_by_name():
    """The first batch determines the kind of accuracy; the direction is the same for all kinds."""
    inputs = keras.Input((3,))
    network = keras.Model(inputs, [keras.layers.Dense(n)(inputs) for n in (1, 2)])
    model = mtk.MultiTaskModel(network)
    model.compile("sgd", loss=["mse", "mse"], metrics=[["accuracy"], ["acc"]])
    found = {name: way for name, way in directions(model).items() if "acc" in name}
    assert list(found.values()) == ["max", "max"]
    stop = keras.callbacks.EarlyStopping(f"val_{next(iter(found))}")
    y = [np.zeros((8, 1)), np.zeros((8, 2))]
    model.fit(np.zeros((8, 3)), y, validation_split=0.5, callbacks=[stop], verbose=0)


def test_every_keras_metric_except_means_has_a_direction():
    for name in dir(keras.metrics):
        kind = getattr(keras.metrics, name)
        if isinstance(kind, type) and issubclass(kind, keras.metrics.Metric):
            neutral = name in ("Mean", "MeanMetricWrapper", "Metric", "Sum")
            found = direction(kind.__new__(kind))
            assert (found is None) == neutral, name


def model_of(*losses, found=()):
    inputs = keras.Input((3,))
    outputs = {f"t{k}": keras.layers.Dense(2)(inputs) for k in range(len(losses))}
    tasks = [mtk.Task(f"t{k}", loss, list(found)) for k, loss in enumerate(losses)]
    return mtk.MultiTaskModel(keras.Model(inputs, outputs), tasks)


_SPARSE = keras.losses.SparseCategoricalCrossentropy
LOSSES = [
    (("mse", "mse"), "mean_loss"),
    (("mse", keras.losses.MeanSquaredError()), "mean_loss"),
    (("mse", "mae"), "relative_loss"),
    ((_SPARSE(from_logits=True), "binary_crossentropy"), "mean_loss"),
    ((_SPARSE(), SmoothedCrossentropy()),
     "mean_loss"),
    ((_SPARSE(), keras.losses.MeanAbsoluteError()), "relative_loss"),
    (("mse",), "mean_loss"),
    (("mse", "mse", "huber"), "relative_loss"),
]  # fmt: skip


@pytest.mark.parametrize(("losses", "name"), LOSSES)
def test_default_of_a_model(losses, name):
    assert monitor_of(None, model_of(*losses)).name == name


UNITS_OF_METRICS = [
    (["binary_accuracy", "auc"], set()),
    (["accuracy", "sparse_top_k_categorical_accuracy"], set()),
    (["binary_accuracy", keras.metrics.Precision(), keras.metrics.MeanIoU(2)], set()),
    ([metrics.MeanIoU(2), metrics.PixelAccuracy(2), keras.metrics.R2Score()], set()),
    (["mae", keras.metrics.MeanAbsoluteError("other")], set()),
    (["mae", "mse"], {0, 1}),
    (["mae", "binary_accuracy"], {0}),
    ([keras.metrics.TruePositives(), "auc"], {0}),
    ([WithDirection("one"), WithDirection("two")], set()),
    ([WithDirection("one"), metrics.SparseCategoricalError()], {0, 1}),
]


@pytest.mark.parametrize(("chosen", "relative"), UNITS_OF_METRICS)
def test_metrics_with_the_same_unit_are_not_made_relative(chosen, relative):
    inputs = keras.Input((3,))
    outputs = {f"t{k}": keras.layers.Dense(2)(inputs) for k in range(len(chosen))}
    loss = "sparse_categorical_crossentropy" if "accuracy" in chosen else "mse"
    tasks = [mtk.Task(f"t{k}", loss, [metric]) for k, metric in enumerate(chosen)]
    model = mtk.MultiTaskModel(keras.Model(inputs, outputs), tasks)
    names = [name for name in directions(model) if not name.endswith("loss")]
    found = monitor_of(names, model)
    assert {names.index(name) for name in found.relative} == relative


@pytest.mark.parametrize(
    ("losses", "given", "terms"),
    [
        (("mse", "mse", "mse"), None, ["t0_loss", "t2_loss"]),
        (("mse", "mae", "mse"), None, ["t0_loss", "t2_loss"]),
        (("mse", "mse", "mse"), {"t1_mae": "min", "t2_mae": "min"}, ["t2_mae"]),
        (("mse", "mse", "mse"), ("t1_mae", "max"), ["t0_loss", "t2_loss"]),
    ],
)
def test_monitor_is_restricted_to_trained_tasks(losses, given, terms):
    model = model_of(*losses, found=["mae"])
    whole = monitor_of(given, model)
    as_it_is = whole.name, whole.direction
    is_left = whole.direction == "min"
    for weights, expected, way in (
        ([3.0, 0.0, 1.0], terms, as_it_is if is_left else ("mean_loss", "min")),
        (None, [name for name, _ in whole.terms], as_it_is),
    ):
        model.combiner = mtk.combiners.StaticWeights(weights)
        model.combiner.build(3)
        found = of_trained(whole, model)
        assert [term for term, _ in found.terms] == expected
        assert (found.name, found.direction) == way


def test_run_that_trains_no_monitored_task_selects_by_its_losses(tmp_path):
    model = model_of("mse", "mse", found=["mae"])
    model.combiner = mtk.combiners.StaticWeights([0.0, 1.0])
    model.combiner.build(2)
    best = mtk.callbacks.BestCheckpoint(
        tmp_path / "best.weights.h5", patience=1, monitor=("t0_mae", "max")
    )
    best.set_model(model)
    drift = ((0.5, 3.0), (0.1, 2.0), (0.9, 4.0))
    for best.step, (mae, loss) in enumerate(drift, 1):
        best.evaluated({"val_t0_mae": mae, "val_t0_loss": mae, "val_t1_loss": loss})
    assert best.selected_step == 2
    assert model.stop_training
    assert (best.record["name"], best.record["value"]) == ("t0_mae", 0.1)


@pytest.mark.parametrize(
    ("name", "terms", "first", "better"),
    [
        ("mean_loss", {}, {}, 1),
        ("relative_loss", {"a_loss": (2, 1), "b_loss": (1, 9)}, {"a_loss": 2, "b_loss": 1}, 1),
        ("mean", {"a_acc": (-0.2, -0.9), "b_loss": (1, 9)}, {"b_loss": 1}, 1),
        ("mean", {"a_acc": (-0.2, -0.9), "b_acc": (-0.9, -0.1)}, {}, 1),
        ("b_acc", {"b_acc": (-0.9, -0.1)}, {}, 1),
    ],
)
def test_runs_that_train_the_same_tasks_are_compared_by_those_tasks(name, terms, first, better):
    """By their losses if none of them is monitored; by all terms if one run trains other tasks."""
    losses = ({"a": 2.0, "b": 1.0}, {"a": 1.0, "b": 9.0})
    runs = [
        monitor.Selected(
            name,
            "min",
            np.mean([each[n] for each in terms.values()] or [*losses[n].values()]),
            losses[n],
            {term: each[n] for term, each in terms.items()},
            first,
            ("a",),
        )
        for n in (0, 1)
    ]
    assert np.argmin(monitor.compared(runs)) == better
    assert np.argmin(monitor.compared([runs[0]._replace(trained=()), runs[1]])) == 0
    shown = monitor.shown({"0": runs[0], "1": runs[1]})
    assert [*shown.values()] == monitor.compared(runs)


def test_monitors_by_names_of_a_models_metrics():
    model = model_of("mse", "mae", found=["mae", Custom("what")])
    assert monitor_of(["t0_mae", "t1_loss"], model).direction == "min"
    assert monitor_of(("t0_what", "max"), model).direction == "max"
    with pytest.raises(ValueError, match="is unknown"):
        monitor_of("t0_what", model)
    with pytest.raises(ValueError, match="No evaluation measures 't0_weight'"):
        monitor_of(("t0_weight", "max"), model)


def test_selection_uses_its_monitor(model, batches, tmp_path):
    expected = [
        ("mean_loss", "val_loss", min),
        ("odd_accuracy", "val_odd_accuracy", max),
        (("odd_accuracy", "min"), "val_odd_accuracy", min),
        ("large_loss", "val_large_loss", min),
    ]
    selections = [
        callbacks.BestCheckpoint(tmp_path / f"{index}.weights.h5", monitor=given)
        for index, (given, *_) in enumerate(expected)
    ]
    history = fit(model, batches, *selections, epochs=5).history
    for selection, (_, key, pick) in zip(selections, expected, strict=True):
        values = history[key]
        best = pick(values)
        assert selection.best == best
        assert selection.selected_step == 10 * (values.index(best) + 1)


@pytest.mark.parametrize("given", some(["mean_loss", "relative_loss"], ["relative_loss"]))
def test_untrained_task_does_not_affect_selection(model, batches, tmp_path, given):
    """The record covers all tasks, so that the run compares with runs that train all."""
    combiner = mtk.combiners.StaticWeights({"odd": 0.0, "large": 1.0})
    model = mtk.MultiTaskModel(model.network, model.tasks, combiner)
    model.compile(keras.optimizers.SGD(0.1))
    fit(model, batches, epochs=1)
    selection = callbacks.BestCheckpoint(tmp_path / "best.weights.h5", monitor=given)
    alone = callbacks.BestCheckpoint(tmp_path / "alone.weights.h5", monitor="large_loss")
    logs = {"val_odd_loss": [1.0, 2.0, 3.0], "val_large_loss": [0.9, 0.5, 0.7]}
    for callback in (selection, alone):
        callback.set_model(model)
    for step in range(3):
        now = {name: values[step] for name, values in logs.items()}
        mean = sum(now.values()) / 2
        for callback in (selection, alone):
            callback.step = step
            callback.evaluated({**now, "val_loss": mean})
    assert selection.selected_step == alone.selected_step == 1
    expected = {"mean_loss": 1.25, "relative_loss": (2.0 + 0.5 / 0.9) / 2}
    assert selection.record["value"] == pytest.approx(expected[given])


def test_patience_uses_the_monitor(model, batches, tmp_path):
    class Fixed(callbacks.BestCheckpoint):
        seen = iter([0.5, 0.6, 0.6, 0.55, 0.7])

        def evaluated(self, logs):
            logs["val_odd_accuracy"] = next(self.seen)
            super().evaluated(logs)

    selection = Fixed(tmp_path / "best.weights.h5", patience=2, monitor="odd_accuracy")
    fit(model, batches, selection, epochs=9)
    assert (selection.step, selection.selected_step, selection.best) == (40, 20, 0.6)


def test_selection_of_a_plain_keras_model(batches, tmp_path):
    model = keras.Sequential([keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=[keras.metrics.SparseCategoricalAccuracy(name="hits")])
    own = batches.map(lambda x, y: (x, y["odd"]))
    selection = callbacks.BestCheckpoint(tmp_path / "best.weights.h5", monitor=("hits", "max"))
    history = fit(model, own, selection).history
    assert selection.best == max(history["val_hits"])
    selection = callbacks.BestCheckpoint(tmp_path / "best.weights.h5")
    history = fit(model, own, selection).history
    assert selection.best == min(history["val_loss"])


def test_metric_with_several_values_counts_as_their_mean(tmp_path):
    """As in Keras' progress bar: the F1 score has one value per class."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "softmax")])
    model.compile("sgd", "categorical_crossentropy", metrics=[keras.metrics.F1Score()])
    x, y = np.ones((6, 2), "float32"), np.eye(3, dtype="float32")[[0, 1, 2] * 2]
    keeps = callbacks.BestCheckpoint(tmp_path / "a.weights.h5", monitor=("f1_score", "max"))
    logs = model.fit(x, y, validation_data=(x, y), verbose=0, callbacks=[keeps]).history
    (each,) = logs["val_f1_score"]
    assert keeps.best == pytest.approx(np.mean(each))
    assert keeps.selected_logs["val_f1_score"] == pytest.approx(np.mean(each))
    (entry,) = entries({"a_f1_score": each}, ["a"], "train")
    assert entry.value == pytest.approx(np.mean(each))


def test_monitors_of_a_plain_keras_model():
    inputs = keras.Input((4,))
    heads = {name: keras.layers.Dense(1, name=name)(inputs) for name in ("size", "kind")}
    model = keras.Model(inputs, heads)
    found = {"size": ["mae"], "kind": [keras.metrics.BinaryAccuracy(name="hits")]}
    model.compile("sgd", {"size": "mse", "kind": "binary_crossentropy"}, metrics=found)
    x, y = np.ones((4, 4), "float32"), np.ones((4, 1), "float32")
    model.fit(x, {"size": y, "kind": y}, verbose=0)
    assert monitor_of(None, model).name == "mean_loss"
    relative = monitor_of("relative_loss", model)
    assert relative.relative == {"size_loss", "kind_loss"}
    mean = "mean(size_mae / first: min, kind_hits: max)"
    assert monitor_of({"size": "MAE", "kind": "hits"}, model).name == mean


def test_first_evaluation_does_not_count_against_patience(tmp_path):
    class Alone:
        metrics, stop_training = (), False

    selection = callbacks.BestCheckpoint(
        tmp_path / "best.weights.h5", 1, {"a": "min", "b_auc": "max"}
    )
    selection.set_model(Alone())
    selection.evaluated({"val_a": 0.0, "val_b_auc": 0.5})
    assert (selection.worse_in_a_row, selection.model.stop_training) == (0, False)


class Mixed(MultiDigits):
    """Classification of one digit and regression of the other: losses of two units."""

    def __init__(self, scale=1000.0):
        super().__init__(partners=1, channels=(4, 4), units=8)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.tasks = [mtk.Task("left", loss, ["accuracy"]), mtk.Task("right", _Scaled(scale))]


class _Scaled(keras.losses.Loss):
    def __init__(self, scale=1.0, name="scaled"):
        super().__init__(name=name, reduction=None)
        self.scale = scale

    def call(self, y_true, y_pred):
        true = tf.one_hot(tf.cast(tf.reshape(y_true, [-1]), tf.int32), 10)
        return self.scale * tf.reduce_mean(tf.abs(true - y_pred), -1)

    def get_config(self):
        return {"scale": self.scale, "name": self.name}


def measured(folder, task, name="loss"):
    return {
        line["step"]: line["value"]
        for line in read_metrics(folder)
        if (line["split"], line["task"], line["name"]) == ("validation", task, name)
    }


@pytest.mark.slow
def test_losses_of_two_units_are_relative_to_their_first_values(tmp_path):
    folder = tmp_path / "run"
    result = start(Mixed, folder, learning_rate=0.001, clip_norm=1.0, steps=12)
    losses = {task: measured(folder, task) for task in TASKS}
    first = {task: losses[task][4] for task in TASKS}
    means = {
        step: (losses["left"][step] / first["left"] + losses["right"][step] / first["right"]) / 2
        for step in (4, 8, 12)
    }
    best = min(means, key=means.get)
    assert result["selected_step"] == best
    assert result["monitor"] == {
        "name": "relative_loss",
        "direction": "min",
        "value": pytest.approx(means[best], rel=1e-6),
        "terms": {f"{t}_loss": pytest.approx(losses[t][best], rel=1e-6) for t in TASKS},
        "first": {f"{t}_loss": pytest.approx(value, rel=1e-6) for t, value in first.items()},
    }
    assert json.loads((folder / "result.json").read_text()) == result


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "name", "way"),
    [
        slow((None, "mean_loss", "min")),
        slow(("left_accuracy", "left_accuracy", "max")),
        (
            {"left_accuracy": "max", "right_loss": "min"},
            "mean(left_accuracy: max, right_loss / first: min)",
            "min",
        ),
    ],
)
def test_monitor_of_a_run_is_recorded(tiny, tmp_path, given, name, way):
    folder = tmp_path / "run"
    result = start(tiny, folder, monitor=given)
    found = result["monitor"]
    assert (found["name"], found["direction"]) == (name, way)
    left, right = measured(folder, "left", "accuracy"), measured(folder, "right")
    every = {
        "mean_loss": measured(folder, ""),
        "left_accuracy": left,
        "mean(left_accuracy: max, right_loss / first: min)": {
            step: (right[step] / right[min(right)] - left[step]) / 2 for step in right
        },
    }[name]
    best = (max if way == "max" else min)(every.values())
    assert found["value"] == pytest.approx(best, rel=1e-6)
    assert every[result["selected_step"]] == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("given", ["left_acuracy", "left_weight", {"left_accuracy": "up"}, []])
def test_invalid_monitor_raises_and_leaves_no_folder(tiny, tmp_path, given):
    with pytest.raises(ValueError, match="monitor"):
        start(tiny, tmp_path / "run", monitor=given)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_other_monitor_in_the_same_folder_raises(tiny, tmp_path):
    start(tiny, tmp_path / "run", steps=1)
    with pytest.raises(ValueError, match=r"monitor: None in the folder, 'relative_loss' now"):
        start(tiny, tmp_path / "run", steps=1, monitor="relative_loss")


CRASHES = ((4, "on_test_begin"), (7, "stepped"), (10, "evaluated"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "crashes"),
    [
        ("relative_loss", CRASHES[1:2]),
        slow(("relative_loss", CRASHES)),
        slow(("left_accuracy", CRASHES)),
    ],
)
def test_monitor_is_unchanged_by_crashes(tiny, tmp_path, monkeypatch, given, crashes):
    from crashes import CrashError, crash

    expected = start(tiny, tmp_path / "undisturbed", monitor=given, every=0.0)
    for step, moment in crashes:
        crash(monkeypatch, step, moment)
        with pytest.raises(CrashError):
            start(tiny, tmp_path / "run", monitor=given, every=0.0)
    assert start(tiny, tmp_path / "run", monitor=given, every=0.0) == expected


def test_state_of_an_earlier_version_continues_with_mean_loss(tmp_path):
    selection = callbacks.BestCheckpoint(tmp_path / "best.weights.h5", monitor="relative_loss")
    selection.set_model(model_of("mse", "mae"))
    old = {"selected_step": 4, "selected_logs": {"val_loss": 0.5}, "best": 0.5, "worse_in_a_row": 1}
    selection.set_state(old)
    assert selection.compared.name == "mean_loss"
    assert (selection.best, selection.worse_in_a_row) == (0.5, 1)
    selection.set_state({**old, "selected_step": None, "best": math.inf})
    assert selection.best is None


def result_of(losses, name=None, value=None, way="min", first=None):
    tasks = {task: {"loss": loss} for task, loss in losses.items()}
    said = {} if name is None else {"monitor": {"name": name, "direction": way, "value": value}}
    if first:
        said["monitor"]["first"] = first
    return {"status": "finished", "validation": {"tasks": tasks}, **said}


def test_runs_are_compared_by_their_monitor():
    losses = {"a": 1.0, "b": 3.0}
    old, new = result_of(losses), result_of(losses, "mean_loss", 1.5)
    assert monitor.compared([monitor.selected(each) for each in (old, new)]) == [2.0, 1.5]
    high = [result_of(losses, "a_acc", value, "max") for value in (0.5, 0.9)]
    assert monitor.compared([monitor.selected(each) for each in high]) == [-0.5, -0.9]
    with pytest.raises(monitor.DifferentMonitorsError, match=r"'mean_loss' \(min\), 'a_acc' \(max"):
        monitor.compared([monitor.selected(each) for each in (old, *high)])


def test_relative_losses_of_several_runs_share_one_unit():
    """A run with worse initial losses must not gain from it."""
    slow = result_of({"a": 2.0, "b": 200.0}, "relative_loss", 0.2, "min", {"a": 10, "b": 1000})
    fast = result_of({"a": 1.0, "b": 100.0}, "relative_loss", 0.5, "min", {"a": 2, "b": 200})
    found = monitor.compared([monitor.selected(slow), monitor.selected(fast)])
    assert found[1] == pytest.approx(found[0] / 2)


def test_relative_losses_of_single_evaluations_are_shown_in_one_unit():
    """Each is 1 relative to its own first value; for a single task the mean loss is shown."""
    results = {
        name: result_of(losses, "relative_loss", 1.0, "min", losses)
        for name, losses in (("good", {"a": 1.0, "b": 50.0}), ("bad", {"a": 4.0, "b": 200.0}))
    } | {"single": result_of({"a": 3.0}, "mean_loss", 3.0)}
    runs = {name: monitor.selected(result) for name, result in results.items()}
    assert monitor.shown(runs) == pytest.approx({"good": 0.5, "bad": 2.0, "single": 3.0})
    both = monitor.compared([runs["good"], runs["bad"]])
    assert both == pytest.approx([0.5, 2.0])


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"validation": None},
        {"validation": {"tasks": {"a": 3}}},
        result_of({"a": 1.0}, "mean_loss", "low"),
        result_of({"a": 1.0}, "mean_loss", 1.0, "up"),
        {**result_of({"a": 1.0}), "monitor": 3},
        {**result_of({"a": 1.0}), "monitor": {}},
    ],
)
def test_damaged_results_raise(damaged):
    with pytest.raises(ValueError):
        monitor.selected(damaged)
