"""Rare forms of outputs, losses and inputs, compared with Keras."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import mtk
from mtk import combiners, compiled_tasks
from mtk.finite import all_finite
from tests.quick import slow, some

RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 5)).astype("float32")
A, B = (RNG.uniform(0.1, 1.0, (16, 1)).astype("float32") for _ in range(2))
WEIGHTS = RNG.choice([0.0, 0.5, 2.0], 16).astype("float32")


def functional(outputs):
    x = keras.Input((5,))
    h = layers.Dense(4, "tanh")(x)
    a, b, c = (layers.Dense(1, name=name)(h) for name in "abc")
    return keras.Model(x, outputs(a, b, c))


def one_head():
    x = keras.Input((5,))
    head = layers.Dense(1, name="head")
    return keras.Model(x, [head(layers.Dense(4, "tanh")(x)) for _ in range(2)])


def padded():
    words = keras.Input((5,))
    h = layers.Embedding(3, 4, mask_zero=True)(words)
    a, b = layers.Dense(3, "softmax", name="a")(h), layers.Dense(1, name="b")
    return keras.Model(words, {"a": a, "b": b(layers.GlobalAveragePooling1D()(h))})


class Late(keras.Model):
    """Its outputs are unknown until it is called."""

    def __init__(self, outputs):
        super().__init__()
        self.h, self.a, self.b = layers.Dense(4, "tanh"), layers.Dense(1), layers.Dense(1)
        self.of = outputs

    def call(self, x):
        h = self.h(x)
        return self.of(self.a(h), self.b(h))


class Untold(Late):
    """Its `call` has no argument `training` to pass to its layers."""

    def __init__(self):
        super().__init__(lambda a, b: {"a": a, "b": b})
        self.norm, self.drop = layers.BatchNormalization(momentum=0.5), layers.Dropout(0.5)

    def call(self, x):
        return super().call(self.drop(self.norm(x)))


class InTuples(Late):
    """Keeps its layers in nested containers, and has a metric."""

    def __init__(self):
        super().__init__(None)
        self.parts = ((layers.Dense(4, "tanh"), [layers.Dense(4, "tanh")]), {"more": (self.h,)})
        self.mean = keras.metrics.Mean(name="mean")

    def call(self, x):
        (one, (two,)), rest = self.parts
        h = one(x) + two(x) + rest["more"][0](x)
        self.mean.update_state(h)
        return {"a": self.a(h), "b": self.b(h)}


class Noted(layers.Dense):
    """Has a metric, which has the same name in all such layers."""

    def __init__(self, units):
        super().__init__(units)
        self.size = keras.metrics.Mean(name="size")

    def call(self, x):
        out = super().call(x)
        self.size.update_state(out)
        return out


def noted():
    x = keras.Input((5,))
    h = Noted(4)(x)
    return keras.Model(x, {"a": Noted(1)(h), "b": Noted(1)(h)})


class Told(layers.Layer):
    """Knows its output shape, so that Keras does not call the inner layer before `fit`."""

    def build(self, shape):
        self.inside = layers.Dense(4, "tanh")

    def call(self, x):
        return self.inside(x)

    def compute_output_shape(self, shape):
        return (*shape[:-1], 4)


class Noise(layers.Layer):
    """Draws from Keras' global seed generator, which is created when it is first used."""

    def call(self, x, training=False):
        return x + keras.random.normal(ops.shape(x)) if training else x


def behind(layer):
    x = keras.Input((5,))
    h = layers.Dense(4)(layer(x))
    return keras.Model(x, {n: layers.Dense(1, name=n)(h) for n in "ab"})


class Parted(layers.Layer):
    def call(self, x):
        return {"a": x[:, :1], "b": x[:, 1:]}


class Optional(Late):
    def call(self, x):
        h = self.h(x["one"])
        h = h if x["two"] is None else h + x["two"]
        return {"a": self.a(h), "b": self.b(h)}


