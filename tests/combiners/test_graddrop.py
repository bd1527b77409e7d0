"""GradDrop, element by element."""

import numpy as np
import pytest
import tensorflow as tf

from mtk import combiners

ALL = tf.constant([True, True])


def built(**options: object) -> combiners.GradDrop:
    combiner = combiners.GradDrop(**options)
    combiner.bind(["a", "b"], ["shared/kernel"])
    combiner.build(2)
    return combiner


def direction(combiner: combiners.GradDrop, rows: list, present: list | None = None) -> np.ndarray:
    mask = ALL if present is None else tf.constant(present)
    result = combiner([tf.constant(rows, tf.float32)], tf.ones(2), mask, tf.ones(2))
    return result.gradients[0].numpy()


def test_agreeing_elements_are_kept_whole():
    for _ in range(20):
        np.testing.assert_allclose(direction(built(), [[1, -2, 0], [3, -4, 0]]), [2, -3, 0])


def test_each_element_takes_one_sign_with_its_own_probability():
    """Pitfalls: one scalar purity for all elements, or the rescaling inverted.

    P is 3/4 for (3, -1) and 1/4 for (1, -3).
    """
    combiner = built()
    rows = [[3.0] * 4000 + [1.0] * 4000, [-1.0] * 4000 + [-3.0] * 4000]
    found = direction(combiner, rows)
    np.testing.assert_array_equal(np.unique(found), [-1.5, -0.5, 0.5, 1.5])
    # Four standard deviations of a share among 4000 are 0.03.
    np.testing.assert_allclose((found[:4000] > 0).mean(), 0.75, atol=0.03)
    np.testing.assert_allclose((found[4000:] > 0).mean(), 0.25, atol=0.03)


def test_expectation_of_the_direction():
    """E d = (P g_+ + (1 - P) g_-) / K: 3/4 of 3 and 1/4 of -1, halved."""
    found = direction(built(), [[3.0] * 20000, [-1.0] * 20000])
    np.testing.assert_allclose(found.mean(), (0.75 * 3 - 0.25) / 2, atol=0.03)


def test_leak_keeps_the_gradient():
    """Pitfall: leak inverted. A leak of 1 drops nothing of its task."""
    rows = [[2.0] * 100, [-2.0] * 100]
    np.testing.assert_allclose(direction(built(leak=1.0), rows), 0.0)
    partly = direction(built(leak={"a": 1.0, "b": 0.0}), rows)
    np.testing.assert_array_equal(np.unique(partly), [0.0, 1.0])
    half = direction(built(leak=0.5), rows)
    np.testing.assert_array_equal(np.unique(half), [-0.5, 0.5])


def test_draws_change_with_step_and_differ_between_variables():
    combiner = built()
    rows = tf.constant([[1.0] * 64, [-1.0] * 64])
    results = [combiner([rows, rows], tf.ones(2)).gradients for _ in range(2)]
    signs = [np.sign(g.numpy()) for pair in results for g in pair]
    for i in range(4):
        for j in range(i):
            assert 0.2 < (signs[i] == signs[j]).mean() < 0.8


def test_absent_task_has_no_effect():
    np.testing.assert_allclose(direction(built(), [[1, -2], [-9, 9]], [True, False]), [1, -2])


def test_weights_report_the_kept_share():
    result = built(leak=[1.0, 0.25])([tf.constant([[3.0, 3.0], [-1e-9, -1e-9]])], tf.ones(2))
    np.testing.assert_allclose(result.task_weights, [0.5, 0.125], rtol=1e-5)


def merging(combiner, parts):
    """Merges the features of the parts of a batch."""

    def accumulate(f):
        return tf.nest.map_structure(lambda *each: tf.add_n(each), *(f(*part) for part in parts))

    return combiner.merge_features(accumulate, tf.ones(2), ALL, tf.ones(2))


@pytest.mark.parametrize("jit", [False, True])
def test_features_vote_over_the_whole_batch(jit):
    """Signs are those of z * g, summed over the batch; all examples share the draw."""
    features = tf.constant([[1.0, -2.0], [3.0, -1.0], [2.0, -1.0]])
    # Task a: votes +6 and -6 in all. Task b agrees in the first feature, opposes in the second.
    gradients = tf.constant([[[1.0, 1.0]] * 2 + [[4.0, 4.0]], [[2.0, -1.0]] * 2 + [[2.0, -4.0]]])
    combiner = built()

    @tf.function(autograph=False, jit_compile=jit)
    def combine() -> tf.Tensor:
        merge = merging(combiner, [([features], [gradients])])
        return merge.combine([features], [gradients])[0][0]

    seen = set()
    for _ in range(40):
        found = combine().numpy()
        np.testing.assert_allclose(found[:, 0], [1.5, 1.5, 3.0])
        seen.add(tuple(found[:, 1]))
    assert seen == {(0.5, 0.5, 2.0), (-0.5, -0.5, -2.0)}


def test_features_of_parts_of_a_batch_vote_together():
    """Pitfall: each replica or micro-batch decides by its own part of the batch."""
    features = tf.constant(np.random.default_rng(0).normal(size=(6, 5)), tf.float32)
    gradients = tf.constant(np.random.default_rng(1).normal(size=(2, 6, 5)), tf.float32)
    parts = [([features[s]], [gradients[:, s]]) for s in (slice(0, 2), slice(2, 6))]
    whole = merging(built(), [([features], [gradients])])
    merge = merging(built(), parts)
    (expected,), sizes = whole.combine([features], [gradients])
    kept = [merge.combine(*part) for part in parts]
    np.testing.assert_allclose(tf.concat([k[0][0] for k in kept], 0), expected, rtol=1e-5)
    np.testing.assert_allclose(kept[0][1] + kept[1][1], sizes, rtol=1e-5)
    weights = merge.task_weights(sizes).numpy()
    assert (weights > 0).all()
    assert (weights <= 0.5).all()
