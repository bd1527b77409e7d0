import numpy as np
import pytest
import tensorflow as tf

from mtk.distribution.splitting import check_even, split
from tests.quick import some


@pytest.fixture(autouse=True)
def seeded():
    tf.random.set_seed(0)


class FakeStrategy:
    """Fakes a strategy of several workers in one process: returns the dataset of each worker."""

    def __init__(self, workers, replicas_of_each):
        self.workers = workers
        self.num_replicas_in_sync = workers * replicas_of_each

    def distribute_datasets_from_function(self, function):
        contexts = [
            tf.distribute.InputContext(self.workers, worker, self.num_replicas_in_sync)
            for worker in range(self.workers)
        ]
        return [function(context) for context in contexts]


def batches_of(sizes):
    """Returns a dataset of batches of these sizes; each tensor holds indices of its examples."""

    def generate():
        ends = np.cumsum(sizes)
        for start, end in zip(ends - sizes, ends, strict=True):
            numbers = np.arange(start, end)
            yield {"one": (numbers[:, None] * [1, 1], numbers), "two": (numbers,)}

    row = tf.TensorSpec((None,), tf.int64)
    return tf.data.Dataset.from_generator(
        generate, output_signature={"one": (tf.TensorSpec((None, 2), tf.int64), row), "two": (row,)}
    )


@pytest.mark.parametrize(("workers", "here"), some([(1, 2), (2, 1), (2, 2), (3, 1)], [(2, 2)]))
def test_parts_of_all_replicas_form_the_global_batch(workers, here):
    sizes = [12, 7, 5, 2, 1]
    read = [list(part) for part in split(batches_of(sizes), FakeStrategy(workers, here))]
    assert [len(parts) for parts in read] == [here * len(sizes)] * workers
    for step, batch in enumerate(batches_of(sizes)):
        parts = [parts[step * here + replica] for parts in read for replica in range(here)]
        joined = tf.nest.map_structure(lambda *each: tf.concat(each, 0), *parts)
        tf.nest.map_structure(np.testing.assert_array_equal, joined, batch)
        found = [int(tf.size(part["two"][0])) for part in parts]
        assert max(found) - min(found) <= 1


def test_several_workers_need_a_seed():
    tf.random.set_seed(None)
    with pytest.raises(ValueError, match="set_random_seed"):
        split(batches_of([4]), FakeStrategy(2, 1))
    split(batches_of([4]), FakeStrategy(1, 2))


def test_even_parts_have_a_static_shape():
    whole = tf.data.Dataset.from_tensors((tf.zeros((12, 3)), {"left": tf.zeros((12,))}))
    for part in split(whole, FakeStrategy(2, 2)):
        assert part.element_spec[0].shape == (3, 3)
        assert part.element_spec[1]["left"].shape == (3,)


def test_batch_without_a_mask_has_none_in_its_parts():
    whole = tf.data.Dataset.from_tensors((tf.zeros((4, 3)), tf.zeros((4,)), None))
    for part in split(whole, FakeStrategy(2, 1)):
        assert next(iter(part))[2] is None


def test_one_replica_and_other_datasets_are_not_split():
    whole = batches_of([3])
    assert split(whole, FakeStrategy(1, 1)) is whole
    already = object()
    assert split(already, FakeStrategy(2, 1)) is already


def test_uneven_training_batches_are_refused():
    spec = {"a": (tf.TensorSpec((6, 2)), tf.TensorSpec((6,))), "b": (tf.TensorSpec((4, 2)),)}
    check_even(spec, 1)
    check_even(spec, 2)
    with pytest.raises(ValueError, match="by the 4 replicas.* parts of 6 examples"):
        check_even(spec, 4)
    with pytest.raises(ValueError, match="by the 8 replicas.* parts of 4, 6 examples"):
        check_even(spec, 8)
    check_even(tf.TensorSpec((None, 3)), 4)
