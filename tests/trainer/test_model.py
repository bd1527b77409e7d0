"""The model behaves as a Keras user expects."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
from mtk.combiners import MGDA, GradDrop, GradNorm, GradVac, PCGrad, StaticWeights
from tests import networks
from tests.quick import slow, some


def dataset(size=24, batch_size=8, seed=0):
    data = networks.batch("dense", size=size, seed=seed)
    return tf.data.Dataset.from_tensor_slices(data).batch(batch_size)


def compiled(combiner=None, network=None, **options):
    keras.utils.set_random_seed(2)
    model = mtk.MultiTaskModel(network or networks.dense(), networks.tasks(), combiner)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), **options)
    return model


def masks(size):
    """Keras needs sample weights for every output or for none."""
    return {name: np.ones(size, "float32") for name in networks.TASKS}


LOGS = ["loss", "left_loss", "left_accuracy", "right_loss", "right_accuracy", "size_loss"]


def test_history_names_losses_metrics_and_weights_by_task():
    history = (
        compiled().fit(dataset(), epochs=2, validation_data=dataset(seed=1), verbose=0).history
    )
    weights = [f"{name}_weight" for name in networks.TASKS]
    assert set(history) == {*LOGS, *weights, *(f"val_{name}" for name in LOGS)}
    assert all(len(values) == 2 and np.isfinite(values).all() for values in history.values())


@pytest.mark.slow
def test_training_lowers_the_loss():
    history = compiled(PCGrad()).fit(dataset(), epochs=30, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]


def test_evaluate_is_exact_over_uneven_batches():
    """Per-task means over labelled elements do not depend on how examples fall into batches."""
    model = compiled()
    whole = model.evaluate(dataset(batch_size=24), verbose=0, return_dict=True)
    parts = model.evaluate(dataset(batch_size=7), verbose=0, return_dict=True)
    assert set(whole) == set(LOGS)
    assert whole == pytest.approx(parts, rel=1e-5)
    mean = np.mean([whole[f"{name}_loss"] for name in networks.TASKS])
    assert whole["loss"] == pytest.approx(mean, rel=1e-6)


@pytest.mark.slow
def test_evaluate_masks_metrics():
    x, y, _ = networks.batch("dense", size=24)
    model = compiled()
    right = tf.argmax(model.predict(x, verbose=0)["right"], -1).numpy() == y["right"].numpy()
    mask = np.arange(24) < 9
    found = model.evaluate(
        x, y, sample_weight={**masks(24), "right": mask}, verbose=0, return_dict=True
    )
    assert found["right_accuracy"] == pytest.approx(right[:9].mean())


def test_task_without_labels_is_excluded_from_the_mean_loss():
    x, y, _ = networks.batch("dense")
    found = compiled().evaluate(
        x, y, sample_weight={**masks(12), "right": np.zeros(12)}, verbose=0, return_dict=True
    )
    assert found["loss"] == pytest.approx((found["left_loss"] + found["size_loss"]) / 2, rel=1e-6)


def test_predict_returns_a_dict_by_task():
    found = compiled().predict(dataset(), verbose=0)
    assert {name: array.shape for name, array in found.items()} == {
        "left": (24, 3),
        "right": (24, 4),
        "size": (24, 1),
    }


@pytest.mark.slow
def test_numpy_arrays_and_train_on_batch():
    x, y, _ = tf.nest.map_structure(np.array, networks.batch("dense"))
    mask = masks(12)
    model = compiled()
    model.fit(x, y, sample_weight=mask, batch_size=4, verbose=0)
    logs = model.train_on_batch(x, y, sample_weight=mask, return_dict=True)
    assert set(logs) == {*LOGS, *(f"{name}_weight" for name in networks.TASKS)}
    assert model.optimizer.iterations.numpy() == 4


@pytest.mark.parametrize(
    "combiner",
    [
        slow(MGDA(update_every=2)),
        GradNorm(alpha=0.5),
        slow(GradVac(groups="layer")),
    ],
    ids=lambda c: type(c).__name__,
)
def test_loaded_model_continues_training_like_the_saved_one(combiner, tmp_path):
    model = compiled(combiner, weight_decay=1e-3, clip_norm=2.0)
    model.fit(dataset(), epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(dataset(), verbose=0) == pytest.approx(
        model.evaluate(dataset(), verbose=0)
    )
    for each in (model, loaded):
        each.fit(dataset(), epochs=2, verbose=0)
    for one, two in zip(model.variables, loaded.variables, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)
    assert loaded.compile_args.weight_decay == 1e-3
    assert loaded.compile_args.clip_norm == 2.0


@pytest.mark.slow
def test_save_and_load_weights(tmp_path):
    model = compiled(GradNorm())
    model.fit(dataset(), verbose=0)
    model.save_weights(tmp_path / "a.weights.h5")
    other = compiled(GradNorm())
    other.optimizer.build(other.network.trainable_variables)
    other.load_weights(tmp_path / "a.weights.h5")
    for one, two in zip(model.variables, other.variables, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_subclassed_network_is_built_from_the_first_batch():
    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.trunk = keras.layers.Dense(4)
            self.outs = [keras.layers.Dense(k) for k in (3, 4, 1)]

        def call(self, inputs):
            features = self.trunk(inputs)
            return {n: out(features) for n, out in zip(networks.TASKS, self.outs, strict=True)}

    model = compiled(GradVac(groups="layer"), network=Network())
    model.fit(dataset(), verbose=0)
    assert len(model.structure.shared) == 2


@pytest.mark.slow
def test_single_task_equals_plain_training():
    """With one task, every kind of combiner gives the gradient of that task."""
    x, y, _ = networks.batch("dense")
    results = []
    for combiner in (StaticWeights(), MGDA(), MGDA(at="representation"), PCGrad()):
        keras.utils.set_random_seed(0)
        network = keras.Sequential(
            [keras.Input((6,)), keras.layers.Dense(4), keras.layers.Dense(3)]
        )
        model = mtk.MultiTaskModel(network, networks.tasks()[:1], combiner)
        # A few steps take less time than tracing one.
        eagerly = not isinstance(combiner, StaticWeights)
        model.compile(keras.optimizers.SGD(0.1), run_eagerly=eagerly)
        model.fit(x, y["left"], epochs=3, verbose=0)
        results.append(network.get_weights())
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_allclose(one, two, atol=1e-6)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([], "at least one task"),
        (networks.tasks() + networks.tasks()[:1], r"more than once: \['left'\]"),
    ],
)
def test_invalid_tasks(tasks, message):
    with pytest.raises(ValueError, match=message):
        mtk.MultiTaskModel(networks.dense(), tasks)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, -1, 1], "non-negative"),
        ([1, 1], "`weights` has 2 numbers for 3 tasks"),
        ({"left": 1, "right": 1, "depth": 1}, r"given for \['depth', 'left', 'right'\]"),
    ],
)
def test_invalid_static_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        mtk.MultiTaskModel(networks.dense(), networks.tasks(), StaticWeights(weights))


@pytest.mark.parametrize(("name", "value"), [("weight_decay", -1.0), ("clip_norm", 0.0)])
def test_invalid_numbers_in_compile(name, value):
    with pytest.raises(
        ValueError, match=f"`{name}` must be a finite number.*Received: {name}={value}"
    ):
        compiled(**{name: value})


def test_unknown_gradient_strategy():
    with pytest.raises(ValueError, match="Unknown strategy"):
        mtk.MultiTaskModel(networks.dense(), networks.tasks(), gradients="fast")


def test_outputs_that_do_not_match_the_tasks():
    inputs = keras.Input((6,))
    network = keras.Model(inputs, {"left": keras.layers.Dense(3)(inputs)})
    with pytest.raises(
        ValueError, match=r"outputs do not match the tasks.*'right'.*Received: \['left'\]"
    ):
        compiled(network=network).fit(dataset(), verbose=0)


def test_batch_without_labels_of_a_task():
    x, y, _ = networks.batch("dense")
    with pytest.raises(ValueError, match=r"Missing: \['size'\]"):
        compiled().fit(x, {"left": y["left"], "right": y["right"]}, verbose=0)


def test_metric_without_a_config_is_not_copied():
    class Odd(keras.metrics.Mean):
        def __init__(self, factor):
            super().__init__(name="odd")
            self.factor = factor

        def update_state(self, y_true, y_pred, sample_weight=None):
            super().update_state(self.factor * tf.ones_like(y_pred), sample_weight)

    odd = Odd(2)
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model = mtk.MultiTaskModel(network, [mtk.Task("a", "mse", [odd])])
    model.compile()
    logs = model.evaluate(np.ones((4, 3)), np.ones((4, 1)), verbose=0, return_dict=True)
    assert logs["a_odd"] == 2.0
    assert float(odd.result()) == 2.0


@pytest.mark.slow
@pytest.mark.parametrize("combiner", some([StaticWeights, PCGrad], [PCGrad]))
def test_frozen_layer_stays_unchanged_after_compiling_again(combiner):
    model = compiled(combiner(), run_eagerly=True)
    model.fit(dataset(), verbose=0)
    trunk = model.network.get_layer("trunk")
    trunk.trainable = False
    model.compile(keras.optimizers.SGD(0.05), run_eagerly=True)
    kernel, head = trunk.kernel.numpy(), model.network.get_layer("left").kernel.numpy()
    model.fit(dataset(), verbose=0)
    np.testing.assert_array_equal(trunk.kernel.numpy(), kernel)
    assert np.abs(model.network.get_layer("left").kernel.numpy() - head).max() > 0
    assert [v.path.split("/")[-2] for v in model.structure.shared] == ["norm", "norm"]


@pytest.mark.parametrize(
    ("policy", "combiner"),
    [
        slow(("mixed_bfloat16", PCGrad())),
        slow(("mixed_float16", StaticWeights())),
        slow(("mixed_float16", MGDA(at="representation"))),
        slow(("mixed_bfloat16", GradDrop(at="representation"))),
    ],
    ids=["PCGrad", "StaticWeights", "MGDA-UB", "GradDrop"],
)
def test_mixed_precision_is_close_to_float32(policy, combiner):
    found = {}
    for name in ("float32", policy):
        keras.mixed_precision.set_global_policy(name)
        try:
            keras.utils.set_random_seed(4)
            network = networks.dense()
            copy = type(combiner).from_config(combiner.get_config())
            model = compiled(copy, network=network)
            if policy == "mixed_float16":
                # Keras' initial scale, 32768, overflows and skips steps until it is lower.
                inner = keras.optimizers.SGD(0.05, momentum=0.9)
                model.compile(keras.optimizers.LossScaleOptimizer(inner, initial_scale=256.0))
            history = model.fit(dataset(), epochs=3, verbose=0).history
        finally:
            keras.mixed_precision.set_global_policy("float32")
        found[name] = history["loss"][-1]
        assert network.get_layer("trunk").kernel.dtype == "float32"
    assert found[policy] == pytest.approx(found["float32"], rel=0.05)


@pytest.mark.parametrize("combiner", [None, slow(GradNorm())], ids=["static", "gradnorm"])
def test_state_tree(combiner):
    x, y, *_ = networks.batch("dense", size=8)
    y = {name: np.nan_to_num(labels) for name, labels in y.items()}
    losses = {task.name: task.loss for task in networks.tasks()}
    model = mtk.MultiTaskModel(networks.dense(), combiner=combiner)
    model.compile("adam", loss=losses, metrics={"left": ["accuracy"]})
    model.fit(x, y, verbose=0)
    tree = model.get_state_tree(value_format="numpy_array")
    assert {"loss", "left_loss", "left_weight"} - {*tree["metrics_variables"]} == {"loss"}
    before = model.get_weights()
    model.fit(x, y, verbose=0)
    model.set_state_tree(tree)
    for one, two in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("ending", ["h5", "hdf5"])
def test_saving_to_hdf5_is_refused(ending, tmp_path):
    model = compiled()
    with pytest.raises(ValueError, match=r"Save to `\*.keras`, or the network alone"):
        model.save(tmp_path / f"model.{ending}")
    assert not [*tmp_path.iterdir()]


class Prepares(keras.Model):
    """Preprocesses texts in `fit`, as KerasHub's tasks with a preprocessor do."""

    def __init__(self):
        super().__init__()
        self.head = keras.layers.Dense(1)

    def call(self, x):
        return self.head(x)

    def fit(self, x, *args, **kwargs):
        return super().fit(keras.ops.cast(keras.ops.array([len(text) for text in x]), "float32"))


