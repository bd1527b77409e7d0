"""Task subsets, warm-up with static weights, and saved state of wrapped combiners."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
from mtk import combiners, gradients
from tests import networks
from tests.quick import some

RATE = 0.1


def model_of(combiner, network=networks.dense, eagerly=False, **options):
    keras.utils.set_random_seed(3)
    model = mtk.MultiTaskModel(network(), networks.tasks(), combiner, **options)
    model.compile(keras.optimizers.SGD(RATE), run_eagerly=eagerly)
    return model


def fit(model, batch, steps=1):
    model.fit(tf.data.Dataset.from_tensors(batch).repeat(steps), verbose=0)


def values(model):
    return [v.numpy() for v in model.network.trainable_variables]


def with_labels_of(batch, tasks):
    """Returns the batch with labels of these tasks only."""
    x, y, mask = batch
    mask = {name: tf.ones(len(x)) * mask.get(name, 1.0) for name in networks.TASKS}
    return x, y, {name: mask[name] * float(name in tasks) for name in mask}


@pytest.mark.parametrize("strategy", some(["unrolled", "vectorized"], ["unrolled"]))
def test_subset_equals_a_batch_with_only_those_labels(strategy):
    batch = networks.batch("dense")
    subset = model_of(combiners.TaskSubset(combiners.UPGrad(), 2, seed=1), gradients=strategy)
    chosen = subset.combiner.chosen_tasks(tf.ones(3, tf.bool)).numpy()
    fit(subset, batch)
    alone = model_of(combiners.UPGrad(), eagerly=True, gradients=strategy)
    fit(alone, with_labels_of(batch, [networks.TASKS[k] for k in chosen]))
    for one, other in zip(values(subset), values(alone), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    np.testing.assert_allclose(subset.last_weights, alone.last_weights, atol=1e-5)
    assert set(np.flatnonzero(subset.last_weights.numpy())) == set(chosen)


@pytest.mark.slow
def test_subset_of_a_combiner_that_changes_gradients():
    batch = networks.batch("dense")
    wrapped = combiners.TaskSubset(combiners.PerLayer(combiners.MGDA()), 2, seed=1)
    subset, alone = model_of(wrapped), model_of(combiners.PerLayer(combiners.MGDA()))
    chosen = subset.combiner.chosen_tasks(tf.ones(3, tf.bool)).numpy()
    fit(subset, batch)
    fit(alone, with_labels_of(batch, [networks.TASKS[k] for k in chosen]))
    for one, other in zip(values(subset), values(alone), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "function"),
    some([("auto", "_picked"), ("loop", "_looped")], [("loop", "_looped")]),
)
def test_subset_takes_backward_passes_of_chosen_tasks_only(monkeypatch, strategy, function):
    """Only the chosen tasks have a backward pass through the trunk."""
    seen = []
    passes = getattr(gradients, function)
    monkeypatch.setattr(
        gradients, function, lambda *given: seen.append(given[3].shape[0]) or passes(*given)
    )
    subset = combiners.TaskSubset(combiners.UPGrad(), 2)
    fit(model_of(subset, gradients=strategy), networks.batch("dense"))
    assert set(seen) == {2}


@pytest.mark.slow
def test_warm_up_is_static_weights_and_then_the_method():
    batch = networks.batch("dense")
    weights = {"left": 1, "right": 2, "size": 1}
    warm, static = (
        model_of(combiners.WarmUp(combiners.UPGrad(), 3, weights)),
        model_of(combiners.StaticWeights(weights), eagerly=True),
    )
    fit(warm, batch, 3)
    fit(static, batch, 3)
    for one, other in zip(values(warm), values(static), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert not warm.gradient_schedule.at(2, warm.combiner, True)
    method = model_of(combiners.UPGrad(), eagerly=True)
    method.network.set_weights(warm.network.get_weights())
    fit(warm, batch, 2)
    fit(method, batch, 2)
    for one, other in zip(values(warm), values(method), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


KEPT = {
    "db-mtl": combiners.DBMTL,
    "wrapped": lambda: combiners.CRMOGM(combiners.GradNorm(at="parameters")),
    "layers": lambda: combiners.PerLayer(combiners.GradNorm(at="parameters")),
    "warm-up": lambda: combiners.WarmUp(combiners.MoCo(), 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KEPT)
def test_state_of_wrapped_combiners_is_saved_with_the_model(name, tmp_path):
    batch = networks.batch("dense")
    model = model_of(KEPT[name]())
    fit(model, batch, 3)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    pairs = list(zip(model.combiner.variables, loaded.combiner.variables, strict=True))
    assert any(np.ptp(v.numpy()) > 0 for v, _ in pairs)
    for variable, restored in pairs:
        np.testing.assert_array_equal(restored.numpy(), variable.numpy(), err_msg=variable.path)
    fit(model, batch)
    fit(loaded, batch)
    for one, other in zip(values(model), values(loaded), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
