"""The plan of a comparison: its size, static weightings and learning rates."""

import dataclasses
import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import mtk
from mtk import comparison
from mtk.callbacks.monitored import by_names
from mtk.comparison import given, plan, planning, search
from mtk.comparison.look import _look
from tests.study.compared import LOOK, X, Y, build


@pytest.mark.parametrize("number", [3, 5, 9])
def test_weightings_of_two_tasks_are_equally_spaced(number):
    found = planning.weightings(LOOK, number)
    shares = [weights["size"] for weights in found]
    np.testing.assert_allclose(np.diff(shares), 1.0 / (number + 1), atol=1e-5)
    assert all(sum(weights.values()) == pytest.approx(1.0) for weights in found)


@pytest.mark.parametrize("scale", [1e-5, 1e6])
def test_weightings_are_equally_spaced_in_weighted_losses_if_one_dominates(scale):
    """With equally spaced weights, the larger loss would dominate in all weightings."""
    look = LOOK._replace(losses={"size": 2.0 * scale, "kind": 0.5})
    *found, halfway, equal = planning.weightings(look, 9)
    assert equal == {"size": 0.5, "kind": 0.5}
    assert halfway["kind"] / halfway["size"] == pytest.approx((4.0 * scale) ** 0.5, rel=1e-4)
    parts = np.array([[weights[task] * look.losses[task] for task in Y] for weights in found])
    np.testing.assert_allclose(parts[:, 0] / parts.sum(1), np.linspace(0, 1, 11)[1:-1], rtol=1e-4)
    assert all(min(weights.values()) > 0 for weights in found)
    assert all(sum(weights.values()) == pytest.approx(1.0) for weights in found)


@pytest.mark.parametrize(
    ("losses", "task"),
    [
        ({"size": 2.0, "kind": 0.5}, None),
        ({"size": 2.0, "kind": 0.1}, "size"),
        ({"size": 0.1, "kind": 2.0}, "kind"),
        ({"size": 2.0, "kind": 0.0}, None),
        ({"size": float("nan"), "kind": float("inf")}, None),
    ],
)
def test_a_loss_dominates_from_ten_times_the_others(losses, task):
    assert LOOK._replace(losses=losses).outweighing == task


def test_printed_plan_names_the_monitor_and_dominating_losses(capsys):
    limits = plan.Budget(float("inf"), 9, 1, 2, rates=1, seeds=None, searches=False)
    look = LOOK._replace(losses={"size": 2000.0, "kind": 0.5}, selects="mean_loss")
    comparison._planned(limits, look, 2)
    said = capsys.readouterr().out
    assert (
        "selected by mean_loss on validation. Plan: 11 static weightings and 2 methods, 1 " in said
    )
    assert "'size' is much larger than others" in said
    comparison._planned(limits, look._replace(selects="relative_loss"), 2)
    assert "outweighs" not in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(("said", "selects"), [(None, "relative_loss"), ("mean_loss", "mean_loss")])
def test_dominating_losses_select_by_relative_loss(said, selects):
    def model():
        inputs = keras.Input((4,))
        trunk = keras.layers.Dense(2)(inputs)
        heads = {name: keras.layers.Dense(1, name=name)(trunk) for name in ("size", "kind")}
        model = keras.Model(inputs, heads)
        model.compile("adam", {"size": "mse", "kind": "mse"})
        return model

    key = given.Given(model, (X, {"size": 1e4 * Y["size"], "kind": Y["size"]}), 0.2, 0.2).key()
    assert _look(key, 4, said).selects == selects


def test_static_weights_given_by_the_caller_are_tried():
    more = [[0.99, 0.01], [3.0, 1.0]]
    usual = planning.weightings(LOOK, 3)
    found = planning.weightings(LOOK._replace(added=more), 3)
    # (3, 1) is one of the default weightings.
    assert found == [*usual, {"size": 0.99, "kind": 0.01}]


@pytest.mark.parametrize(
    ("given", "static"),
    [
        ("static", True),
        ("StaticWeights", True),
        (mtk.combiners.StaticWeights, True),
        (mtk.combiners.StaticWeights([1, 2]), True),
        (mtk.combiners.StaticWeights(schedule={}), False),
        ("PCGrad", False),
        (mtk.combiners.RLW, False),
    ],
)
def test_static_weights_are_recognized(given, static):
    assert planning.is_static(given) is static


def test_loss_weights_of_the_model_are_tried():
    look = LOOK._replace(loss_weights=[1.0, 7.0])
    assert planning.weightings(look, 3)[-1] == {"size": 0.125, "kind": 0.875}
    assert planning.weightings(look._replace(loss_weights=[1.0, 3.0]), 3) == planning.weightings(
        LOOK, 3
    )

    def weighted():
        model = build()
        model.compile("sgd", model.loss, loss_weights={"kind": 7.0})
        return model

    def wrapped():
        model = mtk.MultiTaskModel(build())
        model.compile("sgd", build().loss, loss_weights={"kind": 7.0})
        return model

    def of_other_layers():
        x = keras.Input((4,))
        model = keras.Model(x, {name: keras.layers.Dense(1)(x) for name in Y})
        model.compile("sgd", "mse", loss_weights={"kind": 7.0})
        return model

    assert given.weights_of(given.Given(of_other_layers, (X, Y), 0.2, 0.2).key()) == [1.0, 7.0]
    for function, expected in ((weighted, [1.0, 7.0]), (wrapped, [1.0, 7.0]), (build, None)):
        assert given.weights_of(given.Given(function, (X, Y), 0.2, 0.2).key()) == expected


