"""Combiners that are called directly, as in a custom training loop."""

import numpy as np
import pytest
import tensorflow as tf

from mtk import combiners
from tests.combiners import samples
from tests.combiners.cases import BY_NAME, CASES


def built(name: str, num_tasks: int) -> combiners.Combiner:
    combiner = BY_NAME[name].make()
    combiner.bind([f"task{k}" for k in range(num_tasks)], ["one/kernel"])
    combiner.bind_shapes({"one/kernel": (12,)})
    combiner.build(num_tasks)
    return combiner


@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_absent_task_may_be_nan(name):
    """The mean of no losses and its gradient are NaN."""
    rows, losses = samples.jacobian("conflicting", 3), samples.losses(3)
    rows[1] = losses[1] = np.nan
    found = built(name, 3)([rows], losses, present=[True, False, True])
    assert np.isfinite(found.gradients[0]).all()
    assert np.isfinite(found.task_weights).all()
    assert found.task_weights[1] == 0


@pytest.mark.parametrize("name", ["static", "upgrad", "cr-mogm", "graddrop", "moco"])
def test_float64_gradients_stay_float64(name):
    rows = samples.jacobian("conflicting", 2).astype("float64")
    found = built(name, 2)([rows], tf.ones(2))
    assert (found.gradients[0].dtype, found.task_weights.dtype) == (tf.float64, tf.float32)


def test_weighted_sum_keeps_float64_precision():
    rows = np.array([[1.0 + 1e-12], [1.0]])
    found = combiners.StaticWeights()([rows], np.ones(2)).gradients[0]
    np.testing.assert_allclose(found, [1.0 + 0.5e-12], rtol=1e-15)


def test_present_and_counts_as_lists():
    rows = samples.jacobian("aligned", 2)
    found = combiners.ProportionalSampling()([rows], [1.0, 2.0], counts=[3, 1])
    np.testing.assert_allclose(found.task_weights, [0.75, 0.25])
    found = combiners.UPGrad()([rows], [1.0, 2.0], present=[1, 0])
    np.testing.assert_allclose(found.task_weights, [1.0, 0.0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (tf.eye(2), "must be a list"),
        (np.eye(2), "must be a list"),
        ([tf.eye(2), None], r"use zeros instead of None.*\[1\]"),
        ([tf.ones((3, 2))], r"have the shape \(2,\)"),
        ([tf.ones(())], r"have the shape \(2,\)"),
    ],
)
def test_invalid_gradients_are_refused(given, message):
    for combiner in (combiners.StaticWeights(), combiners.UPGrad(), combiners.GradDrop()):
        with pytest.raises(ValueError, match=message):
            combiner(given, tf.ones(2))


def returning(kind, found):
    """Returns a user-defined combiner whose method returns `found`."""
    method = {
        combiners.GramianCombiner: "task_weights",
        combiners.LossCombiner: "task_weights",
        combiners.PartsCombiner: "part_weights",
        combiners.Combiner: "call",
    }[kind]
    body = {method: lambda *_: found, "reads": getattr(kind, "reads", "gradients")}
    return type("Mine", (kind,), {**body, "batch_parts": 2 if method == "part_weights" else 1})()


OF_WEIGHTS = combiners.GramianCombiner, combiners.LossCombiner, combiners.PartsCombiner
GRADIENTS, LOSSES = [tf.ones((2, 3)), tf.ones((2, 4, 1))], tf.ones(2)
THIRDS = tf.ones(2) / 3


@pytest.mark.parametrize(
    ("kind", "found", "received"),
    [
        *((kind, tf.ones(()), r"shape \(\), float32") for kind in OF_WEIGHTS),
        *((kind, None, "None") for kind in OF_WEIGHTS),
        (combiners.GramianCombiner, tf.ones((2, 2)), r"shape \(2, 2\)"),
        (combiners.LossCombiner, tf.ones(1), r"shape \(1,\)"),
        (combiners.LossCombiner, tf.ones(2, tf.int32), "int32"),
        (combiners.Combiner, ([tf.ones(3)], THIRDS), r"\['\(3,\)'\]"),
        (combiners.Combiner, ([tf.ones(3), None], THIRDS), "None"),
        (combiners.Combiner, ([tf.ones(()), tf.ones(())], THIRDS), r"\['\(\)', '\(\)'\]"),
        (combiners.Combiner, ([tf.ones(3), tf.ones((4, 1))], tf.ones(3)), r"shape \(3,\)"),
    ],
)
def test_results_of_custom_combiners_are_checked(kind, found, received):
    """Pitfall: other shapes broadcast, and the training differs silently."""
    with pytest.raises(ValueError, match=rf"(?s)`Mine\..*Received: .*{received}"):
        returning(kind, found)(GRADIENTS, LOSSES)


@pytest.mark.parametrize("dtype", [tf.float64, tf.float16])
def test_weights_of_other_dtypes_are_cast(dtype):
    for kind in (combiners.GramianCombiner, combiners.LossCombiner):
        found = returning(kind, tf.constant([0.25, 0.75], dtype))(GRADIENTS, LOSSES)
        assert found.task_weights.dtype == tf.float32
        np.testing.assert_allclose(found.gradients[0], 1.0)


def test_combiner_must_declare_what_it_reads():
    for reads in (None, "gradient"):
        own = {"call": lambda *_: None} | ({} if reads is None else {"reads": reads})
        mine = type("Mine", (combiners.Combiner,), own)
        with pytest.raises(ValueError, match="must declare what it reads"):
            mine().claimed()


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"reads": "losses"}, "LossCombiner"),
        ({"reads": "gramian", "update_every": 2}, "GramianCombiner.*update_every=2"),
        ({"reads": "gramian", "at": "last_layer"}, "GramianCombiner.*at='last_layer'"),
    ],
    ids=str,
)
def test_weights_that_only_a_call_could_return_are_refused(own, expected):
    mine = type("Mine", (combiners.Combiner,), {"call": lambda *_: None, **own})
    with pytest.raises(ValueError, match=rf"Mine .*{expected}"):
        mine().claimed()
    whole = type("Mine", (combiners.Combiner,), {"call": lambda *_: None, "reads": "gramian"})
    assert whole().claimed()
