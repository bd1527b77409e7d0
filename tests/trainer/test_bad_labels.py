"""Labels of wrong names, shapes and types, in every form: the error names the task."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from keras import layers

import mtk

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 4)).astype("float32")
Y = {
    "size": RNG.normal(size=(12, 1)).astype("float32"),
    "kind": RNG.integers(0, 3, 12).astype("int32"),
}
LOSSES = {"size": "mse", "kind": "sparse_categorical_crossentropy"}


def network():
    x = keras.Input((4,))
    h = layers.Dense(4, name="trunk")(x)
    size, kind = layers.Dense(1, name="size")(h), layers.Dense(3, "softmax", name="kind")(h)
    return keras.Model(x, {"size": size, "kind": kind})


@pytest.fixture(scope="module")
def model():
    made = mtk.MultiTaskModel(network())
    made.compile("sgd", LOSSES)
    return made


def in_form(form, y):
    if form == "arrays":
        return {"x": X, "y": y, "batch_size": 6}
    if form == "list":
        return {"x": X, "y": [y[task] for task in sorted(y)], "batch_size": 6}
    return {"x": tf.data.Dataset.from_tensor_slices((X, y)).batch(6)}


BAD = {
    "several numbers for one": ({"size": np.ones((12, 3), "float32")}, "'size'.*output's shape"),
    "no last axis, of images": ({"size": np.ones((12, 2, 2), "float32")}, "'size'"),
    "one-hot": ({"kind": np.eye(3, dtype="float32")[Y["kind"]]}, "'kind'.*integers"),
    "texts": ({"kind": np.array(["a", "b", "c"] * 4)}, "'kind' are strings"),
    "complex": ({"size": Y["size"].astype("complex64")}, "'size' are complex numbers"),
    "a dict": (
        {"size": {"labels": Y["size"], "mask": Y["size"]}},
        "'size' must be one.*dict.*weights",
    ),
}


@pytest.mark.parametrize("form", ["arrays", "list", "dataset"])
@pytest.mark.parametrize("bad", BAD)
def test_invalid_labels_are_named(model, form, bad):
    changed, words = BAD[bad]
    before = model.network.get_weights()
    with pytest.raises(ValueError, match=words):
        model.fit(**in_form(form, {**Y, **changed}), verbose=0)
    for one, two in zip(before, model.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_labels_are_not_broadcast_over_outputs():
    made = mtk.MultiTaskModel(
        keras.Model(*(lambda x: (x, layers.Dense(3, name="a")(x)))(keras.Input((4,))))
    )
    made.compile("sgd", {"a": "mse"})
    for labels in (X[:, :1], X[:, 0]):
        with pytest.raises(ValueError, match="task 'a'"):
            made.fit(X, labels, verbose=0)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ({"size": Y["size"], "kinds": Y["kind"]}, "Did you mean 'kind'"),
        ({"size": Y["size"]}, r"Missing: \['kind'\]"),
        ([Y["size"]], "one entry for each task"),
        (Y["size"], "The tasks are"),
    ],
)
def test_labels_must_match_the_tasks(model, y, words):
    with pytest.raises(ValueError, match=words):
        model.fit(X, y, verbose=0)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"sizes": np.ones(12)}, "Did you mean 'size'"),
        ([np.ones(12)], "list of 1 item"),
    ],
)
def test_sample_weights_must_match_the_tasks(model, weights, words):
    with pytest.raises(ValueError, match=words):
        model.fit(X, Y, sample_weight=weights, verbose=0)


@pytest.mark.parametrize("form", ["dict", "list"])
def test_nan_labels_in_arrays_are_named(model, form):
    y = {**Y, "size": np.where(np.arange(12)[:, None] == 3, np.nan, Y["size"])}
    given = y if form == "dict" else [y[task] for task in sorted(y)]
    with pytest.raises(ValueError, match=r"^1 label of task 'size' is NaN.*missing="):
        model.fit(X, given, verbose=0)
    with pytest.raises(ValueError, match="'size' is NaN"):
        mtk.workloads.Arrays(network, model.tasks, (X, y), 0.2, 0.2)


def without_nan(y_true, y_pred):
    there = keras.ops.logical_not(keras.ops.isnan(y_true))
    error = keras.ops.where(there, y_true, 0.0) - y_pred
    return keras.ops.mean(keras.ops.where(there, error**2, 0.0), axis=-1)


def squared(y_true, y_pred):
    return keras.ops.mean((y_true - y_pred) ** 2, axis=-1)


@pytest.mark.parametrize("form", ["arrays", "list", "dataset"])
def test_custom_loss_may_ignore_nan_labels(form):
    """Training equals Keras in every form of data."""
    y = {**Y, "size": np.where(np.arange(12)[:, None] == 3, np.nan, Y["size"])}
    found = []
    for wrap in (lambda network: network, mtk.MultiTaskModel):
        keras.utils.set_random_seed(0)
        net = network()
        made = wrap(net)
        made.compile("sgd", {**LOSSES, "size": without_nan})
        made.fit(**in_form(form, y), shuffle=False, verbose=0)
        found.append(net.get_weights())
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("what", ["training", "validation"])
def test_custom_loss_that_does_not_ignore_nan_labels_is_an_error(what):
    y = {**Y, "size": np.where(np.arange(12)[:, None] == 3, np.nan, Y["size"])}
    made = mtk.MultiTaskModel(network())
    made.compile("sgd", {**LOSSES, "size": squared})
    with pytest.raises(ValueError, match=rf"'size' are NaN in the {what} data, .*missing="):
        made.fit(X, y if what == "training" else Y, validation_data=(X, y), verbose=0)


@pytest.mark.parametrize("eagerly", [False, True])
def test_labels_with_and_without_a_last_axis_of_one_may_alternate(eagerly):
    made = mtk.MultiTaskModel(network())
    made.compile("sgd", LOSSES, run_eagerly=eagerly)
    flat = {name: labels.ravel() for name, labels in Y.items()}
    found = [made.evaluate(X, y, verbose=0) for y in (Y, flat, Y)]
    assert found[0] == found[1] == found[2]
    for y in (Y, flat):
        made.fit(X, y, validation_data=(X, Y), verbose=0)
        made.train_on_batch(X, y)


def test_dataframe_columns_are_labels_by_name(model):
    """The order of the columns does not matter."""
    table = pd.DataFrame({"kind": Y["kind"], "size": Y["size"][:, 0]})
    weights = pd.DataFrame({"kind": np.ones(12), "size": np.arange(12.0)})
    expected = model.evaluate(X, Y, sample_weight=dict(weights), verbose=0)
    assert model.evaluate(X, table, sample_weight=weights, verbose=0) == expected
    assert model.evaluate(X, table[["size", "kind"]], sample_weight=weights, verbose=0) == expected
    seen = mtk.workloads.Arrays(network, model.tasks, (X, table), (X, table), 0.2).validation(12)
    assert set(next(iter(seen))[1]) == {"size", "kind"}
    history = model.fit(X, table, validation_data=(X, table), verbose=0).history
    assert history["val_size_loss"][-1] < 100
    for fit in (
        lambda given: model.fit(X, given, verbose=0),
        lambda given: mtk.workloads.Arrays(network, model.tasks, (X, given), 0.2, 0.2),
    ):
        with pytest.raises(ValueError, match=r"Missing: \['size'\].*'sizes'"):
            fit(table.rename(columns={"size": "sizes"}))


def test_unequal_numbers_of_labels_are_named(model):
    with pytest.raises(ValueError, match=r"numbers of rows: \{'size': 5, 'kind': 12\}"):
        model.fit(X, {**Y, "size": Y["size"][:5]}, verbose=0)


class Batches(keras.utils.PyDataset):
    """Two batches of the data; counts how often they are read."""

    def __init__(self, y):
        super().__init__()
        self.y, self.reads = y, 0

    def __len__(self):
        return 2

    def __getitem__(self, index):
        self.reads += 1
        rows = slice(6 * index, 6 * index + 6)
        return X[rows], {name: labels[rows] for name, labels in self.y.items()}


@pytest.mark.parametrize("kind", ["dataset", "sequence", "validation"])
def test_nan_labels_in_datasets_are_named(kind):
    """Once the loss is NaN, the data are read again to name the task and the batch."""
    y = {**Y, "size": np.where(np.arange(12)[:, None] == 9, np.nan, Y["size"])}
    data = Batches(y) if kind == "sequence" else in_form("dataset", y)["x"]
    made = mtk.MultiTaskModel(network())
    made.compile("sgd", LOSSES)
    given = {"x": Batches(Y), "validation_data": data} if kind == "validation" else {"x": data}
    what = "validation" if kind == "validation" else "training"
    with pytest.raises(ValueError, match=rf"'size' are NaN in batch 1 of the {what}.*missing="):
        made.fit(**given, epochs=3, verbose=0)


def test_data_with_an_infinite_loss_are_read_again_only_once():
    def reads(epochs):
        data = Batches({**Y, "size": np.full_like(Y["size"], np.inf)})
        made = mtk.MultiTaskModel(network())
        made.compile("sgd", LOSSES)
        made.fit(data, epochs=epochs, verbose=0)
        return data.reads

    assert reads(4) - reads(2) == 2 * len(Batches(Y))


def test_masked_nan_labels_and_nan_inputs_raise_no_error():
    y = {**Y, "size": np.where(np.arange(12)[:, None] == 9, np.nan, Y["size"])}
    data = tf.data.Dataset.from_tensor_slices((X, y, {"size": np.arange(12) != 9})).batch(6)
    made = mtk.MultiTaskModel(network())
    made.compile("sgd", LOSSES)
    assert np.isfinite(made.fit(data, verbose=0).history["loss"]).all()
    # NaN inputs raise no error.
    broken = tf.data.Dataset.from_tensor_slices((X * np.nan, Y)).batch(6)
    assert np.isnan(made.fit(broken, verbose=0).history["loss"]).all()


def test_suggested_fixes_for_nan_labels_work():
    y = {**Y, "size": np.where(np.arange(12)[:, None] % 4 == 3, np.nan, Y["size"])}
    made = mtk.MultiTaskModel(network())
    made.compile("sgd", LOSSES)
    there = {"size": ~np.isnan(y["size"])}
    logs = made.fit(X, y, sample_weight=there, verbose=0).history
    assert np.isfinite(logs["loss"]).all()
    tasks = [mtk.Task("size", "mse", missing=float("nan")), mtk.Task("kind", LOSSES["kind"])]
    made = mtk.MultiTaskModel(network(), tasks)
    made.compile("sgd")
    assert np.isfinite(made.fit(X, y, verbose=0).history["loss"]).all()


def test_mask_of_one_task_from_the_labels_of_another():
    """Purchases among clicks: a boolean mask from the other task's labels."""
    click = np.arange(12) % 3 > 0
    x = keras.Input((4,))
    outputs = {n: layers.Dense(1, "sigmoid", name=n)(x) for n in ("click", "buy")}
    y = {"click": click[:, None].astype("float32"), "buy": Y["size"] > 0}
    found = []
    for labels in (y, {**y, "buy": np.where(click[:, None], y["buy"], ~y["buy"])}):
        keras.utils.set_random_seed(0)
        made = mtk.MultiTaskModel(keras.models.clone_model(keras.Model(x, outputs)))
        made.compile("sgd", "binary_crossentropy")
        made.fit(X, labels, sample_weight={"buy": y["click"] == 1}, verbose=0, shuffle=False)
        found.append(made.network.get_weights())
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)


