"""A subclass with its own `train_step`, `test_step` and metric trains with every combiner."""

import functools
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
from tests.distribution.starting import environment
from tests.trainer import zoo
from tests.trainer.own_steps import (
    COMBINERS,
    DRAWS_BY_EXAMPLE,
    Augmented,
    X,
    Y,
    model_of,
    network,
    trained,
)

MODES = {
    "graph": {},
    "eagerly": {"run_eagerly": True},
    "xla": {"jit_compile": True},
    "several": {"steps_per_execution": 2},
}
QUICK = {
    ("graddrop features", "graph"),
}


def cases():
    for name in COMBINERS:
        for mode in MODES:
            marks = () if (name, mode) in QUICK else (pytest.mark.slow,)
            yield pytest.param(name, mode, marks=marks, id=f"{name}-{mode}")


@functools.cache
def results_of_the_base_class(name):
    """Trains the base class on inputs that were doubled before."""
    model = model_of(mtk.MultiTaskModel, COMBINERS[name](), run_eagerly=True)
    weights, logs = trained(model, 2.0)
    tested = model.evaluate(3 * X, Y, batch_size=8, verbose=0, return_dict=True)
    return weights, logs, tested


def check(name, weights, logs, tested, replicas=False):
    known_weights, known, known_tested = results_of_the_base_class(name)
    assert len(logs["seen"]) == len(logs["largest"]) == len(known["a_loss"])
    # The metric is reset in each epoch, and sees all of the data.
    np.testing.assert_allclose(logs["seen"], [2 * X.mean()] * 2, rtol=1e-4)
    assert tested["seen"] == pytest.approx(3 * X.mean(), rel=1e-4)
    if not replicas:
        np.testing.assert_allclose(logs["largest"], [2 * X[8:].max()] * 2, rtol=1e-6)
    assert all(np.isfinite(logs["largest"]))
    if replicas and name in DRAWS_BY_EXAMPLE:
        assert all(np.isfinite(np.array(w)).all() for w in weights)
        return
    zoo.assert_close(weights, known_weights, 1e-5)
    assert set(known) | {"seen", "largest"} == set(logs)
    for key, values in known.items():
        np.testing.assert_allclose(logs[key], values, rtol=1e-4, atol=1e-5, err_msg=key)
    for key, value in known_tested.items():
        assert tested[key] == pytest.approx(value, rel=1e-4, abs=1e-5), key


@pytest.mark.parametrize(("name", "mode"), cases())
def test_own_steps_train_with_every_combiner(name, mode):
    model = model_of(Augmented, COMBINERS[name](), **MODES[mode])
    weights, logs = trained(model)
    tested = model.evaluate(X, Y, batch_size=8, verbose=0, return_dict=True)
    check(name, weights, logs, tested)