def of_batch(y_true, y_pred):
    return tf.reduce_mean(tf.square(y_true - y_pred))


def of_tags(y_true, y_pred):
    values = keras.losses.sparse_categorical_crossentropy(y_true, y_pred)
    counted = tf.cast(y_true > 0, values.dtype)
    return tf.reduce_sum(values * counted) / tf.reduce_sum(counted)


def of_columns(y_true, y_pred):
    return tf.reduce_mean(tf.square(y_true - y_pred), axis=0)


class OfBatch(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return of_batch(y_true, y_pred)


def two():
    x = keras.Input((5,))
    h = layers.Dense(4, "tanh")(x)
    return keras.Model(x, {n: layers.Dense(1, "sigmoid", name=n)(h) for n in "ab"})


BOTH = {"a": A, "b": B}


def weighted(loss, **weights):
    return (
        two,
        {"a": loss, "b": "mse"},
        X,
        BOTH,
        {},
        {"sample_weight": weights} if weights else {},
    )


# Network, losses, inputs, labels, and further arguments of `compile` and `fit`.
PROGRAMS = {
    "dict of dicts": (
        lambda: functional(lambda a, b, c: {"p": {"a": a, "b": b}, "q": c}),
        {"p": {"a": "mse", "b": "mae"}, "q": "mse"},
        X,
        {"p": {"a": A, "b": B}, "q": A},
        {"loss_weights": {"p": {"a": 0.5, "b": 2.0}, "q": 1.0}},
        {"sample_weight": {"p": {"a": WEIGHTS, "b": WEIGHTS}, "q": WEIGHTS}},
    ),
    "tuple of a dict": (
        lambda: functional(lambda a, b, c: ({"a": a, "b": b}, c)),
        ({"a": "mse", "b": "mae"}, "mse"),
        X,
        ({"a": A, "b": B}, A),
        {},
        {"validation_split": 0.5},
    ),
    "dict of lists, one loss": (
        lambda: functional(lambda a, b, c: {"p": [a, b], "q": c}),
        "mse",
        X,
        {"p": [A, B], "q": A},
        {},
        {"validation_data": (X, {"p": [A, B], "q": A})},
    ),
    "dict of dicts, one without a loss": (
        lambda: functional(lambda a, b, c: {"p": {"a": a, "b": b}, "q": c}),
        {"p": {"a": "mse", "b": None}, "q": "mse"},
        X,
        {"p": {"a": A, "b": B}, "q": A},
        {},
        {},
    ),
    "a layer puts out twice": (
        one_head,
        ["mse", "mae"],
        X,
        [A, B],
        {"loss_weights": [0.5, 2.0], "metrics": [["mae"], None]},
        {"sample_weight": [WEIGHTS, WEIGHTS]},
    ),
    "sequential, not built": (
        lambda: keras.Sequential([layers.Dense(4, "tanh"), layers.Dense(1)]),
        "mse",
        X,
        A,
        {"metrics": ["mae"]},
        {"sample_weight": WEIGHTS},
    ),
    "sequential, a dict": (
        lambda: keras.Sequential([keras.Input((5,)), layers.Dense(2), Parted()]),
        {"a": "mse", "b": "mae"},
        X,
        BOTH,
        {"metrics": {"b": ["mse"]}},
        {},
    ),
    "sequential, a dict, not built": (
        lambda: keras.Sequential([layers.Dense(2), Parted()]),
        "mse",
        X,
        BOTH,
        {},
        {},
    ),
    "one output, not built": (
        lambda: Late(lambda a, b: a + b),
        "mse",
        X,
        A,
        {"metrics": ["mae"]},
        {"callbacks": [keras.callbacks.EarlyStopping("mae", patience=9)]},
    ),
    "dict, not built": (
        lambda: Late(lambda a, b: {"a": a, "b": b}),
        "mse",
        X,
        BOTH,
        {},
        {"sample_weight": {"a": WEIGHTS, "b": WEIGHTS}},
    ),
    "dict of dicts, not built": (
        lambda: Late(lambda a, b: {"p": {"a": a}, "b": b}),
        {"p": {"a": "mse"}, "b": "mae"},
        X,
        {"p": {"a": A}, "b": B},
        {},
        {},
    ),
    "an output of None, not built": (
        lambda: Late(lambda a, b: {"a": a, "b": b, "c": None}),
        {"a": "mse", "b": "mae"},
        X,
        BOTH,
        {},
        {},
    ),
    "an output of None in a dict of dicts, not built": (
        lambda: Late(lambda a, b: {"p": {"a": a, "c": None}, "b": b}),
        {"p": {"a": "mse"}, "b": "mae"},
        X,
        {"p": {"a": A}, "b": B},
        {},
        {},
    ),
    "classes of an output, not built": (
        lambda: Late(lambda a, b: tf.concat([a, b], -1)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        X,
        (A[:, 0] > 0.5).astype("int32"),
        {},
        {"class_weight": {0: 1.0, 1: 5.0}},
    ),
    "layers in tuples, and a metric": (
        InTuples,
        {"a": "mse", "b": "mae"},
        X,
        BOTH,
        {},
        {"validation_split": 0.5},
    ),
    "metrics of one name": (noted, "mse", X, BOTH, {}, {}),
    "layers that are not called before": (lambda: behind(Told()), "mse", X, BOTH, {}, {}),
    "a seed for all layers": (lambda: behind(Noise()), "mse", X, BOTH, {}, {}),
    "an input of None": (
        lambda: Optional(None),
        {"a": "mse", "b": "mse"},
        {"one": X, "two": None},
        BOTH,
        {},
        {},
    ),
    "a call without training": (Untold, {"a": "mse", "b": "mse"}, X, BOTH, {}, {}),
    "loss of a batch": weighted(of_batch),
    "loss of a batch, weights": weighted(of_batch, a=WEIGHTS, b=WEIGHTS),
    "loss of a batch with padding": (
        padded,
        {"a": of_tags, "b": "mse"},
        np.abs(X).astype("int32"),
        {"a": RNG.integers(0, 3, (16, 5)), "b": B},
        {"metrics": {"a": ["accuracy"]}},
        {},
    ),
    "loss of columns, weights": weighted(of_columns, a=WEIGHTS, b=WEIGHTS),
    "loss of a batch in a class": weighted(OfBatch(), a=WEIGHTS, b=WEIGHTS),
    "sum of a loss of a batch": weighted(OfBatch(reduction="sum")),
    "classes of a generalized loss": (
        lambda: functional(lambda a, b, c: {"a": a, "b": layers.Softmax()(layers.Dense(3)(b))}),
        {"a": "mse", "b": keras.losses.CategoricalGeneralizedCrossEntropy()},
        X,
        {"a": A, "b": (3 * B[:, 0]).astype("int32")},
        {},
        {},
    ),
    "means over weights in batches of two sizes": (
        two,
        {name: keras.losses.MeanSquaredError(reduction="mean_with_sample_weight") for name in "ab"},
        X,
        BOTH,
        {},
        {"batch_size": 6, "sample_weight": {"a": WEIGHTS, "b": WEIGHTS}},
    ),
    "sums in batches of two sizes": (
        two,
        {name: keras.losses.MeanSquaredError(reduction="sum") for name in "ab"},
        X,
        BOTH,
        {},
        {"batch_size": 6, "sample_weight": {"a": WEIGHTS, "b": WEIGHTS}},
    ),
    "tversky": weighted("tversky", a=WEIGHTS, b=WEIGHTS),
    "dice": weighted("dice", a=WEIGHTS, b=WEIGHTS),
}


def fitted(wrap, program, **options):
    build, loss, x, y, of_compile, of_fit = program
    keras.utils.set_random_seed(1)
    network = build()
    model = wrap(network)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, **of_compile, **options)
    given = {"batch_size": 4, "epochs": 2, "shuffle": False, "verbose": 0, **of_fit}
    history = model.fit(x, y, **given).history
    return model, history, network.get_weights()


# Similar to other programs: networks that are built late, batch losses with and without weights,
# sums and means over weights, Dice and Tversky.
SIMILAR = (
    *("one output, not built", "dict of dicts, not built"),
    *("loss of a batch", "loss of a batch in a class"),
    *("sums in batches of two sizes", "dice"),
    *("dict of lists, one loss", "tuple of a dict", "layers in tuples, and a metric"),
    *("sum of a loss of a batch", "loss of columns, weights", "classes of a generalized loss"),
    *("a layer puts out twice", "tversky", "dict of dicts, one without a loss"),
    *("an input of None", "classes of an output, not built"),
    "an output of None, not built",
)


@pytest.mark.parametrize("name", some(PROGRAMS, [p for p in PROGRAMS if p not in SIMILAR]))
def test_program_trains_as_in_keras(name):
    # Eagerly, because eight steps take Keras less time than tracing one.
    _, expected, weights = fitted(lambda network: network, PROGRAMS[name], run_eagerly=True)
    _, found, own = fitted(mtk.MultiTaskModel, PROGRAMS[name])
    for one, other in zip(own, weights, strict=True):
        np.testing.assert_allclose(one, other, 1e-5, 1e-6)
    # Keras logs a mean that is not over examples, or two outputs under one name.
    if "two sizes" in name or "twice" in name:
        expected = {"loss": expected["loss"]}
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values, 1e-4, 1e-6, err_msg=key)


