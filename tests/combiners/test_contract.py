"""Properties that hold for every combiner, on gradients of every kind."""

import inspect
from itertools import product

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtk import combiners
from mtk.combiners.wrapper import Wrapper
from tests.combiners import properties, samples
from tests.combiners.cases import BY_NAME, CASES, Runner, runner
from tests.quick import noted, some

NAMES = [case.name for case in CASES]
# Combiners with their own rule for head weights.
OWN_HEADS = ("imtl", "pbi", "cosmos", "db-mtl", "db-mtl newest")
# Combiners whose weights differ between variables, so that no single weighted sum is reported.
OWN_SUMS = ("graddrop", "gradvac layer", "per layer", "metabalance")
WEIGHTED = [name for name in NAMES if not name.startswith(OWN_SUMS)]


def having(**flags: bool) -> list[str]:
    return [c.name for c in CASES if all(getattr(c, key) == flag for key, flag in flags.items())]


def compiled():
    """Yields all cases; by default one case per class, without solvers that compile slowly.

    IMTL uses the solver of IMTL-G, and `test_degenerate.py` compiles Aligned-MTL. Two wrappers
    change the graph by themselves: they are compiled around a combiner of losses.
    """
    seen = {combiners.IMTL, combiners.PCGrad, combiners.AlignedMTL, combiners.GradNorm}
    seen |= {combiners.DualProj, combiners.FairGrad, combiners.MOML, combiners.MConFIG}
    seen |= {combiners.CRMOGM, combiners.UnitGradients, combiners.PerLayer}
    seen |= {combiners.WarmUp, combiners.TaskSubset, combiners.Every}
    seen |= {combiners.CAGrad, combiners.NashMTL, combiners.FORUM, combiners.MGDA}
    seen |= {combiners.GradVac}
    around_losses = {"warm-up famo", "subset losses"}
    for case in CASES:
        combiner = case.make()
        solves = not isinstance(combiner, combiners.LossCombiner)
        kind = type(combiner) if solves else combiners.LossCombiner
        slow = kind in seen and case.name not in around_losses
        yield pytest.param(case.name, marks=[pytest.mark.slow] if slow else [])
        seen.add(kind)


def test_cases_cover_every_exported_combiner():
    exported = {getattr(combiners, name) for name in combiners.__all__}
    abstract = {combiners.Combined, combiners.Combiner}
    abstract |= {combiners.LossCombiner, combiners.GramianCombiner, combiners.PartsCombiner}
    assert exported - abstract == {type(case.make()) for case in CASES}


@pytest.mark.parametrize("name", NAMES)
def test_finite_on_every_kind_and_scale(name):
    for kind, num_tasks, scale in product(samples.KINDS, (2, 5), (1e-10, 1.0, 1e10)):
        with noted(kind=kind, num_tasks=num_tasks, scale=scale):
            jacobian = samples.jacobian(kind, num_tasks, scale=scale)
            outcome = runner(name, num_tasks)(jacobian, samples.losses(num_tasks), steps=2)
            properties.assert_finite(outcome, jacobian)
            if name in WEIGHTED:
                properties.assert_weighted_sum(outcome, jacobian)


@pytest.mark.parametrize("name", having(mean_scale=True))
@pytest.mark.parametrize("num_tasks", some([1, 2, 3, 5], [2, 5]))
def test_mean_scale(name, num_tasks):
    row = samples.jacobian("conflicting", 2, seed=num_tasks)[0]
    properties.assert_mean_scale(runner(name, num_tasks), row, num_tasks)


@pytest.mark.parametrize("name", having(deterministic=True, symmetric=True))
def test_permutation_equivariance(name):
    for kind, num_tasks in product(samples.KINDS, (2, 5)):
        jacobian, losses = samples.jacobian(kind, num_tasks, seed=4), samples.losses(num_tasks)
        with noted(kind=kind, num_tasks=num_tasks):
            properties.assert_permutes(runner(name, num_tasks), jacobian, losses)


