"""A model compiled with losses, metrics and weights trains as Keras trains its network."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
from tests.quick import slow, some
from tests.trainer import zoo
from tests.trainer.test_against_keras import WEIGHTS, on_dense_gradients

# Keras does not support weights per example where losses have more axes.
OF_POSITIONS = ("masked_sequence", "dense_outputs")
KINDS = [name for name in zoo.KINDS if name not in OF_POSITIONS]


def fitted(model, problem, arguments, **of_fit):
    model.compile(
        on_dense_gradients(keras.optimizers.Adam(0.01)),
        loss=problem.losses,
        loss_weights={name: WEIGHTS[name] for name in problem.losses},
        jit_compile=False,
        **arguments,
    )
    return model.fit(
        problem.x, problem.y, batch_size=zoo.BATCH, epochs=4, shuffle=False, verbose=0, **of_fit
    ).history


# By default `test_program_forms.py` covers sample weights.
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_loss_equal_keras(kind):
    """Sample weights of zero are not masks, as in Keras."""
    rng = np.random.default_rng(1)
    weights = {}
    one, two = zoo.build(kind), zoo.build(kind)
    for name, labels in one.y.items():
        weights[name] = rng.choice([0.0, 0.5, 3.0], len(labels)).astype("float32")
    # Eagerly, because twenty steps take Keras less time than tracing one.
    expected = fitted(one.network, one, {"run_eagerly": True}, sample_weight=weights)
    found = fitted(mtk.MultiTaskModel(two.network), two, {}, sample_weight=weights)
    pairs = (zoo.values(two.network), zoo.values(one.network))
    zoo.assert_close(*pairs, 1e-6, zoo.names_of(two.network))
    np.testing.assert_allclose(found["loss"], expected["loss"], 1e-4, 1e-6)


def network(form):
    keras.utils.set_random_seed(3)
    x = keras.Input((5,), name="x")
    hidden = keras.layers.Dense(8, "relu", kernel_regularizer="l2", activity_regularizer="l2")(x)
    outputs = {
        "a": keras.layers.Dense(1, name="a")(hidden),
        "b": keras.layers.Dense(1, "sigmoid", name="b")(hidden),
    }
    kinds = {"dict": dict, "list": lambda o: list(o.values()), "tuple": lambda o: (*o.values(),)}
    return keras.Model(x, kinds[form](outputs))


RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 5)).astype("float32")
Y = {"a": RNG.normal(size=(40, 1)).astype("float32"), "b": RNG.integers(0, 2, (40, 1))}
SAMPLE_WEIGHT = RNG.choice([0.0, 1.0, 2.0], 40).astype("float32")
LOSSES = {"a": "mse", "b": "binary_crossentropy"}
IN_FORM = {
    "dict": dict,
    "list": lambda given: list(given.values()),
    "tuple": lambda given: tuple(given.values()),
}


# For dict outputs, Keras also needs dict arguments.
HISTORIES = [
    (outputs, given, weighted, eagerly)
    for outputs, given in [("dict", "dict"), *itertools.product(["list", "tuple"], IN_FORM)]
    for weighted in (False, True)
    for eagerly in (False, True)
    if given != "tuple"
]
# `test_program_forms.py` covers graphs, dicts and loss weights.
QUICK = [("list", "list", False, True)]


@pytest.mark.parametrize(("outputs", "given", "weighted", "eagerly"), some(HISTORIES, QUICK))
def test_history_equals_keras(outputs, given, weighted, eagerly):
    form = IN_FORM[given]
    arguments = {
        "loss": form(LOSSES),
        "metrics": form({"a": ["mae"], "b": ["accuracy", keras.metrics.AUC(name="area")]}),
        "weighted_metrics": form({"a": ["mse"], "b": []}),
        "loss_weights": form({"a": 1.0, "b": 0.3}),
    }
    y = IN_FORM[outputs](Y)
    weights = IN_FORM[outputs](dict.fromkeys(Y, SAMPLE_WEIGHT)) if weighted else None
    histories = []
    for wrap in (lambda n: n, mtk.MultiTaskModel):
        model = wrap(network(outputs))
        optimizer = keras.optimizers.Adam(0.01)
        # A few eager steps take Keras less time than tracing one.
        plain = eagerly or not isinstance(model, mtk.MultiTaskModel)
        model.compile(optimizer, jit_compile=False, run_eagerly=plain, **arguments)
        fitted = model.fit(
            X, y, 10, 2, 0, sample_weight=weights, shuffle=False, validation_split=0.25
        )
        histories.append(fitted.history)
    expected, found = histories
    assert set(expected) <= set(found)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, 1e-4, 1e-6, err_msg=name)


def test_one_sample_weight_per_example_applies_to_all_tasks():
    found = []
    for given in (SAMPLE_WEIGHT, dict.fromkeys(Y, SAMPLE_WEIGHT)):
        model = mtk.MultiTaskModel(network("dict"))
        model.compile("sgd", LOSSES, run_eagerly=True)
        model.fit(X, Y, sample_weight=given, verbose=0)
        found.append(model.network.get_weights())
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_boolean_sample_weights_mark_missing_labels():
    """Numeric weights do not: a label of weight zero still counts in the mean."""
    there = np.arange(40) % 4 > 0
    of = {}
    for name, mask in (("mask", there), ("weight", there.astype("float32"))):
        model = mtk.MultiTaskModel(network("dict"))
        model.compile("sgd", LOSSES, metrics={"a": ["mae"]}, run_eagerly=True)
        given = {"a": mask, "b": np.ones(40, "float32")}
        of[name] = model.evaluate(
            X, Y, batch_size=40, sample_weight=given, verbose=0, return_dict=True
        )
    assert of["weight"]["a_loss"] == pytest.approx(of["mask"]["a_loss"] * 0.75, rel=1e-5)
    error = np.abs(model.predict(X, verbose=0)["a"] - Y["a"])
    assert of["weight"]["a_mae"] == pytest.approx(error.mean(), rel=1e-5)
    assert of["mask"]["a_mae"] == pytest.approx(error[there].mean(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "combiner", [slow(mtk.combiners.MGDA()), slow(mtk.combiners.PCGrad()), mtk.combiners.GradNorm()]
)
def test_combiners_get_the_weighted_losses(combiner):
    """A loss weight equals a factor in the loss function."""

    def twice(y, p):
        return 2.0 * keras.losses.mean_squared_error(y, p)

    found = []
    for losses, weights in (
        ({**LOSSES, "a": twice}, {"a": 1.0, "b": 1.0}),
        (LOSSES, {"a": 2.0}),
    ):
        model = mtk.MultiTaskModel(network("dict"), combiner=combiner)
        model.compile("sgd", losses, weights)
        model.fit(X, Y, batch_size=10, epochs=3, shuffle=False, verbose=0)
        found.append(model.network.get_weights())
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, 1e-4, 1e-6)


@pytest.mark.slow
def test_pcgrad_equals_keras_if_tasks_do_not_conflict():
    x = keras.Input((5,))
    shared = keras.layers.Dense(1, name="shared")(x)
    outputs = {name: keras.layers.Identity(name=name)(shared) for name in "ab"}
    y = {"a": Y["a"], "b": 2.0 * Y["a"]}
    weights = []
    start = None
    for wrap in (lambda n: n, lambda n: mtk.MultiTaskModel(n, combiner=mtk.combiners.PCGrad())):
        net = keras.Model(x, outputs)
        start = net.get_weights() if start is None else start
        net.set_weights(start)
        model = wrap(net)
        model.compile(keras.optimizers.SGD(0.01), {"a": "mse", "b": "mse"}, {"a": 1.0, "b": 0.5})
        model.fit(X, y, batch_size=40, epochs=1, verbose=0)
        weights.append(net.get_weights())
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, 1e-5)


@pytest.mark.slow
def test_save_and_load_keeps_compile_arguments_and_state(tmp_path):
    model = mtk.MultiTaskModel(network("dict"), combiner=mtk.combiners.PCGrad())
    options = {"clip_norm": 1.0, "run_eagerly": True}
    model.compile("adam", LOSSES, {"b": 0.5}, {"b": ["AUC"]}, **options)
    model.fit(X, Y, epochs=2, verbose=0, shuffle=False)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)
    assert (loaded.loss_weights, loaded.compile_args) == (model.loss_weights, model.compile_args)
    for each in (model, loaded):
        each.fit(X, Y, verbose=0, shuffle=False)
    for one, two in zip(model.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(one, two)


def test_compiling_again_replaces_losses_and_metrics():
    model = mtk.MultiTaskModel(network("dict"))
    model.compile("sgd", LOSSES)
    model.fit(X, Y, verbose=0)
    model.compile("sgd", {"a": "mae", "b": "binary_crossentropy"}, metrics={"a": ["mse"]})
    found = model.evaluate(X, Y, verbose=0, return_dict=True)
    error = model.predict(X, verbose=0)["a"] - Y["a"]
    assert found["a_loss"] == pytest.approx(np.abs(error).mean(), rel=1e-5)
    assert found["a_mse"] == pytest.approx((error**2).mean(), rel=1e-5)
    with pytest.raises(ValueError, match=r"\['a', 'b'\].*\['a'\]"):
        model.compile("sgd", {"a": "mae"})


@pytest.mark.parametrize("before", some(["fit", "evaluate", "nothing"], ["evaluate", "nothing"]))
def test_compiling_again_builds_metrics_from_labels(before):
    """In a second training phase the data structure is known, but the metrics are not built."""
    metrics = {"r2_score": keras.metrics.R2Score, "f1_score": keras.metrics.F1Score}
    model = mtk.MultiTaskModel(network("dict"), combiner=mtk.combiners.MGDA())
    model.compile("sgd", LOSSES)
    model.fit(X, Y, verbose=0)
    model.compile("sgd", LOSSES, metrics={"a": [metric() for metric in metrics.values()]})
    if before != "nothing":
        getattr(model, before)(X, Y, verbose=0)
    history = model.fit(X, Y, validation_data=(X, Y), verbose=0).history
    for name, metric in metrics.items():
        expected = metric()
        expected.update_state(Y["a"], model.predict(X, verbose=0)["a"])
        found = history[f"val_a_{name}"][-1]
        assert found == pytest.approx(np.asarray(expected.result()), rel=1e-4)


@pytest.mark.filterwarnings("ignore:No task depends on these variables")
def test_output_without_a_loss_is_not_a_task():
    model = mtk.MultiTaskModel(network("dict"))
    model.compile("sgd", {"a": "mse"})
    assert [task.name for task in model.tasks] == ["a"]
    model.fit(X, {"a": Y["a"]}, verbose=0)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.trunk, self.a = keras.layers.Dense(4), keras.layers.Dense(1)

    def call(self, x):
        hidden = self.trunk(x)
        return {"a": self.a(hidden), "b": hidden[:, :1]}


def test_network_is_built_from_its_first_batch():
    model = mtk.MultiTaskModel(Subclassed(), combiner=mtk.combiners.MGDA())
    model.compile("sgd", {"a": "mse", "b": "mse"})
    model.fit(X, {"a": Y["a"], "b": Y["a"]}, verbose=0)
    assert np.isfinite(model.last_weights.numpy()).all()
    assert model.task_names == ["a", "b"]


def test_single_output_is_one_task():
    net = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1, name="a")])
    model = mtk.MultiTaskModel(net)
    model.compile("sgd", "mse", metrics=["mae"])
    assert set(model.fit(X, Y["a"], verbose=0).history) == {"loss", "mae", "a_weight"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "`compile` needs their losses"),
        ({"loss": {"a": "mse", "bb": "mse"}}, "Did you mean 'b'"),
        ({"loss": LOSSES, "metrics": {"c": ["mae"]}}, r"`metrics` names \['c'\]"),
        ({"loss": LOSSES, "loss_weights": {"aa": 2.0}}, "Did you mean 'a'"),
        ({"loss": LOSSES, "loss_weights": {"a": -1.0}}, "none negative"),
        ({"loss": LOSSES, "loss_weights": {"a": keras.Variable(1.0)}}, "variables.*`assign`"),
        ({"loss": LOSSES, "loss_weights": [tf.Variable(1.0), 1.0]}, "variables.*`assign`"),
        ({"loss": "mse", "loss_weights": keras.Variable(1.0)}, "variables.*`assign`"),
        ({"loss": LOSSES, "loss_weights": [1.0]}, "a list of 1 item"),
        ({"loss": {"a": "mse"}, "metrics": {"b": ["mae"]}}, r"\['b'\] have metrics and no loss"),
        ({"loss": {"a": None}}, "no loss"),
        ({"loss": {"a": "mean_sq", "b": "mse"}}, "mean_sq"),
    ],
)
def test_invalid_compile_arguments(arguments, words):
    model = mtk.MultiTaskModel(network("dict"))
    with pytest.raises(ValueError, match=words):
        model.compile("sgd", **arguments)


METHODS = ["StaticWeights", "MGDA", "UPGrad", "NashMTL", "GradNorm", "FAMO", "GradDrop"]


@pytest.mark.parametrize("method", some(METHODS, ["StaticWeights", "MGDA"]))
def test_task_with_loss_weight_zero_does_not_affect_training(method):
    trained, weights = [], {"a": 1.0, "b": 0.5}
    watched = {"loss_weights": {**weights, "c": 0.0}, "metrics": {"c": ["mae"]}}
    for arguments in (watched, {"loss_weights": weights}):
        net = network("dict")
        outputs = {**net.output, "c": keras.layers.Dense(1, name="c")(net.layers[1].output)}
        combiner = getattr(mtk.combiners, method)()
        model = mtk.MultiTaskModel(keras.Model(net.input, outputs), combiner=combiner)
        names = arguments["loss_weights"]
        model.compile(keras.optimizers.SGD(0.05), dict.fromkeys(names, "mse"), **arguments)
        y = {name: Y["a" if name == "c" else name] for name in names}
        logs = model.fit(X, y, epochs=3, shuffle=False, verbose=0).history
        trained.append(net.layers[1].get_weights())
        assert ("c_mae" in logs) == ("metrics" in arguments)
    for one, two in zip(*trained, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6)


def test_keras_callbacks_infer_the_mode_of_metrics(tmp_path):
    modes = {"val_b_area": "max", "val_a_mae": "min", "val_b_loss": "min"}
    stopping = {name: keras.callbacks.EarlyStopping(name) for name in modes}
    best = {
        name: keras.callbacks.ModelCheckpoint(
            tmp_path / f"{name}.weights.h5", name, save_best_only=True, save_weights_only=True
        )
        for name in modes
    }
    callbacks = [*stopping.values(), *best.values()]
    model = mtk.MultiTaskModel(network("dict"))
    metrics = {"a": ["mae"], "b": [keras.metrics.AUC(name="area")]}
    model.compile("sgd", LOSSES, metrics=metrics)
    model.fit(X, Y, validation_data=(X, Y), callbacks=callbacks, verbose=0)
    for name, mode in modes.items():
        assert (stopping[name].mode, best[name].mode) == (mode, mode)
        assert (tmp_path / f"{name}.weights.h5").exists()


@pytest.mark.slow
def test_layers_summary_and_clone(capsys):
    model = mtk.MultiTaskModel(network("dict"))
    assert model.get_layer("a") is model.network.get_layer("a")
    model.summary()
    assert model.count_params() == model.network.count_params()
    assert "Dense" in capsys.readouterr().out
    clone = keras.models.clone_model(model)
    clone.compile("sgd", LOSSES)
    clone.fit(X, Y, verbose=0)


def test_attributes_of_the_model_are_those_of_the_network():
    model = mtk.MultiTaskModel(network("dict"))
    model.compile("sgd", LOSSES)
    assert model.layers == model.network.layers
    assert model.input_shape == (None, 5)
    assert model.output_shape == model.network.output_shape
    features = keras.Model(model.inputs, model.get_layer("a").output)
    assert features.predict(X, verbose=0).shape == (40, 1)
    plain = network("dict")
    plain.set_weights(model.get_weights())
    model.set_weights([2.0 * weights for weights in plain.get_weights()])
    for one, two in zip(model.network.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(one, 2.0 * two)
    assert set(model.loss) == {"a", "b"}
    assert model.metrics_names[:3] == ["loss", "a_loss", "b_loss"]
    given = mtk.MultiTaskModel(network("dict"), [mtk.Task(n, LOSSES[n]) for n in "ab"])
    assert set(given.loss) == {"a", "b"}


@pytest.mark.slow
def test_keras_callbacks_of_every_kind(tmp_path):
    callbacks = [
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.TensorBoard(tmp_path / "board", histogram_freq=1, write_graph=True),
        keras.callbacks.BackupAndRestore(tmp_path / "backup"),
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", "val_b_auc", save_best_only=True),
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / (1 + epoch)),
        keras.callbacks.TerminateOnNaN(),
    ]
    model = mtk.MultiTaskModel(network("dict"), combiner=mtk.combiners.PCGrad())
    model.compile("sgd", LOSSES, metrics={"b": [keras.metrics.AUC()]}, steps_per_execution="auto")
    model.fit(X, Y, 4, 2, 0, callbacks, 0.2)
    assert "val_b_auc" in (tmp_path / "log.csv").read_text()
    best = keras.saving.load_model(tmp_path / "best.keras")
    assert set(best.predict(X, verbose=0)) == {"a", "b"}


@pytest.mark.slow
def test_jit_compile_auto():
    model = mtk.MultiTaskModel(network("dict"))
    model.compile("sgd", LOSSES, jit_compile="auto")
    assert np.isfinite(model.fit(X, Y, batch_size=20, verbose=0).history["loss"]).all()


@pytest.mark.slow
def test_sample_weights_as_a_column_apply_to_all_tasks():
    found = []
    for weights in (SAMPLE_WEIGHT, SAMPLE_WEIGHT[:, None]):
        model = mtk.MultiTaskModel(network("dict"))
        model.compile("sgd", LOSSES, run_eagerly=True)
        found.append(model.evaluate(X, Y, sample_weight=weights, verbose=0))
    np.testing.assert_allclose(*found)


@pytest.mark.parametrize("hook", ["train_step", "compute_loss", "compute_metrics"])
def test_ignored_hooks_of_the_network_give_a_warning(hook):
    own = type("Own", (Subclassed,), {hook: lambda self, *data: None})
    with pytest.warns(UserWarning, match=rf"Own overrides \['{hook}'\]"):
        mtk.MultiTaskModel(own())


@pytest.mark.slow
def test_best_checkpoint_for_each_task(tmp_path):
    """Each file holds the weights of the epoch that was best for its task, by its own metric."""
    monitors = {"a": "a_loss", "b": "b_auc"}
    best = {
        name: mtk.callbacks.BestCheckpoint(
            tmp_path / f"{name}.weights.h5", None, monitor, restore=False
        )
        for name, monitor in monitors.items()
    }
    model = mtk.MultiTaskModel(network("dict"))
    model.compile(keras.optimizers.SGD(0.5), LOSSES, metrics={"b": [keras.metrics.AUC()]})
    options = {"batch_size": 10, "epochs": 4, "verbose": 0, "validation_split": 0.5}
    history = model.fit(X, Y, callbacks=list(best.values()), **options).history
    for name, pick in (("a", np.argmin), ("b", np.argmax)):
        values = history[f"val_{monitors[name]}"]
        assert best[name].best == pytest.approx(values[int(pick(values))])
        model.network.load_weights(tmp_path / f"{name}.weights.h5")
        found = model.evaluate(X[20:], {n: y[20:] for n, y in Y.items()}, 10, 0, return_dict=True)
        assert found[monitors[name]] == pytest.approx(best[name].best, rel=1e-5)


@pytest.mark.parametrize("wrap", [lambda m: [m], lambda m: m])
def test_metric_objects_are_logged_once(wrap):
    model = mtk.MultiTaskModel(network("dict"), combiner=mtk.combiners.MGDA())
    metrics = {"b": wrap(keras.metrics.AUC(name="auc"))}
    weighted = {"a": wrap(keras.metrics.MeanAbsoluteError(name="mae"))}
    model.compile("sgd", LOSSES, metrics=metrics, weighted_metrics=weighted)
    assert sorted(m.name for m in model.metrics if m.name in ("auc", "mae")) == []
    assert {"b_auc", "a_mae"} <= {m.name for m in model.metrics}