@pytest.mark.slow
def test_layers_not_called_before_fit_are_shared():
    model, _, _ = fitted(
        lambda network: mtk.MultiTaskModel(network, combiner=combiners.PCGrad()),
        PROGRAMS["layers that are not called before"],
    )
    assert {v.shape for v in model.structure.shared} == {(5, 4), (4, 4), (4,)}


BUILDS = {
    "predict": lambda model: model.predict(X, verbose=0),
    "call": lambda model: model(X),
    "network": lambda model: model.network(X),
    "build": lambda model: model.build((None, 5)),
}


BUILT = list(itertools.product(BUILDS, [False, True], ["of each", "of all"]))
# Both values of the second and third argument.
QUICK = [("predict", False, "of each"), ("network", True, "of all")]


@pytest.mark.parametrize(("how", "compiled", "given"), some(BUILT, QUICK))
def test_network_built_before_fit(how, compiled, given, tmp_path):
    """The state of the combiner exists however the network was built, also in a loaded model."""
    loss = {"a": "mse", "b": "mse"} if given == "of each" else "mse"
    network = Late(lambda a, b: {"a": a, "b": b})
    model = mtk.MultiTaskModel(network, combiner=combiners.GradNorm())
    if not compiled:
        BUILDS[how](model)
    model.compile("sgd", loss)
    if compiled:
        BUILDS[how](model)
    model.fit(X, BOTH, batch_size=8, verbose=0)
    other = mtk.MultiTaskModel(Late(network.of), combiner=combiners.GradNorm())
    other.compile("sgd", loss)
    other.fit(X, BOTH, verbose=0)
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    for one, two in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_weights_of_a_keras_model_can_be_loaded(tmp_path):
    """The state of the combiner does not change."""
    plain = two()
    plain.save_weights(tmp_path / "plain.weights.h5")
    model = mtk.MultiTaskModel(two(), combiner=combiners.UncertaintyWeights())
    model.compile("sgd", "mse", run_eagerly=True)
    model.fit(X, BOTH, verbose=0)
    learned = [v.numpy() for v in model.combiner.variables]
    model.load_weights(tmp_path / "plain.weights.h5")
    for one, other in zip(model.network.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(model.combiner.variables, learned, strict=True):
        np.testing.assert_array_equal(one, other)


FILES = {
    "of Keras": lambda network: network,
    "without a method": mtk.MultiTaskModel,
    "with its state": lambda network: mtk.MultiTaskModel(network, combiner=combiners.GradNorm()),
}


@pytest.mark.parametrize("reader", FILES)
@pytest.mark.parametrize("writer", FILES)
@pytest.mark.parametrize("compiled", [False, True])
def test_weight_files_are_exchangeable_between_models_of_a_network(
    writer, reader, compiled, tmp_path
):
    first, second = FILES[writer](two()), FILES[reader](two())
    first.compile("sgd", {"a": "mse", "b": "mse"})
    if compiled:
        second.compile("sgd", {"a": "mse", "b": "mse"})
    first.save_weights(tmp_path / "model.weights.h5")
    second.load_weights(tmp_path / "model.weights.h5")
    for one, other in zip(second.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_outputs_of_one_layer_are_numbered():
    model, history, _ = fitted(mtk.MultiTaskModel, PROGRAMS["a layer puts out twice"])
    assert model.task_names == ["head_0", "head_1"]
    assert "head_0_mae" in history
    with pytest.raises(ValueError, match=r"`loss` names \['head'\].*'head_0', 'head_1'"):
        mtk.MultiTaskModel(one_head()).compile("sgd", {"head": "mse"})


@pytest.mark.slow
def test_nested_outputs_equal_flat_outputs():
    nested = PROGRAMS["dict of dicts"]
    flat = (
        lambda: functional(lambda a, b, c: {"a": a, "b": b, "c": c}),
        {"a": "mse", "b": "mae", "c": "mse"},
        X,
        {"a": A, "b": B, "c": A},
        {"loss_weights": {"a": 0.5, "b": 2.0, "c": 1.0}},
        {"sample_weight": dict.fromkeys("abc", WEIGHTS)},
    )
    found = []
    for program, metrics in ((nested, {"p": {"a": ["mae"]}}), (flat, {"a": ["mae"]})):
        model, history, _ = fitted(
            lambda n: mtk.MultiTaskModel(n, combiner=combiners.MGDA()),
            program,
            metrics=metrics,
            run_eagerly=program is flat,
        )
        name = model.task_names[0]
        found.append(
            [model.last_gramian.numpy(), history[f"{name}_mae"], history[f"{name}_weight"]]
        )
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, 1e-5, 1e-7)
    assert "p/a_mae" not in history


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (
            {"p": {"a": "mse", "c": "mse"}},
            r"`loss` must have the structure.*\{'a': \.\.\., 'b': \.\.\.\} at 'p'",
        ),
        ({"p": "mse"}, "`loss` must have the structure"),
        (["mse"], "`loss` must have the structure"),
    ],
)
def test_losses_must_have_the_structure_of_the_outputs(loss, words):
    model = mtk.MultiTaskModel(PROGRAMS["dict of dicts"][0]())
    with pytest.raises(ValueError, match=words):
        model.compile("sgd", loss)


