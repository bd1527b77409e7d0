"""What must hold for every combiner, on gradients of every kind."""

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
# Those that scale heads by a rule of their own.
OWN_HEADS = ("imtl", "pbi", "cosmos", "db-mtl", "db-mtl newest")
# Those that keep their sums of gradients variable by variable.
OWN_SUMS = ("graddrop", "gradvac layer", "per layer", "metabalance")
WEIGHTED = [name for name in NAMES if not name.startswith(OWN_SUMS)]


def having(**flags: bool) -> list[str]:
    return [c.name for c in CASES if all(getattr(c, key) == flag for key, flag in flags.items())]


def compiled():
    """All cases; by default a solver of quadratic programs, and others that compile in no time.

    The other solvers take the longest to compile. IMTL solves as IMTL-G does; `test_degenerate.py`
    compiles Aligned-MTL. Two wrappers change the graph by themselves: they
    are compiled around a combiner of losses.
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


def test_every_combiner_is_in_the_list():
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


@pytest.mark.parametrize("name", having(fixed=True, symmetric=True))
def test_permutation(name):
    for kind, num_tasks in product(samples.KINDS, (2, 5)):
        jacobian, losses = samples.jacobian(kind, num_tasks, seed=4), samples.losses(num_tasks)
        with noted(kind=kind, num_tasks=num_tasks):
            properties.assert_permutes(runner(name, num_tasks), jacobian, losses)


@pytest.mark.parametrize("kind", ["conflicting", pytest.param("opposed", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", some(having(fixed=False), ["pcgrad"]))
def test_permutation_in_distribution(name, kind):
    jacobians = [samples.jacobian(kind, 3, seed) for seed in range(3)]
    properties.assert_permutes_in_distribution(runner(name, 3), jacobians)


@pytest.mark.parametrize("name", having(homogeneous=True))
def test_homogeneity(name):
    # Powers of two change no digit.
    for kind, by in product(samples.KINDS, (2.0**-33, 2.0**33)):
        jacobian, losses = samples.jacobian(kind, 5, seed=5), samples.losses(5)
        with noted(kind=kind, by=by):
            properties.assert_homogeneous(runner(name, 5), jacobian, losses, by)


@pytest.mark.parametrize("name", having(peaceful=True))
def test_no_conflict(name):
    for kind, num_tasks, seed in product(samples.KINDS, (2, 5), range(5)):
        jacobian = samples.jacobian(kind, num_tasks, seed)
        with noted(kind=kind, num_tasks=num_tasks, seed=seed):
            properties.assert_peaceful(runner(name, num_tasks)(jacobian), jacobian)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("rlw")])
def test_absent_task_is_not_in_the_problem(name):
    """With two tasks left nothing depends on their order: random methods are compared, too."""
    run, alone, losses = runner(name, 5), runner(name, 2), samples.losses(5)
    present = np.array([True, False, False, True, False])
    for kind in ("aligned", "conflicting", "spread", "zero row"):
        jacobian = samples.jacobian(kind, 5, seed=6)
        with noted(kind=kind):
            properties.assert_without_absent(run, alone, jacobian, losses, present)


@pytest.mark.parametrize("name", NAMES)
def test_state_of_absent_tasks_rests(name):
    run = runner(name, 5)
    jacobian, losses = samples.jacobian("conflicting", 5), samples.losses(5)
    run(jacobian, losses, steps=3)
    before = {v.path: v.numpy() for v in run.combiner.variables if 5 in v.shape}
    present = np.array([True, True, False, True, True])
    run.again(jacobian, losses, present)
    for variable in run.combiner.variables:
        # The remembered weights start anew; DWA files its means at the end of an epoch.
        if variable.path in before and not variable.name.startswith(("last_", "loss_", "older")):
            axis = 0 if variable.shape[0] == 5 else -1
            own = [np.take(v, 2, axis) for v in (variable.numpy(), before[variable.path])]
            np.testing.assert_array_equal(*own)


@pytest.mark.parametrize("name", NAMES)
def test_nobody_present(name):
    outcome = runner(name, 5)(np.zeros((5, 12)), np.zeros(5, np.float32), np.zeros(5, bool))
    np.testing.assert_array_equal(outcome.weights, 0)
    np.testing.assert_array_equal(outcome.direction, 0)


@pytest.mark.parametrize("name", compiled())
def test_eager_graph_and_xla_agree(name):
    jacobian, losses = samples.jacobian("conflicting", 5, seed=8), samples.losses(5)
    graph = runner(name, 5)(jacobian, losses, steps=2)  # Traced already, by others here.
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
    """A method of somebody else, with one argument under its name and one that is not kept."""

    def __init__(self, temperature=2.0, weights=1.0, **arguments):
        super().__init__(**arguments)
        self.temperature = temperature
        self._own = weights


def test_config_of_a_method_follows_from_its_attributes():
    config = Tempered(temperature=3.0, update_every=2).get_config()
    assert (config["temperature"], config["update_every"]) == (3.0, 2)
    assert "weights" not in config  # Those of a Keras layer are something else.


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
def test_state_survives_a_checkpoint(name):
    """A combiner restored after three steps takes the fourth as the original does."""
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
    # Its values go on in the step that is traced already.
    pairs = zip(run.combiner.variables, copy.combiner.variables, strict=True)
    for variable, loaded in pairs:
        variable.assign(loaded.numpy())
    outcome = run.again(jacobian, 2 * losses)
    np.testing.assert_array_equal(outcome.weights, expected.weights)
    np.testing.assert_array_equal(outcome.direction, expected.direction)


@pytest.mark.parametrize("name", NAMES)
def test_state_is_in_checkpoints_of_tensorflow(name, tmp_path):
    """All of it, also what is held by a helper or in a list."""
    written, read = Runner(BY_NAME[name], 5).combiner, Runner(BY_NAME[name], 5).combiner
    for number, variable in enumerate(written.variables):
        variable.assign(tf.fill(variable.shape, tf.cast(number + 7, variable.dtype)))
    path = tf.train.Checkpoint(combiner=written).write(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(combiner=read).read(path).assert_consumed()
    for variable, loaded in zip(written.variables, read.variables, strict=True):
        np.testing.assert_array_equal(loaded.numpy(), variable.numpy(), err_msg=variable.path)


def test_who_weighs_heads():
    """Those of losses, of losses on other examples, and GradNorm, ExcessMTL, MGDA and Nash-MTL.

    No conflict reaches a head.

    Wrappers do what theirs does. PBI and COSMOS, whose weights may be negative, do so by a rule of
    their own.
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
def test_heads_are_never_pushed_backward(name):
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
def test_gradients_that_are_not_finite_show(name):
    """A diverged run ends with NaN weights, not with an exception from a factorization."""
    jacobian = samples.jacobian("conflicting", 5)
    jacobian[1, 2] = np.nan
    assert np.isnan(runner(name, 5)(jacobian).direction).any()


@pytest.mark.parametrize("name", NAMES)
def test_losses_that_are_not_finite_are_no_exception(name):
    """No factorization stops the program, in the steps with what was learned from them either."""
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
