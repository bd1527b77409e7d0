"""Layers, losses and metrics with side effects or state: equal to Keras, or refused."""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mtk
from mtk import combiners
from tests.combiners.cases import BY_NAME
from tests.quick import slow, some

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 4)).astype("float32")
Y = {task: RNG.normal(size=(12, 1)).astype("float32") for task in "ab"}


class RunningNorm(layers.Layer):
    """Updates a running mean square and divides by it in the same call."""

    def build(self, shape):
        self.mean = self.add_weight(shape=(), initializer="ones", trainable=False)

    def call(self, x):
        self.mean.assign(0.5 * self.mean + 0.5 * keras.ops.mean(x**2))
        return x / keras.ops.sqrt(self.mean)


class InModule(layers.Layer):
    """Counts its calls in a `tf.Module`."""

    def __init__(self):
        super().__init__()
        self.held = tf.Module()
        self.held.calls = tf.Variable(0.0, trainable=False)

    def call(self, x):
        self.held.calls.assign_add(1.0)
        return x


class Scaled(keras.losses.Loss):
    """Multiplies the loss by the number of its calls."""

    def __init__(self, name="scaled"):
        super().__init__(name=name)
        self.calls = keras.Variable(0.0, trainable=False)

    def call(self, y_true, y_pred):
        self.calls.assign_add(1.0)
        return self.calls * tf.reduce_mean((y_true - y_pred) ** 2, -1)


def network(layer, calls=1):
    i = keras.Input((4,))
    h = layers.Dense(3)(i)
    for _ in range(calls):
        h = layer(h)
    return keras.Model(i, {task: layers.Dense(1)(h) for task in "ab"})


class Half(combiners.GramianCombiner):
    def task_weights(self, gramian, task_losses, present):
        return tf.constant([0.5, 0.5])


@pytest.mark.parametrize("combiner", some([combiners.StaticWeights, Half], [Half]))
@pytest.mark.parametrize("calls", some([1, 2], [2]))
def test_no_gradient_flows_through_assigned_variables(combiner, calls):
    """As in Keras, where the tape does not record the assignment of a variable."""
    keras.utils.set_random_seed(1)
    one = network(RunningNorm(), calls)
    keras.utils.set_random_seed(1)
    two = network(RunningNorm(), calls)
    model = mtk.MultiTaskModel(one, [mtk.Task(t, "mse") for t in "ab"], combiner())
    model.compile(keras.optimizers.SGD(0.1))
    model.fit(X, Y, batch_size=6, epochs=2, shuffle=False, verbose=0)
    two.compile(
        keras.optimizers.SGD(0.1),
        loss=dict.fromkeys("ab", "mse"),
        loss_weights={"a": 0.5, "b": 0.5},
        run_eagerly=True,  # Four steps take Keras less time than tracing one.
    )
    two.fit(X, Y, batch_size=6, epochs=2, shuffle=False, verbose=0)
    for mine, plain in zip(one.weights, two.weights, strict=True):
        np.testing.assert_allclose(mine.numpy(), plain.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("combiner", "options"),
    [
        slow((combiners.StaticWeights, {})),
        (combiners.FAMO, {}),
        (combiners.UncertaintyWeights, {"micro_batches": 2}),
        slow((combiners.StaticWeights, {"micro_batches": 2})),
    ],
)
def test_variables_of_modules_are_updated_once_per_step(combiner, options):
    layer = InModule()
    model = mtk.MultiTaskModel(network(layer), [mtk.Task(t, "mse") for t in "ab"], combiner())
    model.compile(keras.optimizers.SGD(0.1), **options)
    model.fit(X, Y, batch_size=6, verbose=0)
    assert float(layer.held.calls) == 2.0


