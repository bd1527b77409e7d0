"""The estimate against graphs whose need is worked out by hand."""

import pytest
import tensorflow as tf

from mtk.experiment import graph_memory

MIB = 2**18  # float32 numbers


def peak(function, *shapes):
    """The estimate in MiB."""
    specs = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    graph = tf.function(function, autograph=False).get_concrete_function(*specs).graph
    return graph_memory.peak(graph) / 2**20


def test_a_chain_in_place_holds_one_tensor():
    # The first makes a tensor, for inputs are the caller's; the others write over it.
    assert peak(
        lambda x: tf.reduce_sum(tf.exp(tf.square(tf.negative(x)))), (MIB,)
    ) == pytest.approx(1, abs=1e-4)


def test_a_chain_of_others_holds_two():
    def chain(x):
        for _ in range(5):
            x = tf.cumsum(x)
        return tf.reduce_sum(x)

    assert peak(chain, (MIB,)) == pytest.approx(2, abs=1e-4)


def test_what_a_gradient_needs_is_kept():
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = x
            for _ in range(4):
                y = tf.tanh(y)  # Its gradient needs its output.
            total = tf.reduce_sum(y)
        return tf.reduce_sum(tape.gradient(total, x))

    # Four outputs; the gradient is written over ones filled in, then over itself.
    assert peak(gradient, (MIB,)) == pytest.approx(5, abs=1e-3)


def test_views_are_free_and_keep_what_they_look_at():
    def views(x):
        made = tf.cumsum(x)
        view = tf.expand_dims(tf.reshape(made, (2, -1)), 0)
        return tf.reduce_sum(tf.cumsum(tf.cumsum(x))) + tf.reduce_sum(view)

    assert peak(views, (MIB,)) == pytest.approx(3, abs=1e-4)


def test_what_is_not_needed_is_not_counted():
    def lazy(x):
        tf.tile(x, [9])
        return tf.reduce_sum(tf.cumsum(x))

    assert peak(lazy, (MIB,)) == pytest.approx(1, abs=1e-4)


def test_inside_of_calls_loops_and_branches():
    inner = tf.function(lambda x: tf.reduce_sum(tf.tile(x, [3])), autograph=False)
    assert peak(lambda x: inner(x) + 1.0, (MIB,)) == pytest.approx(3, abs=1e-4)

    def loop(x):
        body = lambda i, total: (i + 1, total + tf.reduce_sum(tf.tile(x, [4])))  # noqa: E731
        return tf.while_loop(lambda i, total: i < 3, body, (tf.constant(0), tf.constant(0.0)))[1]

    assert peak(loop, (MIB,)) == pytest.approx(4, abs=1e-4)

    def branches(x):
        wide, narrow = (lambda n=n: tf.reduce_sum(tf.tile(x, [n])) for n in (5, 2))
        return tf.cond(x[0] > 0, wide, narrow)

    assert peak(branches, (MIB,)) == pytest.approx(5, abs=1e-4)


def test_a_list_of_tensors_has_the_size_of_its_stack():
    def stacked(x):
        rows = tf.TensorArray(tf.float32, 6, element_shape=(MIB,))
        body = lambda i, rows: (i + 1, rows.write(i, tf.cumsum(x)))  # noqa: E731
        _, rows = tf.while_loop(lambda i, _: i < 6, body, (tf.constant(0), rows))
        return tf.reduce_sum(rows.stack())

    # The list, and beside it what it is stacked to.
    assert 12 <= peak(stacked, (MIB,)) <= 19


def test_twice_the_batch_is_twice_the_memory():
    def layers(x):
        for _ in range(3):
            x = tf.nn.relu(tf.matmul(x, tf.ones((64, 64))))
        return tf.reduce_sum(x)

    small, large = peak(layers, (4096, 64)), peak(layers, (8192, 64))
    assert 1.8 < large / small <= 2
