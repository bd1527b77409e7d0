"""Every method trains 13 or 40 tasks with missing labels."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
from mtk import callbacks, combiners
from tests.combiners.cases import CASES
from tests.quick import slow, some

METHODS = {case.name: case.make for case in CASES}
METHODS["gradnorm"] = combiners.GradNorm
METHODS["pcgrad features"] = lambda: combiners.PCGrad(at="representation")
QUICK = "pcgrad features"


# These use only some of the tasks in a step: there are no cosines of the others.
FEW = ("subset", "m-config")


def names(number):
    return [f"task_{k}" for k in range(number)]


def network(number):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    features = keras.layers.Dense(8, "tanh", name="features")(inputs)
    return keras.Model(inputs, {name: keras.layers.Dense(2)(features) for name in names(number)})


def batch(number, size=18):
    """Returns inputs, labels and masks; a fifth of the labels and the last task are missing."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(size, 6)).astype("float32")
    labels = {name: (x @ rng.normal(size=6) > 0).astype("int32") for name in names(number)}
    masks = {name: (rng.uniform(size=size) < 0.8).astype("float32") for name in names(number)}
    masks[names(number)[-1]][:] = 0
    return tf.nest.map_structure(tf.constant, (x, labels, masks))


def compiled(combiner, number, **options):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    tasks = [mtk.Task(name, loss) for name in names(number)]
    model = mtk.MultiTaskModel(network(number), tasks, combiner)
    model.compile(keras.optimizers.SGD(0.1), **options)
    return model


def trained(combiner, number, folder, steps=3):
    model = compiled(combiner, number)
    data = tf.data.Dataset.from_tensors(batch(number)).repeat(steps)
    board = callbacks.TaskBoard(folder, every=1, measure_every=2)
    model.fit(data, callbacks=[board], shuffle=False, verbose=0)
    return model


def check(model, events, few=False):
    number = len(model.tasks)
    weights = model.last_weights.numpy()
    assert weights.shape == (number,)
    assert np.isfinite(weights).all()
    assert weights[-1] == 0  # The last task has no labels.
    assert all(np.isfinite(v.numpy()).all() for v in model.network.weights)
    assert not [tag for tag in events if tag.startswith("cosine/")]
    assert len([tag for tag in events if tag.startswith("gradient_norm/")]) == number
    width, height, png = events["cosines"][0][1][:3]
    # From red to blue; grey in the last row and column, of the absent task. A key is below.
    assert int(height) > int(width) >= number
    pixels = tf.io.decode_png(png).numpy()[: int(width)]
    assert (pixels[-1, ::12] == 128).all()
    assert few or (pixels[0, 0] == (0, 0, 255)).all()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "number"), [(QUICK, 13), *(slow((name, 40)) for name in METHODS)])
def test_every_method_trains(name, number, tmp_path, read_events):
    model = trained(METHODS[name](), number, tmp_path)
    check(model, read_events(tmp_path / "train"), name in FEW)


@pytest.mark.parametrize("number", some([13, 40], [13]))
def test_gramian_equals_jacobian(number):
    x, labels, masks = batch(number)
    model = compiled(combiners.MGDA(), number, run_eagerly=True)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")
    shared = model.network.get_layer("features").trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        outputs = model.network(x)
        losses = [
            tf.math.divide_no_nan(
                tf.reduce_sum(loss(labels[name], outputs[name]) * masks[name]),
                tf.reduce_sum(masks[name]),
            )
            for name in names(number)
        ]
        stacked = tf.stack(losses)
    rows = tape.jacobian(stacked, [v.value for v in shared], experimental_use_pfor=False)
    flat = np.concatenate([row.numpy().reshape(number, -1) for row in rows], axis=1)
    model.fit(tf.data.Dataset.from_tensors((x, labels, masks)), shuffle=False, verbose=0)
    np.testing.assert_allclose(model.last_gramian.numpy(), flat @ flat.T, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("number", some([2, 40], [2]))
def test_graph_of_a_step_is_reused_by_training(number):
    model = compiled(combiners.StaticWeights(), number)
    data = tf.data.Dataset.from_tensors(batch(number))
    before = [v.numpy() for v in model.network.weights]
    assert model.step_graph(data).get_operations()
    for value, variable in zip(before, model.network.weights, strict=True):
        np.testing.assert_array_equal(value, variable.numpy())
    model.fit(data, shuffle=False, verbose=0)
    assert model.tracings == 1