@pytest.mark.parametrize(
    ("combiner", "options"),
    [(combiners.FAMO, {}), (combiners.StaticWeights, {"micro_batches": 2})],
)
def test_state_of_losses_is_updated_once_per_step(combiner, options):
    loss, half = Scaled(), np.tile([1.0, 1.0, 0.0], (12, 1))
    i = keras.Input((4,))
    model = mtk.MultiTaskModel(
        keras.Model(i, {"a": layers.Dense(1)(i), "b": layers.Dense(3)(i)}),
        [mtk.Task("a", "mse"), mtk.Task("b", loss)],
        combiner(),
    )
    model.compile(keras.optimizers.SGD(0.1), **options)
    y = {"a": Y["a"], "b": half}
    model.fit(X, y, sample_weight={"b": half}, batch_size=6, verbose=0)
    assert float(loss.calls) == 2.0


class Counting(keras.losses.Loss):
    """Counts its calls in a `tf.Variable`."""

    def __init__(self, calls):
        super().__init__(name="counting")
        self.calls = calls

    def call(self, y_true, y_pred):
        self.calls.assign_add(1.0)
        return tf.reduce_mean((y_true - y_pred) ** 2, -1)


CALLS = tf.Variable(0.0, trainable=False)


def counting(y_true, y_pred, calls=None):
    (CALLS if calls is None else calls).assign_add(1.0)
    return tf.reduce_mean((y_true - y_pred) ** 2, -1)


LOSSES = {
    "object": lambda: Counting(CALLS),
    "method": lambda: Counting(CALLS).call,
    "global": lambda: counting,
    "closure": lambda calls=CALLS: lambda y_true, y_pred: counting(y_true, y_pred, calls),
    "partial": lambda: functools.partial(counting, calls=CALLS),
    "sum": lambda: mtk.losses.WeightedSum([Counting(CALLS), "mae"], [0.5, 0.5]),
}


@pytest.mark.parametrize(
    ("combiner", "options"),
    [(combiners.FAMO, {}), slow((combiners.IMTLL, {"micro_batches": 2}))],
)
@pytest.mark.parametrize("kind", some(LOSSES, ["closure", "sum"]))
def test_raw_variables_of_losses_are_updated_once_per_step(kind, combiner, options):
    CALLS.assign(0.0)
    net, loss = network(InModule()), LOSSES[kind]()
    model = mtk.MultiTaskModel(net, [mtk.Task("a", loss), mtk.Task("b", "mse")], combiner())
    model.compile(keras.optimizers.SGD(0.1), **options)
    model.fit(X, Y, batch_size=6, verbose=0)
    assert float(CALLS) == 2.0


def test_skipped_step_restores_the_state_of_losses():
    loss = Scaled()
    model = mtk.MultiTaskModel(network(InModule()), [mtk.Task(t, loss) for t in "ab"])
    model.compile(keras.optimizers.SGD(0.1), on_nonfinite="skip")
    model.fit(X * np.nan, Y, batch_size=12, verbose=0)
    assert float(loss.calls) == 0.0


def test_skipped_step_restores_variables_of_modules():
    layer = InModule()
    model = mtk.MultiTaskModel(network(layer), [mtk.Task(t, "mse") for t in "ab"])
    model.compile(keras.optimizers.SGD(0.1), on_nonfinite="skip")
    model.fit(X * np.nan, Y, batch_size=12, verbose=0)
    assert float(layer.held.calls) == 0.0


@pytest.mark.slow
def test_save_and_load_with_gradients_at_a_layer_object(tmp_path):
    net = network(layers.Activation("tanh"))
    combiner = combiners.PCGrad(at=net.layers[1])
    model = mtk.MultiTaskModel(net, [mtk.Task(t, "mse") for t in "ab"], combiner)
    model.compile("sgd")
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.combiner.at == net.layers[1].name
    expected, found = model.predict(X, verbose=0), loaded.predict(X, verbose=0)
    np.testing.assert_allclose(found["a"], expected["a"], rtol=1e-6)


