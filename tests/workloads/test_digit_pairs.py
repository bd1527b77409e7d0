import numpy as np
import pytest
import tensorflow as tf

from mtk.data.overlay import Pairs
from mtk.workloads.digit_pairs import DigitPairs


class Tiny(DigitPairs):
    name = "tiny"

    def network(self, seed=None):
        raise AssertionError("not needed here")


def pairs(number: int, first: int = 0) -> Pairs:
    """Pair i is an image of the value i, with the labels i and i + 100."""
    ids = np.arange(first, first + number)
    images = np.broadcast_to(ids.astype(np.uint8)[:, None, None], (number, 3, 3))
    return Pairs(images, ids.astype(np.int32), ids.astype(np.int32) + 100)


@pytest.fixture
def workload() -> Tiny:
    return Tiny(pairs(10), pairs(5, 20), pairs(4, 40), mean=2.0, deviation=4.0)


def read(batches: tf.data.Dataset) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
    return list(batches.as_numpy_iterator())


def ids(batches: tf.data.Dataset) -> list[int]:
    return np.concatenate([labels["left"] for _, labels in read(batches)]).tolist()


def test_batches(workload):
    assert [task.name for task in workload.tasks] == ["left", "right"]
    for images, labels in read(workload.train(4, 6, seed=0)):
        assert (images.shape, images.dtype) == ((4, 3, 3, 1), np.float32)
        assert list(labels) == ["left", "right"]
        assert labels["left"].dtype == labels["right"].dtype == np.int32
        np.testing.assert_array_equal(labels["right"], labels["left"] + 100)
        np.testing.assert_array_equal(images[:, 1, 2, 0], (labels["left"] - 2.0) / 4.0)


@pytest.mark.parametrize("batch_size", [2, 3, 10])
def test_evaluation_reads_each_split_once_in_order(workload, batch_size):
    assert ids(workload.train_evaluation(batch_size)) == list(range(10))
    assert ids(workload.validation(batch_size)) == list(range(20, 25))
    assert ids(workload.test(batch_size)) == list(range(40, 44))


def test_training_epoch_reads_the_whole_training_split(workload):
    assert sorted(ids(workload.train(5, 2, seed=0))) == list(range(10))
    assert ids(workload.train(5, 20, seed=0)) != ids(workload.train(5, 20, seed=1))


@pytest.mark.parametrize("first_step", [0, 1, 5, 6])
def test_training_resumes_at_first_step(workload, first_step):
    whole = read(workload.train(4, 6, seed=3))
    tail = read(workload.train(4, 6, seed=3, first_step=first_step))
    tf.nest.map_structure(np.testing.assert_array_equal, tail, whole[first_step:])


def test_steps_per_epoch(workload):
    assert workload.num_train == 10
    assert [workload.steps_per_epoch(size) for size in (1, 3, 5, 10)] == [10, 3, 2, 1]


@pytest.mark.parametrize("batch_size", [0, -1, 11])
def test_batch_size_out_of_range_raises(workload, batch_size):
    with pytest.raises(ValueError, match=r"1 \.\.\. 10, the size of tiny's training split"):
        workload.steps_per_epoch(batch_size)


def test_training_split_without_labels_raises():
    with pytest.raises(ValueError, match="has a label for: left, right"):
        Tiny(pairs(0), pairs(5), pairs(4), 0.0, 1.0)
