import time

import numpy as np
import pytest
import tensorflow as tf

from mtk.data import in_memory, index_batches, ordered_batches, train_batches


def as_numpy(batches: tf.data.Dataset) -> list:
    return [tf.nest.map_structure(lambda tensor: tensor.numpy(), batch) for batch in batches]


def equal(one, other) -> None:
    tf.nest.map_structure(np.testing.assert_array_equal, one, other)


@pytest.fixture
def arrays():
    images = np.arange(11 * 4, dtype=np.uint8).reshape(11, 2, 2)
    return images, {"a": np.arange(11, dtype=np.int32), "b": -np.arange(11, dtype=np.int32)}


def normalize(batch):
    images, labels = batch
    return tf.cast(images, tf.float32) / 2 - 1, labels


def jitter(batch, key):
    images, labels = batch
    return images + tf.random.stateless_uniform(tf.shape(images), key), labels


def test_batches_follow_the_order(arrays):
    batches = as_numpy(train_batches(in_memory(arrays, normalize), 4, 6, seed=2))
    indices = as_numpy(index_batches(11, 4 * np.arange(7), seed=2))
    assert len(batches) == 6
    for (images, labels), batch in zip(batches, indices, strict=True):
        np.testing.assert_array_equal(images, arrays[0][batch].astype("float32") / 2 - 1)
        np.testing.assert_array_equal(labels["a"], batch)
        np.testing.assert_array_equal(labels["b"], -batch)


@pytest.mark.parametrize("first_step", [1, 4, 6])
def test_resumes_at_first_step_with_the_same_augmentation(arrays, first_step):
    source = in_memory(arrays, normalize)
    whole = as_numpy(train_batches(source, 4, 6, 2, augment=jitter))
    tail = as_numpy(train_batches(source, 4, 6, 2, first_step, augment=jitter))
    equal(tail, whole[first_step:])


def test_augmentation_differs_by_step_and_seed_but_not_the_order(arrays):
    source = in_memory((np.zeros((4, 1), "float32"), {"a": np.arange(4)}))
    noise = {
        tuple(images.ravel().tolist())
        for seed in (0, 1)
        for images, _ in as_numpy(train_batches(source, 4, 5, seed, augment=jitter))
    }
    assert len(noise) == 10
    plain, augmented = (
        [labels["a"] for _, labels in as_numpy(train_batches(source, 4, 5, 0, augment=augment))]
        for augment in (None, jitter)
    )
    equal(plain, augmented)


@pytest.mark.parametrize("batch_size", [1, 4, 11, 50])
def test_evaluation_reads_every_example_once_in_order(arrays, batch_size):
    batches = as_numpy(ordered_batches(in_memory(arrays), batch_size))
    assert [len(images) for images, _ in batches[:-1]] == [batch_size] * (len(batches) - 1)
    equal(np.concatenate([images for images, _ in batches]), arrays[0])
    equal(np.concatenate([labels["a"] for _, labels in batches]), arrays[1]["a"])


def test_cardinality_is_known(arrays):
    source = in_memory(arrays, normalize)
    assert int(train_batches(source, 4, 6, 0, first_step=2, augment=jitter).cardinality()) == 4
    assert int(ordered_batches(source, 4).cardinality()) == 3
    assert train_batches(source, 4, 6, 0).element_spec[0].shape == (4, 2, 2)


def test_images_stay_uint8_in_memory(arrays):
    assert in_memory(arrays).read(tf.constant([0, 3]))[0].dtype == tf.uint8


def test_arrays_of_different_lengths_raise():
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        in_memory((np.zeros((3, 1)), {"a": np.zeros(2)}))


def test_transforms_are_applied_to_whole_batches(arrays):
    """Mapping example by example would be slow."""
    seen = []

    def note(batch):
        seen.append(batch[0].shape.rank)
        return batch

    assert len(as_numpy(train_batches(in_memory(arrays, note), 4, 3, seed=0))) == 3
    assert seen == [3]


@pytest.mark.slow
def test_reading_takes_a_fraction_of_a_step():
    """Reading a batch takes at most a tenth of a LeNet step of about 15 ms (measured: 0.3 ms).

    CPU time over all threads is measured, so that a busy machine does not fail the test.
    """
    images = np.zeros((48_000, 28, 28), np.uint8)
    source = in_memory((images, {"a": np.zeros(48_000, np.int32)}), normalize)

    def seconds_a_batch() -> float:
        batches = iter(train_batches(source, 256, 310, 0))
        for _ in range(10):
            next(batches)
        start = time.process_time()
        for _ in range(300):
            next(batches)
        return (time.process_time() - start) / 300

    assert min(seconds_a_batch() for _ in range(3)) < 1.5e-3