METRICS = {
    "categorical_accuracy": lambda: keras.metrics.CategoricalAccuracy(),
    "top_k": lambda: keras.metrics.TopKCategoricalAccuracy(2),
    "cosine": lambda: keras.metrics.CosineSimilarity(),
    "f1": lambda: keras.metrics.F1Score(),
    "r2": lambda: keras.metrics.R2Score(),
    "auc_of_each": lambda: keras.metrics.AUC(multi_label=True, num_labels=3),
    "norm": lambda: keras.metrics.MeanMetricWrapper(lambda t, p: tf.norm(t - p, axis=-1), "norm"),
    "auc": lambda: keras.metrics.AUC(),
    "mae": lambda: keras.metrics.MeanAbsoluteError(),
    "binary_accuracy": lambda: keras.metrics.BinaryAccuracy(),
}


@pytest.mark.parametrize("name", some(METRICS, ["top_k", "norm", "f1"]))
def test_metrics_of_several_labels_equal_keras(name):
    """Once with all labels, once with all labels of some examples missing."""
    y = np.eye(3, dtype="float32")[RNG.integers(0, 3, 16)]
    p = RNG.uniform(0.05, 0.95, (16, 3)).astype("float32")
    net = keras.Sequential([keras.Input((3,)), layers.Identity()])
    missing = y.copy()
    missing[::3] = np.nan
    for labels in (y, missing):
        there = ~np.isnan(labels[:, 0])
        plain = METRICS[name]()
        plain.update_state(y[there], p[there])
        task = mtk.Task("a", "mse", [METRICS[name]()], missing=float("nan"))
        model = mtk.MultiTaskModel(net, [task])
        model.compile(run_eagerly=True)
        logs = model.evaluate(p, labels, verbose=0, return_dict=True)
        (found,) = (value for key, value in logs.items() if key not in ("loss", "a_loss"))
        np.testing.assert_allclose(found, plain.result(), rtol=1e-5)


IOU = {
    "binary": (1, lambda: keras.metrics.BinaryIoU([1])),
    "classes": (3, lambda: keras.metrics.MeanIoU(3, sparse_y_pred=False)),
    "one-hot": (3, lambda: keras.metrics.OneHotMeanIoU(3)),
}


OVERLAPS = list(itertools.product(IOU, ["weights", "mask"]))


@pytest.mark.parametrize(("kind", "given"), some(OVERLAPS, [OVERLAPS[i] for i in (0, 3, 4)]))
def test_iou_with_one_loss_per_image(kind, given):
    """Keras' IoU metrics only accept sample weights for each pixel."""
    channels, make = IOU[kind]
    p = RNG.uniform(size=(6, 2, 2, channels)).astype("float32")
    classes = RNG.integers(0, max(channels, 2), (6, 2, 2))
    y = classes if kind == "classes" else np.eye(3)[classes] if kind == "one-hot" else classes
    y = y[..., None] if kind == "binary" else y
    whole = RNG.choice([0.5, 2.0], 6) if given == "weights" else np.arange(6) % 3 > 0
    there = np.ones(6, bool) if given == "weights" else whole
    plain = make()
    plain.update_state(y[there], p[there])

    def loss(y_true, y_pred):
        return tf.reduce_sum(y_pred, (1, 2, 3))

    model = mtk.MultiTaskModel(keras.Sequential([keras.Input((2, 2, channels)), layers.Identity()]))
    model.compile("sgd", loss, metrics=[make()])
    logs = model.evaluate(p, y, sample_weight=whole, verbose=0, return_dict=True)
    (found,) = (value for key, value in logs.items() if key != "loss")
    assert found == pytest.approx(float(plain.result()), rel=1e-5)