@pytest.mark.parametrize("name", ["one output, not built", slow("dict, not built")])
def test_tasks_read_from_the_first_batch_are_saved(tmp_path, name):
    """Only weights are loaded, because the class of the network is not registered."""
    program = PROGRAMS[name]
    model, _, _ = fitted(
        lambda n: mtk.MultiTaskModel(n, combiner=combiners.UncertaintyWeights()), program
    )
    given = model.get_compile_config()
    other = mtk.MultiTaskModel(program[0](), combiner=combiners.UncertaintyWeights())
    other.compile_from_config(given)
    assert other.task_names == model.task_names
    other.evaluate(program[2], program[3], verbose=0)
    model.save_weights(tmp_path / "a.weights.h5")
    other.load_weights(tmp_path / "a.weights.h5")
    for one, two in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_one_metric_object_for_two_tasks_in_compile():
    metric = keras.metrics.AUC(name="auc")
    model = mtk.MultiTaskModel(two())
    model.compile("sgd", {"a": "mse", "b": "mse"}, metrics={"a": [metric], "b": [metric]})
    labels = {name: (values > 0.5).astype("float32") for name, values in BOTH.items()}
    found = model.evaluate(X, labels, verbose=0, return_dict=True)
    predictions = model.predict(X, verbose=0)
    for name in "ab":
        expected = keras.metrics.AUC()
        expected.update_state(labels[name], predictions[name])
        assert found[f"{name}_auc"] == pytest.approx(float(expected.result()), rel=1e-5)