@pytest.mark.parametrize("kind", ["conflicting", pytest.param("opposed", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", some(having(deterministic=False), ["pcgrad"]))
def test_permutation_equivariance_in_distribution(name, kind):
    jacobians = [samples.jacobian(kind, 3, seed) for seed in range(3)]
    properties.assert_permutes_in_distribution(runner(name, 3), jacobians)


@pytest.mark.parametrize("name", having(homogeneous=True))
def test_homogeneity(name):
    # Powers of two cause no rounding.
    for kind, by in product(samples.KINDS, (2.0**-33, 2.0**33)):
        jacobian, losses = samples.jacobian(kind, 5, seed=5), samples.losses(5)
        with noted(kind=kind, by=by):
            properties.assert_homogeneous(runner(name, 5), jacobian, losses, by)


@pytest.mark.parametrize("name", having(non_conflicting=True))
def test_non_conflicting(name):
    for kind, num_tasks, seed in product(samples.KINDS, (2, 5), range(5)):
        jacobian = samples.jacobian(kind, num_tasks, seed)
        with noted(kind=kind, num_tasks=num_tasks, seed=seed):
            properties.assert_non_conflicting(runner(name, num_tasks)(jacobian), jacobian)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("rlw")])
def test_absent_tasks_have_no_effect(name):
    """With two tasks left nothing depends on their order, so that random methods are included."""
    run, alone, losses = runner(name, 5), runner(name, 2), samples.losses(5)
    present = np.array([True, False, False, True, False])
    for kind in ("aligned", "conflicting", "spread", "zero row"):
        jacobian = samples.jacobian(kind, 5, seed=6)
        with noted(kind=kind):
            properties.assert_ignores_absent_tasks(run, alone, jacobian, losses, present)


@pytest.mark.parametrize("name", NAMES)
def test_state_of_absent_tasks_does_not_change(name):
    run = runner(name, 5)
    jacobian, losses = samples.jacobian("conflicting", 5), samples.losses(5)
    run(jacobian, losses, steps=3)
    before = {v.path: v.numpy() for v in run.combiner.variables if 5 in v.shape}
    present = np.array([True, True, False, True, True])
    run.again(jacobian, losses, present)
    for variable in run.combiner.variables:
        # Cached weights are reset; DWA stores its means at the end of an epoch.
        if variable.path in before and not variable.name.startswith(("last_", "loss_", "older")):
            axis = 0 if variable.shape[0] == 5 else -1
            own = [np.take(v, 2, axis) for v in (variable.numpy(), before[variable.path])]
            np.testing.assert_array_equal(*own)


@pytest.mark.parametrize("name", NAMES)
def test_no_task_present(name):
    outcome = runner(name, 5)(np.zeros((5, 12)), np.zeros(5, np.float32), np.zeros(5, bool))
    np.testing.assert_array_equal(outcome.weights, 0)
    np.testing.assert_array_equal(outcome.direction, 0)


@pytest.mark.parametrize("name", compiled())
def test_eager_graph_and_xla_agree(name):
    jacobian, losses = samples.jacobian("conflicting", 5, seed=8), samples.losses(5)
    graph = runner(name, 5)(jacobian, losses, steps=2)  # Already traced by other tests.
    for other in (Runner(BY_NAME[name], 5, eager=True), Runner(BY_NAME[name], 5, jit=True)):
        outcome = other(jacobian, losses, steps=2)
        np.testing.assert_allclose(outcome.direction, graph.direction, atol=1e-5)
        np.testing.assert_allclose(outcome.weights, graph.weights, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_config_has_every_argument(name):
    combiner = BY_NAME[name].make()
    arguments = set(inspect.signature(type(combiner)).parameters)
    assert arguments == set(combiner.get_config())


class Tempered(combiners.MGDA):
    """A custom method that stores one argument under its name, and the other one not."""

    def __init__(self, temperature=2.0, weights=1.0, **arguments):
        super().__init__(**arguments)
        self.temperature = temperature
        self._own = weights


def test_config_is_read_from_attributes():
    config = Tempered(temperature=3.0, update_every=2).get_config()
    assert (config["temperature"], config["update_every"]) == (3.0, 2)
    assert "weights" not in config  # `weights` of a Keras layer are its variables.


@pytest.mark.parametrize("name", NAMES)
def test_serialization_round_trip(name):
    original = BY_NAME[name].make()
    config = keras.saving.serialize_keras_object(original)
    restored = keras.saving.deserialize_keras_object(config)
    assert type(restored) is type(original)
    assert restored.get_config() == original.get_config()
    assert restored.at == original.at
    assert restored.update_every == original.update_every
    assert restored.weighs_heads == original.weighs_heads


@pytest.mark.parametrize("name", NAMES)
def test_save_and_load_state(name):
    """A combiner restored after three steps takes the same fourth step as the original."""
    jacobian, losses = samples.jacobian("conflicting", 5, seed=9), samples.losses(5)
    run, copy = runner(name, 5), Runner(BY_NAME[name], 5)
    run(jacobian, losses, steps=3)
    layers = [each._flatten_layers() for each in (run.combiner, copy.combiner)]
    stores: list[dict] = [{} for _ in layers[0]]
    for layer, store in zip(layers[0], stores, strict=True):
        layer.save_own_variables(store)
        store.update({key: np.array(value) for key, value in store.items()})
    expected = run.again(jacobian, 2 * losses)
    for layer, store in zip(layers[1], stores, strict=True):
        if store:
            layer.load_own_variables(store)
    # The loaded values are tested in the step that is already traced.
    pairs = zip(run.combiner.variables, copy.combiner.variables, strict=True)
    for variable, loaded in pairs:
        variable.assign(loaded.numpy())
    outcome = run.again(jacobian, 2 * losses)
    np.testing.assert_array_equal(outcome.weights, expected.weights)
    np.testing.assert_array_equal(outcome.direction, expected.direction)


@pytest.mark.parametrize("name", NAMES)
def test_state_is_in_tensorflow_checkpoints(name, tmp_path):
    """Includes variables of helper objects and in lists."""
    written, read = Runner(BY_NAME[name], 5).combiner, Runner(BY_NAME[name], 5).combiner
    for number, variable in enumerate(written.variables):
        variable.assign(tf.fill(variable.shape, tf.cast(number + 7, variable.dtype)))
    path = tf.train.Checkpoint(combiner=written).write(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(combiner=read).read(path).assert_consumed()
    for variable, loaded in zip(written.variables, read.variables, strict=True):
        np.testing.assert_array_equal(loaded.numpy(), variable.numpy(), err_msg=variable.path)


def test_which_combiners_weigh_heads():
    """Combiners of losses, also on other examples, and GradNorm, ExcessMTL, MGDA and Nash-MTL.

    Other methods resolve conflicts, which heads do not have. Wrappers follow the combiner that they
    wrap. PBI and COSMOS, whose weights may be negative, have their own rule.
    """
    made = [case.make() for case in CASES]
    made = [combiner for combiner in made if not isinstance(combiner, Wrapper)]
    weighing = {type(combiner) for combiner in made if combiner.weighs_heads}
    weighing |= {combiners.PBI, combiners.COSMOS}
    of_losses = {type(combiner) for combiner in made if combiner.reads == "losses"}
    others = {combiners.GradNorm, combiners.ExcessMTL, combiners.MGDA, combiners.NashMTL}
    others |= {combiners.AutoLambda, combiners.FORUM, combiners.MOML}
    assert weighing == of_losses | others


@pytest.mark.parametrize("name", NAMES)
def test_head_weights_are_not_negative(name):
    run = runner(name, 5)
    present = tf.constant([True, True, False, True, True])
    for kind in ("opposed", "conflicting", "spread"):
        weights = run(samples.jacobian(kind, 5), samples.losses(5), present.numpy()).weights
        heads = run.combiner.head_weights(tf.constant(weights), present).numpy()
        assert (heads >= 0).all()
        assert heads[2] == 0
        if not run.combiner.weighs_heads and name not in OWN_HEADS:
            np.testing.assert_allclose(heads, [0.25, 0.25, 0, 0.25, 0.25])


@pytest.mark.parametrize("name", [c.name for c in CASES if c.make().reads == "gramian"])
def test_nonfinite_gradients_give_nan(name):
    """A diverged run ends with NaN weights, not with an exception from a factorization."""
    jacobian = samples.jacobian("conflicting", 5)
    jacobian[1, 2] = np.nan
    assert np.isnan(runner(name, 5)(jacobian).direction).any()


@pytest.mark.parametrize("name", NAMES)
def test_nonfinite_losses_raise_no_exception(name):
    """Neither in this step nor in the next one, whose state depends on these losses."""
    losses = samples.losses(5)
    losses[1] = np.nan
    assert runner(name, 5)(samples.jacobian("conflicting", 5), losses, steps=2).weights.shape == (
        5,
    )


@pytest.mark.parametrize("name", [c.name for c in CASES if c.make().reads == "gramian"])
def test_half_precision_gradients_are_combined_in_float32(name):
    combiner = BY_NAME[name].make()
    combiner.bind(["a", "b"], ["one/kernel"])
    rows = tf.constant(samples.jacobian("conflicting", 2) * 1e-4, tf.bfloat16)
    result = combiner([rows], tf.ones(2, tf.bfloat16))
    assert result.task_weights.dtype == result.gradients[0].dtype == tf.float32
    expected = tf.tensordot(result.task_weights, tf.cast(rows, tf.float32), 1)
    np.testing.assert_allclose(result.gradients[0], expected, rtol=1e-5, atol=1e-12)
