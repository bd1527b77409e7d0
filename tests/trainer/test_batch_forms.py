"""Parsing of the three forms of a batch, and errors for all other forms."""

import numpy as np
import pytest
import tensorflow as tf

from mtk.trainer import batch as batches

NAMES = ["a", "b"]
X, Y, IDS = tf.zeros((4, 2)), tf.ones(4), tf.constant([0, 1, 1, 0])


def test_shared_input_gives_one_sub_batch():
    (sub_batch,) = batches.parse((X, {"b": Y, "a": Y}, {"b": Y}), NAMES)
    assert [label.task for label in sub_batch.labels] == [0, 1]
    assert sub_batch.labels[0].mask is None
    assert sub_batch.labels[1].mask is Y


def test_separate_inputs_give_one_sub_batch_per_task():
    one, two = batches.parse({"b": (X, Y, Y), "a": (X, Y)}, NAMES)
    assert (one.labels[0].task, two.labels[0].task) == (0, 1)
    assert two.labels[0].mask is Y


def test_mixed_batch_assigns_examples_to_tasks():
    (sub_batch,) = batches.parse((X, Y, IDS), NAMES)
    members = np.stack([label.member for label in sub_batch.labels])
    np.testing.assert_array_equal(members, [[1, 0, 0, 1], [0, 1, 1, 0]])


def test_none_as_sample_weight_is_ignored():
    (sub_batch,) = batches.parse((X, {"a": Y, "b": Y}, None), NAMES)
    assert len(sub_batch.labels) == 2


def test_single_task_may_have_labels_without_a_dict():
    (sub_batch,) = batches.parse((X, Y), ["a"])
    assert sub_batch.labels[0].y_true is Y


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((X, {"a": Y}), r"one entry for each task.*Missing: \['b'\]"),
        ((X, {"a": Y, "b": Y, "c": Y}), r"Unknown: \['c'\]"),
        ((X, {"a": Y, "b": Y}, {"c": Y}), r"masks for unknown tasks \['c'\]"),
        ((X, {"a": Y, "b": Y}, tf.ones((4, 7))), "third part of a batch must be"),
        ({"a": (X, Y)}, r"inputs of their own must have.*Missing: \['b'\]"),
        ({"a": (X, Y), "b": X}, "sub-batch of task 'b' must be"),
        ((X, Y), "A batch must be"),
        ((X, Y, Y), "A batch must be"),
        ((X,), "A batch must be"),
        (X, "A batch must be.*float32"),
    ],
)
def test_other_forms_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        batches.parse(data, NAMES)