def test_all_finite_does_not_overflow_in_float16():
    assert all_finite([tf.fill([8], tf.constant(6e4, tf.float16))])
    assert not all_finite([tf.constant([1.0, np.inf], tf.float16)])


PARTS = list(itertools.product([combiners.PCGrad, combiners.MoDo], [1, 2]))


@pytest.mark.parametrize(("combiner", "micro_batches"), some(PARTS, [PARTS[1]]))
def test_batch_parts_with_an_input_of_none(combiner, micro_batches):
    parts = 3 if combiner is combiners.MoDo else 1
    network = Optional(None)
    model = mtk.MultiTaskModel(network, combiner=combiner())
    model.compile("sgd", {"a": "mse", "b": "mse"}, micro_batches=micro_batches)
    size = 2 * parts * 2
    model.fit(
        {"one": X[:size], "two": None},
        {"a": A[:size], "b": B[:size]},
        batch_size=size,
        verbose=0,
    )
    assert np.isfinite(model.last_weights.numpy()).all()


def test_batch_loss_with_missing_labels_is_refused():
    model = mtk.MultiTaskModel(two())
    model.compile("sgd", {"a": of_batch, "b": "mse"})
    with pytest.raises(ValueError, match=r"one number for the whole batch.*axis=-1.*astype"):
        model.fit(X, BOTH, sample_weight={"a": WEIGHTS > 0}, verbose=0)