def test_data_larger_than_memory_are_refused(monkeypatch):
    monkeypatch.setattr("mtk.data.sources.os.sysconf", lambda name: 10)
    with pytest.raises(ValueError, match=r"train split takes .*mtk\.workloads\.Datasets"):
        mtk.workloads.Arrays(network, [mtk.Task("size", "mse")], (X, Y["size"]), 0.2, 0.2)


def test_memory_mapped_arrays_stay_on_disk(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    monkeypatch.setattr("mtk.data.sources.os.sysconf", lambda name: 10)
    split = (mapped, np.memmap(tmp_path / "y", "float32", "w+", shape=(12, 1)))
    data = mtk.workloads.Arrays(network, [mtk.Task("size", "mse")], split, split, split)
    x, _ = next(iter(data.validation(12)))
    np.testing.assert_array_equal(x, X)


def test_object_arrays_are_refused():
    ragged = np.array([[1.0], [1.0, 2.0]], dtype=object)
    with pytest.raises(ValueError, match="Python objects"):
        mtk.workloads.Arrays(network, [mtk.Task("size", "mse")], (ragged, X[:2]), 0.2, 0.2)


@pytest.mark.parametrize("texts", [["a", "bc"], [b"a", b"bc"]])
def test_object_arrays_of_strings_are_read(texts):
    """Columns of pandas and arrays from `tf.data` are of this form."""
    split = (np.array(texts * 6, dtype=object), {"size": X[:12, :1]})
    data = mtk.workloads.Arrays(network, [mtk.Task("size", "mse")], split, 0.25, 0.25)
    x, _ = next(iter(data.validation(3)))
    assert set(x.numpy()) <= {b"a", b"bc"}
    split[0][3] = None
    with pytest.raises(ValueError, match="missing strings"):
        mtk.workloads.Arrays(network, [mtk.Task("size", "mse")], split, 0.25, 0.25)


@pytest.mark.parametrize(
    ("kind", "words"), [("datetime64[s]", "dates"), ("timedelta64[s]", "time spans")]
)
def test_datetime_labels_are_refused(model, kind, words):
    times = np.arange(12).astype(kind)
    with pytest.raises(ValueError, match=f"'size' are {words}.*numbers"):
        model.fit(X, {**Y, "size": times}, verbose=0)