@pytest.fixture(scope="module")
def on_replicas(tmp_path_factory):
    path = tmp_path_factory.mktemp("own_steps") / "found.json"
    process = subprocess.run(
        [sys.executable, "-m", "tests.trainer.own_steps", path],
        env=environment(None, ()),
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(path.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", COMBINERS)
def test_own_steps_train_on_two_replicas(on_replicas, name):
    assert "error" not in on_replicas[name], on_replicas[name]
    check(name, **on_replicas[name], replicas=True)


def test_own_steps_see_validation_and_single_batches():
    model = model_of(Augmented)
    logs = model.fit(X, Y, validation_data=(X, Y), batch_size=8, verbose=0).history
    assert logs["val_seen"] == pytest.approx([3 * X.mean()], rel=1e-4)
    assert "largest" in model.train_on_batch(X, Y, return_dict=True)
    assert "seen" in model.test_on_batch(X, Y, return_dict=True)


def test_own_step_is_called_once_per_eager_step():
    """A step may have Python state."""
    called = []

    class Counting(mtk.MultiTaskModel):
        def train_step(self, data):
            called.append(tf.executing_eagerly())
            return super().train_step(data)

    model = model_of(Counting, run_eagerly=True)
    trained(model)
    assert called == [True] * 4


def test_own_step_without_super():
    """A step as in Keras' guides, with its own loss and gradient."""

    class Own(mtk.MultiTaskModel):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                outputs = self(x, training=True)
                loss = tf.reduce_mean((outputs["a"] - y["a"]) ** 2)
            variables = self.network.trainable_variables
            found = tape.gradient(loss, [v.value for v in variables])
            pairs = [(g, v) for g, v in zip(found, variables, strict=True) if g is not None]
            self.optimizer.apply([g for g, _ in pairs], [v for _, v in pairs])
            return {"own": loss}

    model = model_of(Own)
    _, logs = trained(model)
    assert set(logs) == {"own"}
    assert logs["own"][-1] < logs["own"][0]


def test_overridden_compute_metrics():
    class Own(mtk.MultiTaskModel):
        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            logs = super().compute_metrics(x, y, y_pred, sample_weight)
            return {**logs, "size": tf.reduce_mean(tf.abs(y_pred["a"]))}

    model = model_of(Own)
    _, logs = trained(model)
    assert {"size", "a_loss", "a_mae", "loss"} <= set(logs)
    tested = model.evaluate(X, Y, verbose=0, return_dict=True)
    expected = np.abs(model.predict(X, verbose=0)["a"]).mean()
    assert tested["size"] == pytest.approx(expected, rel=1e-4)


def test_overridden_metrics():
    class Own(Augmented):
        def __init__(self, *args, **kwargs):
            self.extra = None
            super().__init__(*args, **kwargs)
            self.extra = keras.metrics.Sum(name="extra")

        @property
        def metrics(self):
            return [*super().metrics, *([] if self.extra is None else [self.extra])]

        def train_step(self, data):
            self.extra.update_state(1.0)
            return {**super().train_step(data), "extra": self.extra.result()}

    _, logs = trained(model_of(Own))
    assert logs["extra"] == [2.0, 2.0]
    assert "a_mae" in logs


def test_overridden_predict_step():
    class Own(mtk.MultiTaskModel):
        def predict_step(self, data):
            return {name: 10 * y for name, y in super().predict_step(data).items()}

    model = model_of(Own)
    expected = 10 * model.network(X)["a"].numpy()
    np.testing.assert_allclose(model.predict(X, verbose=0)["a"], expected, rtol=1e-5)


def test_overridden_compute_loss_is_refused():
    class Own(mtk.MultiTaskModel):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return tf.constant(0.0)

    with pytest.raises(TypeError, match="compute_loss"):
        model_of(Own)


LOSSES = {"a": "mse", "b": keras.losses.Huber(reduction="sum")}
OF_LOSS = {
    "weights": ({"a": 0.3, "b": 2.0}, Y, None),
    "list": (None, list(Y.values()), None),
    "sample weights": (None, Y, {"a": X[:, 0] ** 2, "b": X[:, 1] ** 2}),
}


@pytest.mark.parametrize("form", OF_LOSS)
def test_compute_loss_equals_keras(form):
    """Custom steps need it, for example for adversarial training or sharpness-aware steps."""
    loss_weights, labels, weights = OF_LOSS[form]
    net = network()
    net.get_layer("features").kernel.regularizer = keras.regularizers.L2(0.1)
    model = mtk.MultiTaskModel(net)
    model.compile("sgd", LOSSES, loss_weights)
    found = model.compute_loss(y=labels, y_pred=model(X, training=True), sample_weight=weights)
    net.compile("sgd", LOSSES, loss_weights)
    by_name = dict(zip("ab", labels, strict=True)) if isinstance(labels, list) else labels
    expected = net.compute_loss(X, by_name, net(X, training=True), weights)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_compute_loss_of_given_tasks_is_their_mean():
    labels = {"a": np.where(X[:, :1] > 0, Y["a"], np.nan), "b": Y["b"]}
    model = mtk.MultiTaskModel(
        network(), [mtk.Task("a", "mse", missing=float("nan")), mtk.Task("b", "mae")]
    )
    model.compile("sgd")
    expected = model.evaluate(X, labels, batch_size=len(X), verbose=0, return_dict=True)["loss"]
    found = model.compute_loss(X, labels, model(X))
    assert float(found) == pytest.approx(expected, rel=1e-5)


class WithTeacher(mtk.MultiTaskModel):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.teacher = keras.layers.Dense(2)
        self.teacher.build((None, 3))


def test_get_and_set_weights_include_those_of_a_subclass():
    model = WithTeacher(network(), combiner=mtk.combiners.PCGrad())
    model.compile("sgd", LOSSES)
    before = model.get_weights()
    assert len(before) == len(model.network.weights) + 2
    model.teacher.kernel.assign(5.0 + model.teacher.kernel)
    model.fit(X, Y, verbose=0)
    model.set_weights(before)
    for one, two in zip(before, [*model.network.weights, *model.teacher.weights], strict=True):
        np.testing.assert_array_equal(one, two)