def test_metrics_per_label_count_partly_labelled_examples():
    y = RNG.integers(0, 2, (16, 3)).astype("float32")
    p = RNG.uniform(0.05, 0.95, (16, 3)).astype("float32")
    y[np.arange(16), RNG.integers(0, 3, 16)] = np.nan
    there = ~np.isnan(y)
    auc = keras.metrics.AUC()
    auc.update_state(y[there], p[there])
    net = keras.Sequential([keras.Input((3,)), layers.Identity()])
    task = mtk.Task("a", "binary_crossentropy", ["mae", "auc"], missing=float("nan"))
    model = mtk.MultiTaskModel(net, [task])
    model.compile()
    logs = model.evaluate(p, y, verbose=0, return_dict=True)
    assert logs["a_mae"] == pytest.approx(np.abs(y - p)[there].mean(), rel=1e-5)
    assert logs["a_auc"] == pytest.approx(float(auc.result()), rel=1e-5)


def test_loss_that_takes_the_logarithm_of_missing_labels():
    y, p = (RNG.uniform(0.1, 0.9, (8, 3)).astype("float32") for _ in range(2))
    y[0, 1] = np.nan
    each = (y * np.log(y / p))[~np.isnan(y)]
    loss = lambda t, q: tf.reduce_mean(t * tf.math.log(t / q), -1)  # noqa: E731
    elements = mtk.Task("a", loss, missing=float("nan")).elements(y, p)
    total = tf.reduce_sum(tf.where(elements.weights > 0, elements.values, 0.0))
    assert float(total / tf.reduce_sum(elements.weights)) == pytest.approx(each.mean(), rel=1e-5)


def test_unsupported_models_are_refused_early():
    class Calling(mtk.MultiTaskModel):
        def call(self, inputs, training=None):
            return super().call(2 * inputs, training)

    tasks = [mtk.Task(t, "mse") for t in "ab"]
    with pytest.raises(TypeError, match="overrides `call`, but training calls `network` directly"):
        Calling(network(layers.ReLU()), tasks)
    shared = keras.metrics.CosineSimilarity(axis=1)
    with pytest.raises(ValueError, match=r"is also given to another task.*lose \['axis'\]"):
        mtk.MultiTaskModel(network(layers.ReLU()), [mtk.Task(t, "mse", [shared]) for t in "ab"])
    other = layers.Dense(3, name="other")
    model = mtk.MultiTaskModel(network(layers.ReLU()), tasks, shared=[other])
    with pytest.raises(ValueError, match="'other' is not part of the network"):
        model.inspect((X, Y))


def test_one_metric_object_for_two_tasks_is_copied():
    shared = keras.metrics.MeanAbsoluteError()
    model = mtk.MultiTaskModel(network(layers.ReLU()), [mtk.Task(t, "mse", [shared]) for t in "ab"])
    model.compile()
    logs = model.evaluate(X, Y, verbose=0, return_dict=True)
    found = model.predict(X, verbose=0)
    for task in "ab":
        error = np.abs(found[task] - Y[task]).mean()
        assert logs[f"{task}_mean_absolute_error"] == pytest.approx(error, rel=1e-5)


@functools.cache
def float8_state_of_keras():
    return trained_float8_state(lambda net: net)


