"""Unusual models and common mistakes: each works or raises a clear error."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mtk
from mtk.combiners import MGDA, GradDrop, GradNorm, PCGrad, StaticWeights
from tests import networks
from tests.quick import some
from tests.trainer.test_model import compiled, dataset


def branched(regularizer=None):
    """`left` and `right` share a layer after the features that `size` reads."""
    inputs = keras.Input((6,))
    trunk = layers.Dense(8, activation="tanh", name="trunk")(inputs)
    both = layers.Dense(8, name="both", kernel_regularizer=regularizer)(trunk)
    outputs = {
        "left": layers.Dense(3, name="left")(both),
        "right": layers.Dense(4, name="right")(both),
        "size": layers.Dense(1, name="size")(trunk),
    }
    return keras.Model(inputs, outputs)


def test_shared_variables_after_the_representation_are_trained():
    """Also with a regularizer of factor zero, which does not change the step."""
    kernels = []
    for regularizer in (None, keras.regularizers.L2(0.0)):
        keras.utils.set_random_seed(0)
        network = branched(regularizer)
        before = network.get_layer("both").kernel.numpy()
        combiner = GradDrop(at="representation")
        compiled(combiner, network=network, run_eagerly=True).fit(dataset(), verbose=0)
        kernels.append(network.get_layer("both").kernel.numpy())
        assert np.abs(kernels[-1] - before).max() > 1e-3
    np.testing.assert_allclose(*kernels, atol=1e-6)


def test_variable_before_and_after_the_representation_is_refused():
    inputs = keras.Input((6,))
    tied = layers.Dense(6, name="tied")
    features = layers.Activation("tanh", name="features")(tied(inputs))
    outputs = {
        "left": layers.Dense(3, name="left")(tied(features)),
        "right": layers.Dense(4, name="right")(tied(features)),
        "size": layers.Dense(1, name="size")(features),
    }
    model = mtk.MultiTaskModel(
        keras.Model(inputs, outputs),
        networks.tasks(),
        GradDrop(at="representation"),
        representation="features",
    )
    model.compile("sgd")
    with pytest.raises(ValueError, match=r"both before and after the representation.*tied/kernel"):
        model.fit(dataset(), verbose=0)


METHODS = [PCGrad(), MGDA(at="representation"), GradDrop(), GradNorm()]


@pytest.mark.parametrize("combiner", METHODS)
def test_network_without_shared_variables_is_refused(combiner):
    x = keras.Input((6,))
    network = keras.Model(x, networks.heads(x))
    with pytest.raises(ValueError, match="no trainable variable is shared by two tasks"):
        compiled(combiner, network=network).fit(dataset(), verbose=0)


def trained_in_phases(combiner):
    """Trains the heads only, then all; returns a head in between and the change of the trunk."""
    keras.utils.set_random_seed(0)
    model = compiled(combiner, network=networks.dense())
    trunk = [model.get_layer(name) for name in ("trunk", "norm")]
    for trainable in (False, True):
        for layer in trunk:
            layer.trainable = trainable
        model.compile(keras.optimizers.SGD(0.1))
        before = trunk[0].kernel.numpy()
        model.fit(dataset(), verbose=0, shuffle=False)
        if not trainable:
            head = model.get_layer("left").kernel.numpy()
    return head, np.abs(trunk[0].kernel.numpy() - before).max()


@pytest.fixture(scope="module")
def head_of_static_weights():
    return trained_in_phases(StaticWeights())[0]


# By default one combiner that reads a Gramian and one that merges gradients.
@pytest.mark.parametrize("combiner", some(METHODS, METHODS[1:3]))
def test_only_heads_are_trained_while_the_trunk_is_frozen(combiner, head_of_static_weights):
    """The first phase of transfer learning is of this form."""
    with pytest.warns(UserWarning, match="the shared variables are frozen"):
        head, moved = trained_in_phases(combiner)
    np.testing.assert_allclose(head, head_of_static_weights, atol=1e-6)
    assert moved > 0


def test_static_weights_train_heads_on_a_frozen_trunk(tmp_path):
    network = networks.dense()
    network.get_layer("trunk").trainable = network.get_layer("norm").trainable = False
    head = network.get_layer("left").kernel.numpy()
    board = mtk.callbacks.TaskBoard(tmp_path, every=1, measure_every=1)
    compiled(StaticWeights(), network=network).fit(dataset(), verbose=0, callbacks=[board])
    assert np.abs(network.get_layer("left").kernel.numpy() - head).max() > 0


def test_no_gradient_at_all_is_an_error():
    x = keras.Input((6,))
    heads = {name: keras.ops.stop_gradient(y) for name, y in networks.heads(x).items()}
    network = keras.Model(x, heads)
    with pytest.raises(ValueError, match="has a gradient with respect to any trainable variable"):
        compiled(StaticWeights(), network=network).fit(dataset(), verbose=0)


def test_single_output_tensor_for_a_shared_input_is_refused():
    inputs = keras.Input((6,))
    network = keras.Model(inputs, layers.Dense(4)(inputs))
    with pytest.raises(
        ValueError, match="outputs do not match the tasks.*a single tensor is allowed only"
    ):
        compiled(network=network).fit(dataset(), verbose=0)


def test_padding_masked_by_keras_does_not_count():
    """With `mask_zero`, a loss per token is the mean over tokens that are not padding."""
    inputs = keras.Input((5,), dtype="int32")
    tokens = layers.Embedding(7, 4, mask_zero=True)(inputs)
    network = keras.Model(inputs, {"tag": layers.Dense(3)(tokens), "size": layers.Dense(2)(tokens)})
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    x = np.array([[1, 2, 3, 0, 0], [4, 5, 0, 0, 0]])
    y = {"tag": np.arange(10).reshape(2, 5) % 3, "size": np.arange(20.0).reshape(2, 5, 2)}
    tasks = [mtk.Task("tag", loss), mtk.Task("size", keras.losses.MeanSquaredError())]
    model = mtk.MultiTaskModel(network, tasks)
    model.compile("sgd")
    found = model.evaluate(x, y, verbose=0, return_dict=True)
    outputs = network(x)
    expected = {
        "tag": tf.nn.sparse_softmax_cross_entropy_with_logits(y["tag"], outputs["tag"]).numpy(),
        "size": ((y["size"] - outputs["size"].numpy()) ** 2).mean(-1),
    }
    for name, values in expected.items():
        assert found[f"{name}_loss"] == pytest.approx(values[x > 0].mean(), rel=1e-5)


def test_colliding_log_names_are_refused():
    tasks = [mtk.Task("a_b", "mse"), mtk.Task("a", "mse", [keras.metrics.Mean(name="b_loss")])]
    with pytest.raises(ValueError, match=r"under the same name: \['a_b_loss'\]"):
        mtk.MultiTaskModel(networks.dense(), tasks)


@pytest.mark.parametrize("combiner", [PCGrad, "pcgrad"])
def test_combiner_must_be_an_object(combiner):
    with pytest.raises(ValueError, match="`combiner` must be an object, such as"):
        mtk.MultiTaskModel(networks.dense(), networks.tasks(), combiner)


def test_predict_refuses_labels():
    x, y, _ = networks.batch("dense")
    data = tf.data.Dataset.from_tensors({name: (x, y[name]) for name in networks.TASKS})
    with pytest.raises(ValueError, match="`predict` takes only inputs"):
        compiled().predict(data, verbose=0)


@pytest.mark.slow
def test_export_after_fit(tmp_path):
    model = compiled()
    model.fit(dataset(), verbose=0)
    model.export(tmp_path / "exported", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    served = loaded.serve(networks.batch("dense")[0])
    expected = model.predict(networks.batch("dense")[0], verbose=0)
    np.testing.assert_allclose(served["left"], expected["left"], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("combiner", some([StaticWeights, PCGrad], [PCGrad]))
def test_first_nonfinite_step_is_recorded(combiner):
    model = compiled(combiner())
    model.fit(dataset(), verbose=0)
    assert model.nonfinite_step.numpy() == -1
    x, y, mask = networks.batch("dense", size=8)
    model.fit(tf.data.Dataset.from_tensors((x * np.inf, y, mask)).repeat(2), verbose=0)
    assert model.nonfinite_step.numpy() == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradients": "share"}, "needs a batch with separate inputs"),
        ({"combiner": MGDA(at="trnk")}, "no layer named 'trnk'. Did you mean 'trunk'"),
        (
            {"combiner": MGDA(at="representation"), "representation": "featurs"},
            "no layer named 'featurs'. Did you mean 'features'",
        ),
    ],
)
def test_check_finds_errors_of_the_first_step(options, message):
    model = mtk.MultiTaskModel(networks.dense(), networks.tasks(), **options)
    with pytest.raises(ValueError, match=message):
        model.check(dataset())
    model.compile("sgd")
    with pytest.raises(ValueError, match=message):
        model.fit(dataset(), verbose=0)