def test_network_that_overrides_fit_gives_a_warning():
    with pytest.warns(UserWarning, match=r"Prepares overrides \['fit'\].*prepare them before"):
        mtk.MultiTaskModel(Prepares())


@pytest.mark.parametrize("first", [True, slow(False)], ids=["freeze", "unfreeze"])
def test_changing_trainable_without_compile_gives_a_warning(first):
    network = networks.dense()
    trunk = network.get_layer("trunk")
    trunk.trainable = first
    model = compiled(network=network)
    model.fit(dataset(), verbose=0)
    before, trunk.trainable = trunk.kernel.numpy(), not first
    with pytest.warns(UserWarning, match="have changed since .* call `compile` again"):
        model.fit(dataset(), verbose=0)
    assert (np.abs(trunk.kernel.numpy() - before).max() > 0) == first  # As in Keras.


def test_combiner_needs_compile_after_unfreezing():
    network = networks.dense()
    for layer in network.layers:
        layer.trainable = layer.name in networks.TASKS
    model = compiled(PCGrad(), network)
    with pytest.warns(UserWarning, match="the shared variables are frozen"):
        model.fit(dataset(), verbose=0)
    for layer in network.layers:
        layer.trainable = True
    with pytest.raises(ValueError, match="have changed since .* call `compile` again"):
        model.fit(dataset(), verbose=0)
    model.compile(keras.optimizers.SGD(0.05))
    model.fit(dataset(), verbose=0)
    assert model.structure.shared
