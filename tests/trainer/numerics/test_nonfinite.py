"""Non-finite steps are recorded with their task, or skipped without changing any state."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
from mtk import callbacks, combiners
from mtk.trainer import notes
from tests import networks
from tests.quick import slow, some

COMBINERS = {
    "static": combiners.StaticWeights,
    "rlw": combiners.RLW,
    "uncertainty": combiners.UncertaintyWeights,
    "imtl-l": combiners.IMTLL,
    "dwa": lambda: combiners.DWA(steps_per_epoch=1),
    "famo": combiners.FAMO,
    "gradnorm": combiners.GradNorm,
    "gradvac": lambda: combiners.GradVac(groups="layer"),
    "pcgrad": lambda: combiners.PCGrad(update_every=2),
    "mgda-ub": lambda: combiners.MGDA(at="representation"),
    "graddrop features": lambda: combiners.GradDrop(at="representation"),
}


def model_of(combiner=None, optimizer=None, **compiled):
    keras.utils.set_random_seed(3)
    model = mtk.MultiTaskModel(networks.dense(dropout=0.3), networks.tasks(), combiner)
    model.compile(optimizer or keras.optimizers.Adam(0.01), **compiled)
    return model


def batches(*kinds):
    """Batches with infinite inputs ("x"), an infinite label of `size` ("y") or finite values."""
    found = []
    for seed, kind in enumerate(kinds):
        x, y, mask = networks.batch("dense", seed=seed)
        x = x * np.inf if kind == "x" else x
        y["size"] = tf.constant([[np.inf]] * 12) if kind == "y" else y["size"]
        found.append((x, y, mask))
    stacked = tf.nest.map_structure(lambda *parts: tf.stack(parts), *found)
    return tf.data.Dataset.from_tensor_slices(stacked)


def state(model):
    """Returns all values that a step may change, except metrics and counts of skipped steps."""
    others = (model.last_weights, model.last_gramian, model.last_measured, model.nonfinite_step)
    parts = (model.network, model.optimizer, model.combiner)
    variables = [v for part in parts for v in part.variables]
    return [v.numpy() for v in (*variables, *others)]


SKIPPING = [*((name, 1) for name in COMBINERS), ("famo", 2), ("mgda-ub", 2)]


@pytest.mark.parametrize(
    ("name", "micro_batches"),
    some(SKIPPING, [("graddrop features", 1)]),
)
def test_skipped_step_changes_no_state(name, micro_batches):
    model = model_of(COMBINERS[name](), on_nonfinite="skip", micro_batches=micro_batches)
    model.fit(batches(""), verbose=0)
    before = state(model)
    for number, kind in enumerate("xy", start=1):
        model.fit(batches(kind), verbose=0)
        for one, two in zip(state(model), before, strict=True):
            np.testing.assert_array_equal(one, two)
        assert model.skipped_steps.numpy() == number
    model.fit(batches(""), verbose=0)
    assert model.skipped_in_a_row.numpy() == 0
    assert all(np.isfinite(values).all() for values in state(model))
    changed = [(one != two).any() for one, two in zip(state(model), before, strict=True)]
    assert sum(changed) > len(changed) / 2


@pytest.mark.slow
@pytest.mark.parametrize("steps_per_execution", some([1, 3], [1]))
def test_skipped_step_does_not_affect_logs_and_later_steps(steps_per_execution):
    options = {"on_nonfinite": "skip", "steps_per_execution": steps_per_execution}
    found = []
    for places in ([0, 1, 2], [0, 2]):
        model = model_of(combiners.PCGrad(), **options)
        kinds = ["", "x", ""]
        data = [next(iter(batches(*kinds).skip(place))) for place in places]
        stacked = tf.nest.map_structure(lambda *parts: tf.stack(parts), *data)
        dataset = tf.data.Dataset.from_tensor_slices(stacked)
        found.append((model.fit(dataset, verbose=0).history, state(model)))
        assert model.skipped_steps.numpy() == len(places) - 2
    (with_bad, state_with), (without, state_without) = found
    assert with_bad == without
    for one, two in zip(state_with[:-2], state_without[:-2], strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_famo_ignores_a_loss_that_is_nonfinite_only_after_the_step():
    """The step is finite, but the updated weights give a non-finite loss."""
    model = model_of(combiners.FAMO(), keras.optimizers.SGD(1e38), on_nonfinite="skip")
    before = [v.numpy() for v in model.combiner.variables]
    model.fit(batches(""), verbose=0)
    assert (model.skipped_steps.numpy(), model.optimizer.iterations.numpy()) == (0, 1)
    for variable, value in zip(model.combiner.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


@pytest.mark.parametrize(
    ("name", "on_nonfinite"),
    [slow(("static", "stop")), ("static", "skip"), slow(("pcgrad", "skip"))],
)
def test_first_nonfinite_task_is_kept_until_the_callback_reads_it(name, on_nonfinite, monkeypatch):
    """After that step all losses are NaN, and `left` would be reported."""
    monkeypatch.setattr(notes, "MOST_IN_A_ROW", 2)
    model = model_of(COMBINERS[name](), steps_per_execution=6, on_nonfinite=on_nonfinite)
    divergence = callbacks.TerminateOnNonFinite()
    kinds = ["", "", "y", "y", "", "x"] if on_nonfinite == "skip" else ["", "", "", "y", "", "x"]
    model.fit(batches(*kinds), callbacks=[divergence], verbose=0)
    assert (divergence.found_at, divergence.task) == (4, "size")
    assert model.skipped_steps.numpy() == (3 if on_nonfinite == "skip" else 0)


def test_nonfinite_gradient_is_attributed_to_its_task():
    @tf.custom_gradient
    def broken(y):
        return tf.identity(y), lambda upstream: upstream * np.nan

    inputs = keras.Input((6,))
    hidden = keras.layers.Dense(8, activation="tanh")(inputs)
    outputs = networks.heads(hidden)
    outputs["right"] = keras.layers.Lambda(broken)(outputs["right"])
    model = mtk.MultiTaskModel(keras.Model(inputs, outputs), networks.tasks(), combiners.MGDA())
    model.compile("sgd")
    model.fit(batches("", ""), verbose=0)
    assert model.nonfinite_step.numpy() == 1
    np.testing.assert_array_equal(model.nonfinite_tasks.numpy(), [0, 1, 0])


def test_consecutive_skipped_steps_end_training():
    model = model_of(on_nonfinite="skip")
    divergence = callbacks.TerminateOnNonFinite()
    data = batches("x").repeat(130)
    model.fit(data, callbacks=[divergence], verbose=0)
    assert divergence.found_at == 100
    assert model.optimizer.iterations.numpy() == 0
    assert 100 <= model.skipped_steps.numpy() <= 110
    later = callbacks.TerminateOnNonFinite()
    model.fit(batches("", ""), callbacks=[later], verbose=0)
    assert later.step == int(model.skipped_steps.numpy()) + 2


def test_unknown_on_nonfinite_is_refused():
    with pytest.raises(
        ValueError, match=r"`on_nonfinite` must be one of \('stop', 'skip'\).*'go on'"
    ):
        model_of(on_nonfinite="go on")


@pytest.mark.slow
@pytest.mark.parametrize("on_nonfinite", some(["stop", "skip"], ["stop"]))
def test_diverged_model_can_be_trained_again(on_nonfinite, monkeypatch):
    monkeypatch.setattr(notes, "MOST_IN_A_ROW", 2)
    model = model_of(combiners.PCGrad(), keras.optimizers.SGD(0.01), on_nonfinite=on_nonfinite)
    before = model.network.get_weights()
    first = callbacks.TerminateOnNonFinite()
    model.fit(batches("x", "x"), callbacks=[first], verbose=0)
    assert first.found_at is not None
    model.network.set_weights(before)
    second = callbacks.TerminateOnNonFinite()
    history = model.fit(batches("", ""), epochs=2, callbacks=[second], verbose=0)
    assert second.found_at is None
    assert len(history.epoch) == 2
    assert np.isfinite(history.history["loss"]).all()


def test_epoch_of_only_skipped_steps_has_nan_loss():
    model = model_of(on_nonfinite="skip", run_eagerly=True)
    watch = callbacks.TerminateOnNonFinite()
    history = model.fit(batches("x", "x"), epochs=2, callbacks=[watch], verbose=0)
    assert np.isnan(history.history["loss"]).all()
    assert watch.found_at is None
    assert int(model.skipped_steps.numpy()) == 4


def test_model_created_outside_the_strategy_scope_is_refused():
    model = model_of()
    with (
        tf.distribute.OneDeviceStrategy("CPU:0").scope(),
        pytest.raises(ValueError, match="outside of the strategy's scope"),
    ):
        model.compile("sgd")
