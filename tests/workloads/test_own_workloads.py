"""User-defined workloads from arrays, from data sets, or as a subclass of `Workload`."""

import copy
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
from mtk.workloads import Arrays, Datasets
from tests.quick import slow

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype("float32")
Y = {"size": X[:, :1] + 1.0, "kind": (X[:, 1] > 0).astype("int32")}


def network():
    x = keras.Input((4,), name="x")
    hidden = keras.layers.Dense(8, "relu")(x)
    outputs = {"size": keras.layers.Dense(1)(hidden), "kind": keras.layers.Dense(2)(hidden)}
    return keras.Model(x, outputs)


def tasks():
    crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return [mtk.Task("size", "mse", ["mae"]), mtk.Task("kind", crossentropy, ["accuracy"])]


def arrays(**changed):
    given = {"train": (X, Y), "validation": 0.2, "test": 0.2, **changed}
    return Arrays(network, tasks(), **given)


def examples(rows):
    part = tf.nest.map_structure(lambda array: array[rows], (X, Y))
    return tf.data.Dataset.from_tensor_slices(part)


def datasets(**changed):
    given = {"train": examples(slice(0, 40)), "validation": examples(slice(40, 50))}
    return Datasets(network, tasks(), test=examples(slice(50, 60)), **{**given, **changed})


def rows_of(batches):
    return np.concatenate([np.asarray(batch[0]) for batch in batches])


def test_evaluation_batches_are_cached():
    """A run evaluates many times, and tracing an input pipeline takes as long as many steps."""
    made = arrays()
    assert made.validation(10) is made.validation(10)
    parts = (made.validation(10), made.validation(5), made.test(10), made.train_evaluation(10))
    assert len({id(batches) for batches in parts}) == len(parts)


def test_workload_can_be_copied_after_it_was_read():
    made = arrays()
    rows = rows_of(made.validation(10))
    np.testing.assert_array_equal(rows_of(copy.deepcopy(made).validation(10)), rows)


def test_arrays_are_cast_as_in_fit(tmp_path):
    """float32 and int32, as in `Model.fit`: user code may subtract labels from predictions."""
    np.save(tmp_path / "x.npy", X.astype("float64"))
    on_disk = np.load(tmp_path / "x.npy", mmap_mode="r")
    for x in (X.astype("float64"), X.astype("float16"), on_disk):
        split = (x, {**Y, "size": Y["size"].astype("float64")})
        made = arrays(train=split, validation=split, test=split)
        for batches in (made.train(10, 1, seed=0), made.validation(10), made.test(10)):
            inputs, labels = next(iter(batches))[:2]
            assert inputs.dtype == labels["size"].dtype == tf.float32
            assert labels["kind"].dtype == tf.int32


@pytest.mark.parametrize("make", [slow(arrays), datasets])
def test_run_writes_its_result(make, tmp_path):
    result = mtk.experiment.run(
        make,
        tmp_path / "run",
        mtk.experiment.Training(epochs=2),
        optimization=mtk.experiment.Optimization(batch_size=10),
    )
    assert result["status"] == "finished"
    assert set(result["test"]["tasks"]) == {"size", "kind"}
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    assert written["test"]["tasks"]["kind"].keys() == {"loss", "accuracy"}


@pytest.mark.parametrize("make", [slow(arrays), datasets])
def test_order_is_a_function_of_seed_and_step(make):
    data = make()
    whole = list(data.train(7, 12, seed=3))
    assert len(whole) == 12
    for first in (1, 5, 11):
        again = list(data.train(7, 12, seed=3, first_step=first))
        assert len(again) == 12 - first
        np.testing.assert_array_equal(rows_of(again), rows_of(whole[first:]))
    assert not np.array_equal(rows_of(data.train(7, 12, seed=4)), rows_of(whole))