@pytest.mark.parametrize(
    ("kind", "weights"),
    [
        ("keras", None),
        ("keras", {"size": 100.0, "kind": 1.0}),
        ("keras", {"size": 0.1, "kind": 0.1}),
        ("wrapped", None),
        ("wrapped", {"size": 100.0, "kind": 1.0}),
        ("tasks", None),
    ],
)
def test_middle_learning_rate_reproduces_the_steps_of_the_model(kind, weights):
    """Training with the model's own loss weights, which a comparison normalizes to sum to one."""

    def make():
        keras.utils.set_random_seed(0)
        model, optimizer = build(), keras.optimizers.SGD(0.001)
        if kind == "tasks":
            model = mtk.MultiTaskModel(model, [mtk.Task(name, "mse") for name in Y])
            model.compile(optimizer)
            return model
        model = mtk.MultiTaskModel(model) if kind == "wrapped" else model
        model.compile(optimizer, dict.fromkeys(Y, "mse"), loss_weights=weights)
        return model

    def moved(model):
        network = given.network(model)
        before = [each.numpy() for each in network.trainable_variables]
        model.fit(X, Y, batch_size=90, verbose=0)
        pairs = zip(network.trainable_variables, before, strict=True)
        return [after.numpy() - each for after, each in pairs]

    key = given.Given(make, (X, Y), 0.2, 0.2).key()
    look = LOOK._replace(learning_rate=0.001, scale=given.scale_of(key))
    (rate,) = planning.rates(look, None, 1)
    compared = mtk.MultiTaskModel(
        given.network(make()),
        [mtk.Task(name, "mse") for name in Y],
        mtk.combiners.StaticWeights(given.weights_of(key)),
    )
    compared.compile(given.optimizer(key, rate))
    for own, expected in zip(moved(compared), moved(make()), strict=True):
        np.testing.assert_allclose(own, expected, rtol=2e-3, atol=1e-6)


def test_runs_use_the_dtype_policy_of_the_program():
    """A comparison would otherwise set Keras' policy to float32."""

    def model():
        model = build()
        model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.02)), "mse")
        return model

    found, before = given.Given(model, (X, Y), 0.2, 0.2), keras.config.dtype_policy()
    key = found.key()
    assert isinstance(given.optimizer(key, None), keras.optimizers.Adam)
    averaging = keras.optimizers.Adam(0.02, use_ema=True)
    with pytest.raises(ValueError, match="averages the weights"):
        given.optimizer_of(SimpleNamespace(optimizer=averaging))
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        assert (given.precision(), found.key() != key) == ("mixed_bfloat16", True)
        keras.config.set_dtype_policy("float64")
        with pytest.raises(ValueError, match="policy is 'float64'"):
            given.precision()
    finally:
        keras.config.set_dtype_policy(before)


def test_eager_model_raises():
    def model():
        model = build()
        model.run_eagerly = True
        return model

    key = given.Given(model, (X, Y), 0.2, 0.2).key()
    with pytest.raises(ValueError, match="cannot run in a graph cannot be compared"):
        given.workload(key)


def test_runs_use_the_settings_of_the_compiled_model():
    """Without weight decay and clipping the comparison would be about another training."""
    told = {"weight_decay": 1e-3, "clip_norm": 1.0, "on_nonfinite": "skip"}

    def model(name=None, **arguments):
        shared = [keras.layers.Dense(8, name=name)]
        inputs = keras.Input((4,))
        hidden = shared[0](inputs)
        heads = {each: keras.layers.Dense(1, name=each)(hidden) for each in Y}
        tasks = [mtk.Task(each, "mse") for each in Y]
        made = mtk.MultiTaskModel(keras.Model(inputs, heads), tasks, shared=shared)
        made.compile("sgd", **arguments)
        return made

    def settings(own):
        return given.settings_of(given.Given(own, (X, Y), 0.2, 0.2).key())

    assert settings(build) == {}
    assert settings(lambda: model("trunk", **told)) == {
        "experiment.Sharing.shared": ["trunk"],
        "experiment.Optimization.weight_decay": 1e-3,
        "experiment.Optimization.clip_norm": 1.0,
        "experiment.Numerics.on_nonfinite": "skip",
    }
    with pytest.raises(ValueError, match="Give these layers explicit names"):
        settings(model)