def trained_float8_state(wrap, epochs=2, **options):
    """Trains at learning rate zero; returns the state that float8 layers keep beside weights."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((4,))
    hidden = layers.Dense(8, "tanh", activity_regularizer=keras.regularizers.L2(0.1))(inputs)
    net = keras.Model(inputs, {name: layers.Dense(1, name=name)(hidden) for name in "ab"})
    for layer in net.layers[1], net.get_layer("b"):
        layer.quantize("float8")
    model = wrap(net)
    loss, weights = dict.fromkeys("ab", "mse"), dict.fromkeys("ab", 0.5)
    model.compile(keras.optimizers.SGD(0.0), loss, weights, **options)
    y = {"a": X[:, :1], "b": 9 * X[:, :1]}
    model.fit(X, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)
    return [v.numpy() for v in net.trainable_variables if v.overwrite_with_gradient]


@pytest.mark.parametrize(
    ("combiner", "options"),
    [
        (combiners.StaticWeights, {"clip_norm": 0.01, "weight_decay": 0.5}),
        slow((Half, {})),
    ],
)
def test_overwrite_with_gradient_variables_equal_keras(combiner, options):
    expected = float8_state_of_keras()
    found = trained_float8_state(
        lambda net: mtk.MultiTaskModel(net, combiner=combiner()), **options
    )
    assert len(expected) == 12
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_micro_batches_refuse_float8_layers():
    with pytest.raises(ValueError, match="The layer 'dense.*' has float8"):
        trained_float8_state(mtk.MultiTaskModel, micro_batches=2)


def after_quantization(wrap):
    """Trains adapters, quantizes the network and continues without compiling again."""
    keras.utils.set_random_seed(4)
    net = network(layers.ReLU())
    net.layers[1].enable_lora(2)
    model = wrap(net)
    model.compile(keras.optimizers.SGD(0.1), dict.fromkeys("ab", "mse"), dict.fromkeys("ab", 0.5))
    found = []
    for quantizes in (False, True):
        if quantizes:
            net.quantize("int8", filters=lambda layer: isinstance(layer, layers.Dense))
        history = model.fit(X, Y, batch_size=6, epochs=2, shuffle=False, verbose=0)
        found += history.history["loss"]
        found += [model.evaluate(X, Y, verbose=0)[0], *model.predict(X, verbose=0)["a"][:, 0]]
    return found


@pytest.mark.slow
def test_quantized_network_is_traced_again():
    found = after_quantization(mtk.MultiTaskModel)
    np.testing.assert_allclose(found, after_quantization(lambda net: net), rtol=1e-5)


class OfTexts(keras.Model):
    """Two texts with a shared masking embedding and an LSTM each, and numeric inputs."""

    def __init__(self):
        super().__init__()
        self.words = layers.Embedding(7, 3, mask_zero=True)
        self.readers = [layers.LSTM(4), layers.LSTM(4)]
        self.trunk = layers.Dense(6, "relu")
        self.drop = layers.Dropout(0.1)
        self.outs = {"a": layers.Dense(1), "b": layers.Dense(1, "sigmoid")}

    def call(self, inputs, training=None):
        pairs = zip(("one", "two"), self.readers, strict=True)
        states = [reader(self.words(inputs[text])) for text, reader in pairs]
        h = self.trunk(keras.ops.concatenate([*states, inputs["numbers"]], axis=-1))
        h = self.drop(h, training=training)
        return {name: out(h) for name, out in self.outs.items()}


FIRST_OF_A_KIND = {type(case.make()): name for name, case in reversed(BY_NAME.items())}.values()


@pytest.mark.parametrize("name", some(sorted(FIRST_OF_A_KIND), ["pcgrad"]))
def test_subclassed_network_of_texts_and_numbers_trains_with_each_method(name):
    texts = np.random.default_rng(1).integers(0, 7, (2, 12, 5))
    net = OfTexts()
    model = mtk.MultiTaskModel(net, combiner=BY_NAME[name].make())
    losses = {"a": "mse", "b": "binary_crossentropy"}
    model.compile(keras.optimizers.SGD(0.1), loss=losses, metrics={"b": ["AUC"]})
    x = {"one": texts[0], "two": texts[1], "numbers": X}
    y = {"a": Y["a"], "b": (Y["b"] > 0).astype("float32")}
    net({key: value[:1] for key, value in x.items()})
    # All but the heads, as some methods train only one task in a step.
    parts = (net.words, *net.readers, net.trunk)
    shared = [weight for part in parts for weight in part.trainable_weights]
    before = [weight.numpy() for weight in shared]
    history = model.fit(x, y, batch_size=6, epochs=1, verbose=0).history
    assert np.isfinite([values[-1] for values in history.values()]).all()
    for weight, old in zip(shared, before, strict=True):
        assert np.any(weight.numpy() != old), weight.path