def test_loss_for_unknown_outputs_can_be_replaced():
    model = mtk.MultiTaskModel(Late(lambda a, b: {"a": a, "b": b}))
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="outputs of the network .* are unknown"):
        compiled_tasks.compiled_tasks(model.network, "mse")
    model.fit(X, BOTH, verbose=0)
    model.compile("sgd", "mae", {"a": 1.0, "b": 0.0})
    losses = model.evaluate(X, BOTH, verbose=0, return_dict=True)
    assert losses["loss"] == pytest.approx(losses["a_loss"], rel=1e-5)
    expected = np.abs(A - model.predict(X, verbose=0)["a"]).mean()
    assert losses["a_loss"] == pytest.approx(expected, rel=1e-5)


def test_shared_variables_without_gradient_on_random_texts_are_found():
    """The analysis tries random texts of one word, where a recurrent kernel has no gradient."""
    texts = tf.constant([["red green"], ["blue"], ["green red"], ["red blue"]] * 4)
    read = layers.TextVectorization(10, output_sequence_length=3)
    read.adapt(texts)
    x = keras.Input((1,), dtype="string")
    h = layers.LSTM(3, name="lstm")(layers.Embedding(10, 4, mask_zero=True)(read(x)))
    network = keras.Model(x, {name: layers.Dense(1, name=name)(h) for name in "ab"})
    model = mtk.MultiTaskModel(network, combiner=combiners.MGDA())
    model.compile("sgd", {"a": "mse", "b": "mse"}, run_eagerly=True)
    before = network.get_layer("lstm").cell.recurrent_kernel.numpy()
    model.fit(texts, BOTH, verbose=0)
    assert "recurrent_kernel" in {v.name for v in model.structure.shared}
    assert np.any(network.get_layer("lstm").cell.recurrent_kernel.numpy() != before)