def test_exceeding_the_budget_is_reported(monkeypatch, capsys):
    found = {planning.STATIC: [0.1]}
    monkeypatch.setattr(comparison, "searched", lambda *arguments: found)
    monkeypatch.setattr(comparison, "best_of", lambda *arguments: 0.1)
    trainer = SimpleNamespace(out=None, labels=[*found], methods=[], seconds_of_a_run=lambda: 60.0)
    own = plan.Plan([], LOOK, planning.Size(9, 3, 5))
    for seconds, said in ((30.0, True), (1e6, False)):
        limits = plan.Budget(seconds, 10, 1, 1, None, None, searches=True)
        comparison._searched(trainer, own, [0.1], limits, time.monotonic())
        assert ("longer than the" in capsys.readouterr().out) == said


def test_weightings_of_many_tasks():
    names = list("abcd")
    look = LOOK._replace(tasks=names, losses=dict(zip(names, (1.0, 2.0, 4.0, 0.0), strict=True)))
    found = planning.weightings(look, 9)
    assert len(found) == 9
    assert set(found[0].values()) == {0.25}
    assert found[1]["a"] == pytest.approx(2 * found[1]["b"], rel=1e-4)
    for weights, name in zip(found[2:6], names, strict=True):
        assert max(weights, key=weights.get) == name
    assert all(sum(weights.values()) == pytest.approx(1.0, abs=1e-5) for weights in found)
    far = look._replace(losses={"a": 1e6, "b": 1.0, "c": 1.0, "d": 1.0})
    equal, inverse, halfway = planning.weightings(far, 3)
    assert [w["b"] / w["a"] for w in (equal, halfway, inverse)] == pytest.approx([1, 1e3, 1e6])


@pytest.mark.parametrize("given", [[0.1, 1], (0.1, 1.0), np.array([0.1, 1.0])], ids=repr)
def test_learning_rates_may_be_any_sequence(given):
    assert not comparison._check(None, given)
    assert planning.rates(LOOK, given, 3) == [0.1, 1.0]


def test_learning_rates_are_scaled_to_the_mean_of_the_losses():
    assert planning.rates(LOOK._replace(scale=2.0), None, 1) == [0.2]
    assert planning.rates(LOOK._replace(is_linear=False), None, 3)[1] == 0.1
    assert planning.rates(LOOK, [1, 2], 3) == [1.0, 2.0]


@pytest.mark.parametrize("optimum", [0.0007, 0.1, 20.0])
def test_search_widens_until_the_best_rate_is_inside_the_range(optimum):
    """Validation loss is a parabola in the logarithm; runs with a rate above 30 diverge."""
    sweeps = []

    def best(label, tried):
        assert all(sweeps[-1][label].count(rate) == 1 for rate in tried), "it has been trained"
        at = optimum if label == planning.STATIC else optimum / 10
        alive = [rate for rate in tried if rate < 30]
        return min(alive, key=lambda rate: abs(np.log(rate / at)), default=None)

    def sweep(rates):
        sweeps.append({label: list(own) for label, own in rates.items()})

    labels = [planning.STATIC, "PCGrad"]
    found = search.searched(sweep, best, labels, [0.1, 0.3, 1.0], lambda: True)
    assert len(sweeps) <= search.ROUNDS
    assert len(found[planning.STATIC]) <= 3
    if len(sweeps) < search.ROUNDS:
        for label, tried in found.items():
            assert min(tried) < best(label, tried) < max(tried)


def test_search_ends_when_its_time_is_over():
    sweeps = []
    labels = [planning.STATIC]
    search.searched(sweeps.append, lambda label, tried: max(tried), labels, [1.0], lambda: False)
    assert len(sweeps) == 1


def test_search_tries_lower_rates_when_all_diverge():
    assert planning.widened([0.1, 1.0], None)[0] < 0.1
    assert planning.widened([0.1, 1.0, 10.0], 1.0) == [0.1, 1.0, 10.0]


def test_size_depends_on_the_budget():
    limits = plan.Budget(1e9, 100, 10, 2, None, None, False)
    large, seconds = limits.size(LOOK, 3)
    assert large == planning.SIZES[0]
    tight = dataclasses.replace(limits, seconds=0.9 * seconds)
    assert tight.size(LOOK, 3)[0] in planning.SIZES[1:]
    assert tight.size(LOOK, 3, each=1e-3)[0] == large, "measured runs are shorter than expected"
    least, seconds = dataclasses.replace(limits, seconds=1.0).size(LOOK, 3)
    assert least == planning.SIZES[-1]
    assert seconds > 1.0


@pytest.mark.parametrize(
    ("asked", "meant"),
    [({"kind": "auc"}, "kind_AUC"), ({"size": "rmse"}, "size_root_mean_squared_error")],
)
def test_monitors_by_short_names(asked, meant):
    known = ["kind_AUC", "size_root_mean_squared_error", "size_loss"]
    assert by_names(asked, ["size", "kind"], known) == [meant]
    assert by_names("kind_AUC", ["size", "kind"], known) == "kind_AUC"
