"""Messages of out-of-memory errors."""

import numpy as np
import pytest
import tensorflow as tf

from mtk.errors import out_of_memory
from tests.quick import slow


@tf.function
def too_large():
    return tf.reduce_sum(tf.random.uniform((10**7, 10**7)))


def exhausted():
    tf.zeros((10**7, 10**7)) + 1.0


def too_large_for_numpy():
    np.ones((10**8, 10**9))


# TensorFlow waits ten seconds for memory; `tests/bad_inputs` covers such an error too.
@pytest.mark.parametrize("does", [slow(exhausted), slow(too_large), too_large_for_numpy])
def test_out_of_memory_is_recognized_with_a_short_message(does):
    with pytest.raises((MemoryError, tf.errors.ResourceExhaustedError)) as caught:
        does()
    said = out_of_memory(caught.value)
    assert said.startswith("Out of memory: ")
    assert "batch_size" in said
    assert "10000000" in said
    assert len(said) < 400


@pytest.mark.parametrize(
    "error",
    [
        ValueError("OOM when allocating tensor with shape[3] on CPU"),
        tf.errors.ResourceExhaustedError(None, None, "/runs; No space left on device"),
        OSError(28, "No space left on device"),
    ],
)
def test_other_errors_are_not_out_of_memory(error):
    assert out_of_memory(error) is None