@pytest.mark.parametrize("make", [arrays, datasets])
def test_splits_are_disjoint_and_an_epoch_reads_each_example_once(make):
    data = make()
    splits = [
        rows_of(data.train_evaluation(16)),
        rows_of(data.validation(16)),
        rows_of(data.test(16)),
    ]
    together = np.concatenate(splits)
    np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(X, axis=0))
    one_epoch = rows_of(data.train(10, data.num_train // 10, seed=0))
    assert len(np.unique(one_epoch, axis=0)) == len(one_epoch)


def test_initial_weights_depend_on_the_seed():
    one, two, other = (arrays().network(seed).get_weights() for seed in (1, 1, 2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one[0], other[0])
    seeded = Arrays(lambda seed: seed, tasks(), (X, Y), 0.2, 0.2)
    assert seeded.network(5) == 5


def test_lists_with_masks_and_a_prepare_function():
    mask = {"size": np.ones(60), "kind": np.zeros(60)}
    data = Arrays(
        network,
        tasks(),
        ([X], [Y["size"], Y["kind"]], mask),
        validation=0.1,
        test=0.1,
        prepare=lambda batch: (batch[0][0] * 2.0, *batch[1:]),
    )
    x, y, weights = next(iter(data.train(5, 1, seed=0)))
    assert x.shape == (5, 4)
    assert len(y) == 2
    assert not np.any(weights["kind"])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"train": X}, r"train split must be `\(x, y\)`"),
        ({"validation": 1.5}, "between 0 and 1"),
        ({"validation": 0.6, "test": 0.6}, "between 0 and 1"),
        ({"train": (X, Y["size"][:5])}, r"train split must have the same number.*\[5, 60\]"),
        ({"test": (X[:0], Y["size"][:0])}, r"test split .*\[0\]"),
        ({"train": (X.tolist(), Y)}, r"single number\. .* as `np.array"),
    ],
)
def test_invalid_arrays_raise(changed, words):
    with pytest.raises(ValueError, match=words):
        arrays(**changed)


def test_invalid_data_sets_raise():
    with pytest.raises(ValueError, match="train data set never ends"):
        datasets(train=examples(slice(0, 40)).repeat())
    for other in ((X, Y), iter([(X, Y)])):
        with pytest.raises(ValueError, match=r"validation data set must be a `tf\.data\.Dataset`"):
            datasets(validation=other)
    unknown = examples(slice(0, 40)).filter(lambda x, y: True)
    with pytest.raises(ValueError, match="num_train"):
        datasets(train=unknown)
    assert datasets(train=unknown, num_train=40).steps_per_epoch(8) == 5


@pytest.mark.parametrize("split", ["train", "validation"])
def test_batched_data_sets_raise(split):
    batched = {split: examples(slice(0, 20)).batch(10)}
    with pytest.raises(ValueError, match=rf"{split} data set is batched.*without `batch\(\)`"):
        datasets(**batched, **({"num_train": 40} if split == "train" else {})).network()
    assert datasets().network(seed=1).inputs


class Own(mtk.workloads.Workload):
    name = "own"

    def __init__(self, *splits):
        self.tasks = tasks()
        if splits:
            super().__init__(*map(mtk.data.in_memory, splits))

    def network(self, seed=None):
        return network()


def test_subclass_needs_only_network_and_data():
    parts = [
        tf.nest.map_structure(lambda a, r=r: a[r], (X, Y)) for r in np.split(range(60), [40, 50])
    ]
    own, known = Own(*parts), datasets()
    assert own.num_train == 40
    for split in ("train_evaluation", "validation", "test"):
        found, expected = ([*getattr(made, split)(16).as_numpy_iterator()] for made in (own, known))
        tf.nest.map_structure(np.testing.assert_array_equal, found, expected)
    first = [x for x, _ in own.train(8, 10, seed=1).as_numpy_iterator()]
    again = [x for x, _ in own.train(8, 10, seed=1, first_step=4).as_numpy_iterator()]
    np.testing.assert_array_equal(first[4:], again)
    with pytest.raises(TypeError, match="Own has no data.*in_memory"):
        Own().validation(8)
