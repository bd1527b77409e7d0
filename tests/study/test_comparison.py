"""One call from a compiled model to a verdict."""

import dataclasses
import functools
import importlib
import subprocess
import sys
import textwrap
import time
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import mtk
from mtk import analysis, combiners, comparison
from mtk.callbacks.monitored import by_names
from mtk.comparison import given, plan, planning, result, search, sent
from mtk.comparison.look import Look, _look, _try
from mtk.errors import StudyError
from mtk.study.engines import Here, Local, Ray
from tests.quick import slow

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4)).astype("float32")
Y = {"size": X[:, :1] + 1.0, "kind": (X[:, 1] > 0).astype("float32")[:, None]}
LOOK = Look(["size", "kind"], 0.1, True, {"size": 2.0, "kind": 0.5}, 90, 2.0, (0.1, 0.2), 0.5)


def build():
    x = keras.Input((4,), name="x")
    hidden = keras.layers.Dense(8, "relu")(x)
    outputs = {
        "size": keras.layers.Dense(1, name="size")(hidden),
        "kind": keras.layers.Dense(1, "sigmoid", name="kind")(hidden),
    }
    model = keras.Model(x, outputs)
    losses = {"size": "mse", "kind": "binary_crossentropy"}
    model.compile(keras.optimizers.SGD(0.05), losses, metrics={"size": ["mae"], "kind": ["AUC"]})
    return model


@pytest.mark.slow
def test_from_a_model_to_a_verdict(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(planning, "SIZES", (planning.Size(2, 1, 2),))
    arguments = {"methods": ["pcgrad"], "epochs": 1, "learning_rates": [0.1], "out": tmp_path / "s"}
    study = comparison.compare(build, (X, Y), monitor={"kind": "auc"}, **arguments)
    first, *lines = str(study).splitlines()
    assert first.startswith("Use loss_weights={'size': ")
    assert "kind_AUC" in first
    assert any(line.startswith("PCGrad") and " over tasks: " in line for line in lines)
    assert any(line.startswith("Against single-task models, Δm of") for line in lines)
    assert set(study.verdict["method"]) == {"PCGrad"}
    assert set(study.verdict["answer"]) <= {"better", "equivalent", "worse", "undecided"}
    best = study.best({"size": 1.0, "kind": 2.0})
    assert set(best(X[:2])) == {"size", "kind"}
    with pytest.raises(ValueError, match="least losses"):
        study.best(limits={"size": -1.0})
    assert study.report().is_file()
    assert "Each seed drew data of its own" in (tmp_path / "s/report/index.html").read_text()
    capsys.readouterr()
    again = comparison.compare(build, (X, Y), monitor={"kind": "auc"}, **arguments)
    assert str(again) == str(study)
    assert "finished after" not in capsys.readouterr().err
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.gin")}
    for other, named in (({"train": (X + 1.0, Y)}, "other data"), ({"epochs": 2}, "`epochs`")):
        given_then = {"train": (X, Y), "monitor": {"kind": "auc"}, **arguments, **other}
        with pytest.raises(ValueError, match=f"holds a comparison with another .*{named}"):
            comparison.compare(build, **given_then)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.gin")} == before
    said, moved = str(study), {**arguments, "out": (tmp_path / "s").rename(tmp_path / "moved")}
    assert str(comparison.compare(build, (X, Y), monitor={"kind": "auc"}, **moved)) == said


def test_a_comparison_is_called_as_its_folder_was_at_first(tmp_path):
    methods, rates = [planning.method_of("PCGrad")], {planning.STATIC: [0.1], "PCGrad": [0.1]}

    def name(out):
        size = planning.Size(2, 1, 2)
        return planning.study_of(out, "key", LOOK, methods, size, rates, {}).name

    assert name(tmp_path / "mine") == "mine"
    (tmp_path / "mine" / "study.json").write_text('{"name": "mine", "runs": []}')
    assert name((tmp_path / "mine").rename(tmp_path / "other")) == "mine"


def test_a_folder_of_another_study_is_refused(tmp_path):
    (tmp_path / "study.json").write_text('{"name": "grid", "runs": []}')
    with pytest.raises(ValueError, match="holds a study that is no comparison"):
        comparison.compare(build, (X, Y), out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]


def workload():
    """Batches that are read again for each split, and never held as a whole."""
    tasks = [mtk.Task("size", "mse", ["mae"]), mtk.Task("kind", "binary_crossentropy")]

    data = tf.data.Dataset.from_tensor_slices((X, Y))
    return mtk.workloads.Datasets(build, tasks, data, data, data)


def test_a_workload_brings_its_own_data():
    key = given.Given(workload, None, None, None).key()
    data = given.workload(key)
    assert [task.name for task in data.tasks] == ["size", "kind"]
    assert given.optimizer(key, 0.5).get_config()["learning_rate"] == 0.5
    assert given.Given(build, None, None, None).key() != key


@pytest.mark.slow
def test_from_a_workload_to_a_verdict(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "SIZES", (planning.Size(2, 1, 2),))
    study = comparison.compare(workload, methods=["MGDA"], epochs=1, out=tmp_path / "s")
    assert str(study).startswith("Use loss_weights={'size': ")
    assert set(study.verdict["method"]) == {"MGDA"}


def test_each_seed_holds_out_other_examples():
    shares = given.Given(build, (X, Y), 0.2, 0.2)
    whole = given.Given(build, (X, Y), (X[:9], Y), (X[:9], Y))
    assert (shares.draws_splits, whole.draws_splits) == (True, False)
    key = shares.key()
    first, again, other = (given.workload(key, seed).fingerprint() for seed in (0, 0, 1))
    assert first == again
    assert all(first[split] != other[split] for split in ("train", "validation", "test"))


class Colleague(keras.Model):
    """A class that is not registered: Keras cannot load it from a file."""

    def __init__(self):
        super().__init__()
        self.hidden = keras.layers.Dense(3)
        self.size = keras.layers.Dense(1)
        self.kind = keras.layers.Dense(1, "sigmoid")

    def call(self, x):
        hidden = self.hidden(x)
        return {"size": self.size(hidden), "kind": self.kind(hidden)}


def test_the_best_network_is_made_as_the_runs_make_it(tmp_path):
    def own():
        model = Colleague()
        model(X[:1])
        model.compile("sgd", {"size": "mse", "kind": "binary_crossentropy"})
        return model

    trained = own()
    trained.save(tmp_path / "model.keras")
    key = given.Given(own, (X, Y), 0.2, 0.2).key()
    found = result._with_weights(key, tmp_path / "model.keras")
    assert isinstance(found, Colleague)
    for name, values in trained(X[:5]).items():
        np.testing.assert_array_equal(found(X[:5])[name], values)


def test_functions_and_objects_of_compile_need_no_registration():
    """A file could not tell them: they are taken as they are."""

    def own(y, p):
        return keras.ops.mean((y - p) ** 2, -1)

    class Own(keras.metrics.MeanMetricWrapper):
        pass

    def compiled(wrap):
        model = wrap(keras.models.clone_model(build()))
        losses = {"size": own, "kind": lambda y, p: own(y, p)}
        model.compile("sgd", losses, metrics={"size": [own, Own(own, "other")]})
        return model

    for wrap in (lambda network: network, mtk.MultiTaskModel):
        data = given.workload(given.Given(lambda wrap=wrap: compiled(wrap), (X, Y), 0.2, 0.2).key())
        assert [task.name for task in data.tasks] == ["size", "kind"]
        assert len(data.tasks[0].metrics) == 2


@pytest.mark.parametrize(
    ("function", "data", "words"),
    [
        (build(), (X, Y), "`build` is a function"),
        (workload, (X, Y), "leave out `train`"),
        (build, None, "Give `train`: .* It has made: Functional"),
    ],
)
def test_models_need_data_and_workloads_have_them(function, data, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        comparison.compare(function, data, out=tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("base", "hook"),
    [
        (keras.Model, "train_step"),
        (keras.Model, "test_step"),
        (keras.Model, "compute_loss"),
        (mtk.MultiTaskModel, "train_step"),
        (mtk.MultiTaskModel, "test_step"),
    ],
)
def test_models_that_train_in_a_way_of_their_own_are_refused(base, hook):
    """Else the answer would be about another training."""
    plain = type("Plain", (base,), {})
    own = type("Own", (plain,), {hook: lambda self, *given, **named: None})
    for kind, refused in ((plain, False), (own, True)):

        def make(kind=kind):
            network = build()
            model = (
                kind(network)
                if base is mtk.MultiTaskModel
                else kind(network.inputs, network.output)
            )
            model.compile("sgd", {"size": "mse", "kind": "binary_crossentropy"})
            return model

        key = given.Given(make, (X, Y), 0.2, 0.2).key()
        with pytest.raises(ValueError, match=f"has its own {hook}") if refused else nullcontext():
            given.workload(key)


def test_what_is_left_out_from_weight_decay_stays_out():
    def make(by_name=True):
        model = build()
        model.compile(keras.optimizers.AdamW(0.1, weight_decay=0.5), {"size": "mse", "kind": "mse"})
        biases = [v for v in model.trainable_variables if v.name == "bias"]
        left_out = {"var_names": ["bias"]} if by_name else {"var_list": biases}
        model.optimizer.exclude_from_weight_decay(**left_out)
        return model

    made = given.optimizer(given.Given(make, (X, Y), 0.2, 0.2).key(), 0.3)
    decayed = [each.name for each in build().trainable_variables if made._use_weight_decay(each)]
    assert decayed == ["kernel"] * 3
    assert made.get_config()["learning_rate"] == pytest.approx(0.3)
    key = given.Given(functools.partial(make, False), (X, Y), 0.2, 0.2).key()
    with pytest.raises(ValueError, match="Name them"):
        given.optimizer(key, 0.3)


@pytest.mark.slow
def test_files_of_others_are_left_alone(tmp_path):
    mine = tmp_path / "methods" / "base.gin"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(ValueError, match="no part of a study"):
        comparison.compare(build, (X, Y), out=tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["methods", "base.gin"]
    assert mine.read_text() == "mine"


def test_call_that_a_full_disk_ended_goes_on(tmp_path):
    """It has left a folder without files, or with what it was writing when it was killed."""
    (tmp_path / "methods" / "unfinished.00000000").mkdir(parents=True)
    planning.check_own(tmp_path)


@pytest.mark.slow
def test_script_with_closures_runs_in_processes_of_its_own(tmp_path):
    """TensorFlow computes nothing in the script itself, so that runs are forked off it."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import numpy as np, keras, mtk
            from mtk.comparison import planning
            planning.SIZES = planning.SIZES[-1:]
            x = np.random.default_rng(0).normal(size=(90, 4)).astype("float32")
            y = {"a": x[:, :1], "b": x[:, 1:2]}
            def maker(units):
                def build():
                    i = keras.Input((4,)); h = keras.layers.Dense(units)(i)
                    o = {n: keras.layers.Dense(1, name=n)(h) for n in "ab"}
                    m = keras.Model(i, o); m.compile("adam", {"a": "mse", "b": "mse"}); return m
                return build
            study = mtk.compare(maker(5), (x, y), methods=["MGDA"], epochs=1, out="s")
            print(study)
            """
        )
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "at a time" in done.stdout
    assert "Use loss_weights=" in done.stdout


@pytest.mark.parametrize("number", [3, 5, 9])
def test_weightings_of_two_tasks_are_equally_spaced(number):
    found = planning.weightings(LOOK, number)
    shares = [weights["size"] for weights in found]
    np.testing.assert_allclose(np.diff(shares), 1.0 / (number + 1), atol=1e-5)
    assert all(sum(weights.values()) == pytest.approx(1.0) for weights in found)


@pytest.mark.parametrize("scale", [1e-5, 1e6])
def test_where_one_loss_outweighs_the_other_distances_are_those_of_losses(scale):
    """Equal distances would give the larger loss nearly everything, in all weightings."""
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
def test_a_loss_outweighs_others_from_ten_times_on(losses, task):
    assert LOOK._replace(losses=losses).outweighing == task


def test_what_selects_is_said_and_what_it_leaves_out(capsys):
    limits = plan.Budget(float("inf"), 9, 1, 2, rates=1, seeds=None, searches=False)
    look = LOOK._replace(losses={"size": 2000.0, "kind": 0.5}, selects="mean_loss")
    comparison._planned(limits, look, 2)
    said = capsys.readouterr().out
    assert "mean_loss on validation selects. Planned: 11 static weightings, 2 methods, 1 " in said
    assert "'size' outweighs others" in said
    comparison._planned(limits, look._replace(selects="relative_loss"), 2)
    assert "outweighs" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_task_without_labels_in_validation_is_named():
    missing = {"missing": float("nan")}
    tasks = [mtk.Task("size", "mse", **missing), mtk.Task("kind", "binary_crossentropy", **missing)]

    def model():
        model = mtk.MultiTaskModel(build(), tasks)
        model.compile("sgd")
        return model

    none = {**Y, "kind": np.full_like(Y["kind"], np.nan)}
    key = given.Given(model, (X, Y), (X, none), 0.2).key()
    with pytest.raises(ValueError, match=r"losses of \['kind'\] are zero in validation"):
        _look(key, 4, None)
    assert _look(key, 4, "mean_loss").selects == "mean_loss"


@pytest.mark.slow
@pytest.mark.parametrize(("said", "selects"), [(None, "relative_loss"), ("mean_loss", "mean_loss")])
def test_losses_that_outweigh_others_are_compared_relative_to_the_first(said, selects):
    def model():
        inputs = keras.Input((4,))
        trunk = keras.layers.Dense(2)(inputs)
        heads = {name: keras.layers.Dense(1, name=name)(trunk) for name in ("size", "kind")}
        model = keras.Model(inputs, heads)
        model.compile("adam", {"size": "mse", "kind": "mse"})
        return model

    key = given.Given(model, (X, {"size": 1e4 * Y["size"], "kind": Y["size"]}), 0.2, 0.2).key()
    assert _look(key, 4, said).selects == selects


def test_a_method_that_cannot_train_the_model_is_named_before_the_first_run():
    def model():
        model = build()
        model.compile("sgd", {"size": lambda y, p: keras.ops.mean(y - p, -1), "kind": "mse"})
        return model

    data = given.workload(given.Given(model, (X, Y), 0.2, 0.2).key())
    with pytest.raises(ValueError, match=r"UncertaintyWeights cannot train it: .* \['size'\]"):
        _try(
            "UncertaintyWeights",
            combiners.UncertaintyWeights,
            data,
            keras.optimizers.SGD(),
            {},
            None,
        )


def test_what_has_failed_is_done_again_by_the_same_call(tmp_path, monkeypatch):
    asked = []

    class Sweep:
        def __init__(self, study, folder, **arguments):
            asked.append(arguments["retry_failed"])

        def go(self, engine):
            return 1

    monkeypatch.setattr(plan, "Sweep", Sweep)
    trainer = plan.Trainer(tmp_path / "s", "key", [], {}, Here, None, None)
    own = plan.Plan([], LOOK, planning.Size(2, 1, 2), {planning.STATIC: [0.1]})
    with pytest.raises(RuntimeError, match="does them again"):
        trainer.sweep(own)
    assert asked == [True]


def test_a_method_without_a_verdict_is_named():
    runs = pd.DataFrame({"status": ["diverged", "diverged"]})
    view = SimpleNamespace(methods=["PCGrad", "MGDA"], runs=lambda name: runs)
    (said,) = result._unjudged(view, ["PCGrad"])
    assert said == "MGDA  No verdict: no model of it has finished with every seed (2 diverged)."


def test_static_weights_of_the_caller_are_tried():
    more = [[0.99, 0.01], [3.0, 1.0]]
    usual = planning.weightings(LOOK, 3)
    found = planning.weightings(LOOK._replace(added=more), 3)
    assert found == [*usual, {"size": 0.99, "kind": 0.01}]  # (3, 1) is one of the usual ones.


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
def test_static_weights_are_no_method(given, static):
    assert planning.is_static(given) is static


def test_weights_of_the_model_are_tried():
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
def test_the_middle_learning_rate_takes_the_steps_of_the_model(kind, weights):
    """With the model's own weights, which sum to one in a comparison."""

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


def test_runs_compute_in_what_the_program_does():
    """Trap: they set Keras' policy to float32."""

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


def test_runs_are_told_what_a_model_was_made_and_compiled_with():
    """Trap: without its weight decay and clipping another training is compared."""
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
    with pytest.raises(ValueError, match="Give these layers names"):
        settings(model)


def test_a_rest_that_takes_longer_than_the_budget_is_said(monkeypatch, capsys):
    found = {planning.STATIC: [0.1]}
    monkeypatch.setattr(comparison, "searched", lambda *arguments: found)
    monkeypatch.setattr(comparison, "best_of", lambda *arguments: 0.1)
    trainer = SimpleNamespace(out=None, labels=[*found], methods=[], seconds_of_a_run=lambda: 60.0)
    own = plan.Plan([], LOOK, planning.Size(9, 3, 5))
    for seconds, said in ((30.0, True), (1e6, False)):
        limits = plan.Budget(seconds, 10, 1, 1, None, None, searches=True)
        comparison._searched(trainer, own, [0.1], limits, time.monotonic())
        assert ("it will take longer" in capsys.readouterr().out) == said


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


def test_learning_rates_are_those_of_the_mean_of_the_losses():
    assert planning.rates(LOOK._replace(scale=2.0), None, 1) == [0.2]
    assert planning.rates(LOOK._replace(is_linear=False), None, 3)[1] == 0.1
    assert planning.rates(LOOK, [1, 2], 3) == [1.0, 2.0]


@pytest.mark.parametrize("optimum", [0.0007, 0.1, 20.0])
def test_search_widens_until_the_best_rate_lies_inside(optimum):
    """Validation is a parabola of the logarithm; runs with a rate above 30 diverge."""
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


def test_search_ends_with_its_time():
    sweeps = []
    labels = [planning.STATIC]
    search.searched(sweeps.append, lambda label, tried: max(tried), labels, [1.0], lambda: False)
    assert len(sweeps) == 1


def test_search_goes_down_where_all_diverge():
    assert planning.widened([0.1, 1.0], None)[0] < 0.1
    assert planning.widened([0.1, 1.0, 10.0], 1.0) == [0.1, 1.0, 10.0]


def test_size_follows_the_budget():
    limits = plan.Budget(1e9, 100, 10, 2, None, None, False)
    large, seconds = limits.size(LOOK, 3)
    assert large == planning.SIZES[0]
    tight = dataclasses.replace(limits, seconds=0.9 * seconds)
    assert tight.size(LOOK, 3)[0] in planning.SIZES[1:]
    assert tight.size(LOOK, 3, each=1e-3)[0] == large, "measured runs are shorter than expected"
    least, seconds = dataclasses.replace(limits, seconds=1.0).size(LOOK, 3)
    assert least == planning.SIZES[-1]
    assert seconds > 1.0


def test_plan_is_kept_for_the_same_call_alone(tmp_path):
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "common.gin").touch()
    same = ["key", 3, 32, "None"]
    made = plan.Plan([*same, 5], LOOK, planning.SIZES[1], {"static weights": [0.1]})
    made.write(tmp_path)
    assert plan.Plan.written(tmp_path, ["other", 5]) is None, "no run was ever listed"
    (tmp_path / "study.json").write_text("{}")
    found = plan.Plan.written(tmp_path, [*same, 5])
    assert (found.size, found.learning_rates) == (made.size, made.learning_rates)
    assert found.look.losses == plan.untrained_losses(tmp_path) == LOOK.losses
    assert plan.Plan.written(tmp_path, [*same, 6]) is None
    with pytest.raises(ValueError, match="another `epochs` and `monitor`. Name another folder"):
        plan.Plan.written(tmp_path, ["key", 4, 32, "'relative_loss'", 5])


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text[:90],
        lambda text: "[]",
        lambda text: "{}",
        lambda text: "[" * 100_000,
        lambda text: text.replace("0.1", "0.3"),
        lambda text: text.replace('"tasks"', '"tusks"'),
    ],
    ids=["empty", "cut", "list", "object", "nested", "digit", "letter"],
)
def test_a_plan_that_is_not_as_it_was_written_is_named(tmp_path, change):
    (tmp_path / "methods").mkdir()
    (tmp_path / "study.json").write_text("{}")
    plan.Plan([1], LOOK, planning.SIZES[1], {"static weights": [0.1]}).write(tmp_path)
    file = tmp_path / "methods" / "plan.json"
    file.write_text(change(file.read_text()))
    for read in (lambda: plan.Plan.written(tmp_path, [1]), lambda: plan.untrained_losses(tmp_path)):
        with pytest.raises(StudyError, match=r"plan\.json' is damaged: .* another folder"):
            read()


@pytest.mark.parametrize("name", ["checkpoints/run.json", "search.json", "methods/mine", ""])
def test_a_folder_of_others_is_refused_before_the_model_is_built(tmp_path, monkeypatch, name):
    monkeypatch.setattr(comparison, "look", None)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    if name:
        (tmp_path / name).write_text("{}")
    with pytest.raises(ValueError, match="Name a"):
        comparison.compare(build, (X, Y), out=tmp_path if name else "/")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / name] * bool(name)


def test_methods_whose_code_has_changed_are_refused_also_after_calls_without_them(tmp_path):
    (tmp_path / "methods").mkdir()
    (tmp_path / "study.json").write_text("{}")
    for codes in ({"Mine": "a", "PCGrad": "b"}, {"PCGrad": "b"}):
        plan.Plan([1], LOOK, planning.SIZES[1], {}, codes).write(tmp_path)
    for same in ({"Mine": "a"}, {"Other": "c"}, {}):
        assert plan.Plan.written(tmp_path, [1], same) is not None
    with pytest.raises(ValueError, match="The code of Mine is another than when the runs in"):
        plan.Plan.written(tmp_path, [1], {"Mine": "edited"})


def test_a_call_that_ended_before_its_first_run_is_made_again(tmp_path):
    rates = {planning.STATIC: [0.1], "PCGrad": [0.1]}
    methods = [planning.method_of("PCGrad")]
    for key in ("first", "mended"):
        study = planning.study_of(tmp_path, key, LOOK, methods, planning.SIZES[-1], rates, {})
    assert [*study.methods] == [planning.STATIC, "PCGrad", "single task: size", "single task: kind"]
    assert "mended" in (tmp_path / "methods" / "common.gin").read_text()


def test_methods_of_earlier_calls_are_named(monkeypatch):
    view = SimpleNamespace(methods=["PCGrad", "RLW"], spaces={"loss": []})
    verdicts = dict.fromkeys(view.methods)
    question = SimpleNamespace(space="loss", title="front of loss", verdicts=verdicts)
    table = pd.DataFrame({"method": view.methods, "in words": "Undecided."})
    monkeypatch.setattr(analysis, "verdict_table", lambda view, question: table)
    monkeypatch.setattr(analysis, "against_single_tasks", lambda view, space: "")
    study = object.__new__(comparison.Comparison)
    for asked, said in ((["static weights", "PCGrad"], "(RLW: of an earlier call"), (None, "")):
        study._methods = asked
        assert said in (text := "\n".join(study._lines(view, [question])))
        assert bool(said) == ("earlier" in text)


def test_a_loss_that_is_nan_from_the_beginning_is_named():
    def nan():
        model = build()
        losses = {"size": lambda y, p: (y - p) * float("nan"), "kind": "binary_crossentropy"}
        model.compile(keras.optimizers.SGD(0.05), losses)
        return model

    key = given.Given(nan, (X, Y), (X, Y), (X, Y)).key()
    with pytest.raises(ValueError, match=r"loss of \['size'\] is infinite or NaN"):
        _look(key, 32, None)


NO_NUMBERS = [{"a": "1"}, {"a": np.nan}, {"a": -1.0}, {"a": np.inf}]


@pytest.mark.parametrize(
    "given", [{"utility": [1.0, 2.0]}, {"limits": 0.5}, *({"utility": each} for each in NO_NUMBERS)]
)
def test_what_the_best_is_asked_by_is_a_dict(given):
    study = object.__new__(comparison.Comparison)
    with pytest.raises(ValueError, match=r"has a number for each task, \{task: number\}"):
        study.best(**given)


def test_a_task_that_no_run_learns_is_said(tmp_path):
    assert plan.untrained_losses(tmp_path) == {}
    untrained = {"size": 100.0, "kind": 0.7, "odd": float("nan")}
    losses = [{"size": 99.0, "kind": 0.3, "odd": 1.0}, {"size": 98.0, "kind": 0.9, "odd": 1.0}]
    (said,) = result.unlearned(untrained, losses)
    assert said.startswith("The loss of 'size' hardly falls in any run: in validation to 0.98 of")
    assert result.unlearned(untrained, []) == []
    (tmp_path / "methods").mkdir()
    plan.Plan([], LOOK._replace(losses={**untrained, "odd": 1.0})).write(tmp_path)
    study = object.__new__(comparison.Comparison)
    study.path = tmp_path
    # The examples that another seed holds out have smaller losses from the beginning.
    study._finished = [
        {
            "seed": seed,
            "result": {"validation": {"tasks": {t: {"loss": f * losses[0][t]} for t in untrained}}},
        }
        for seed, f in ((0, 1.0), (1, 0.5))
    ]
    assert [line.split("'")[1] for line in study._unlearned] == ["size", "odd"]


@pytest.mark.parametrize(
    ("asked", "meant"),
    [({"kind": "auc"}, "kind_AUC"), ({"size": "rmse"}, "size_root_mean_squared_error")],
)
def test_monitors_by_short_names(asked, meant):
    known = ["kind_AUC", "size_root_mean_squared_error", "size_loss"]
    assert by_names(asked, ["size", "kind"], known) == [meant]
    assert by_names("kind_AUC", ["size", "kind"], known) == "kind_AUC"


def test_other_processes_get_function_and_data(tmp_path, monkeypatch):
    elsewhere = Local(workers=1, gpus=0, share_import=False)
    assert sent.is_needed(elsewhere)
    assert not sent.is_needed(Here())
    sent.write(tmp_path, "k", sent.packed(build, elsewhere), ((X, Y), 0.2, 0.3))
    monkeypatch.setenv("MTK_STUDY_DIR", str(tmp_path))
    monkeypatch.setattr("multiprocessing.spawn.prepare", lambda data: None)
    found = given.given("k")
    assert found.build is build
    np.testing.assert_array_equal(found.train[0], X)
    assert (found.validation, found.test) == (0.2, 0.3)


TRAVELS = """import other
from travels.inner import layers
def build():
    return other.NUMBER + layers.NUMBER
"""


@pytest.fixture
def travelling(tmp_path, monkeypatch):
    """A function in a package of a folder, with another module beside it."""
    inner = tmp_path / "travels" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        (folder / "__init__.py").touch()
    (inner / "layers.py").write_text("NUMBER = 2")
    (tmp_path / "other.py").write_text("NUMBER = 40")
    (inner.parent / "model.py").write_text(TRAVELS)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield importlib.import_module("travels.model")
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_on_ray_modules_beside_that_of_the_function_travel(travelling):
    names = {module.__name__ for module in sent._own_modules(travelling)}
    inner = {"travels", "travels.inner", "travels.inner.layers", "travels.model"}
    assert names == {"other", *inner}
    assert sent._own_modules(keras.models) == sent._own_modules(mtk.tasks) == []


def test_a_function_that_has_travelled_works_elsewhere(travelling, tmp_path):
    pytest.importorskip("ray")
    packed = sent.packed(travelling.build, object.__new__(Ray))
    (tmp_path / "packed").write_bytes(packed)
    code = f"import pickle; print(pickle.load(open({str(tmp_path / 'packed')!r}, 'rb'))())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "42"


@pytest.mark.parametrize("function", [lambda: build(), functools.partial(lambda: None)])
def test_functions_that_others_cannot_import_are_named(function):
    with pytest.raises(ValueError, match=r"lambda.*Define it by `def`"):
        sent.packed(function, Local(workers=1, gpus=0, share_import=False))


def test_a_program_that_would_call_it_again_is_named(tmp_path, monkeypatch):
    program = tmp_path / "mine.py"
    main = ModuleType("__main__")
    main.__file__ = str(program)
    monkeypatch.setitem(sys.modules, "__main__", main)
    elsewhere = Local(workers=1, gpus=0, share_import=False)
    program.write_text("mtk.compare(build)")
    with pytest.raises(ValueError, match=r"'mine\.py'.*again.*if __name__"):
        sent.packed(build, elsewhere)
    program.write_text('if __name__ == "__main__":\n    mtk.compare(build)')
    assert sent.packed(build, elsewhere)


class Own(combiners.PCGrad):
    """A method of the user's."""


def test_methods_by_name_class_or_object():
    for name in ("PCGrad", "pcgrad", "pc-grad", combiners.PCGrad):
        assert planning.method_of(name) == ("PCGrad", combiners.PCGrad, {})
    label, kind, arguments = planning.method_of(combiners.CAGrad(c=0.2))
    assert (label, kind, arguments) == ("CAGrad, c=0.2", combiners.CAGrad, {"c": 0.2})
    assert planning.method_of(Own)[0] == "Own"
    around = planning.method_of(combiners.PerLayer(combiners.CAGrad(c=0.2)))
    assert around[0] == "PerLayer, combiner=CAGrad, c=0.2"
    lines = planning._overlay(*around[1:])
    assert "combiners.PerLayer.combiner = @combiners.CAGrad()" in lines
    assert "combiners.CAGrad.c = 0.2" in lines
    for name in ("dwa", combiners.DWA):
        with pytest.raises(ValueError, match=r"Give an object .* DWA\(steps_per_epoch"):
            planning.method_of(name)
    schedule = {"a": keras.optimizers.schedules.CosineDecay(1.0, 10)}
    scheduled = combiners.StaticWeights({"a": 1.0, "b": 1.0}, schedule)
    with pytest.raises(ValueError, match=r"schedule.*Derive a class"):
        planning.method_of(scheduled)
    with pytest.raises(ValueError, match=r"Did you mean 'PCGrad'"):
        planning.method_of("PCGradd")
    with pytest.raises(ValueError, match="object"):
        planning.method_of(3)


@pytest.mark.parametrize("form", ["arrays", "batches", "examples", "sequence", "function"])
def test_data_in_every_form_are_the_same_arrays(form):
    examples = tf.data.Dataset.from_tensor_slices((X, Y))

    class Batches(keras.utils.PyDataset):
        num_batches = 9

        def __getitem__(self, number):
            rows = slice(10 * number, 10 * number + 10)
            return X[rows], {name: labels[rows] for name, labels in Y.items()}

    data = {
        "arrays": (X, Y),
        "batches": examples.batch(7),
        "examples": examples,
        "sequence": Batches(),
        "function": lambda: (X, Y),
    }[form]
    for model in (build, Colleague):  # Functional, and one that does not know its inputs.
        x, y = given.as_arrays("train", data, model)
        np.testing.assert_array_equal(x, X)
        for name, labels in Y.items():
            np.testing.assert_array_equal(y[name], labels)


def test_key_follows_function_and_data():
    one = given.Given(build, (X, Y), 0.2, 0.2).key()
    assert given.Given(build, (X.copy(), Y), 0.2, 0.2).key() == one
    others = [
        given.Given(build, (X + 1.0, Y), 0.2, 0.2).key(),
        given.Given(build, (X, Y), 0.3, 0.2).key(),
        given.Given(lambda: build(), (X, Y), 0.2, 0.2).key(),
    ]
    assert len({one, *others}) == 4


SCRIPT = {
    "model_of_mine": """
        import argparse, functools
        import keras, numpy as np
        import parts_of_mine
        from parts_of_mine import Block, head
        WIDTH = 2; DEPTH = 3; HEADS = 3
        CONFIG = {"activation": keras.activations.relu, "units": [1, 2]}
        FLAGS = argparse.Namespace(rate=0.1, out="a")
        MEANS = np.arange(3)

        def logged(function):
            @functools.wraps(function)
            def call(*given):
                return function(*given)
            return call

        @logged
        def build():
            # A comment.
            made = [head(WIDTH, DEPTH, HEADS), Block(), CONFIG["units"], FLAGS.rate, MEANS]
            return made, (lambda: parts_of_mine.tail(parts_of_mine.SCALE))()

        def unrelated():
            return 1
        """,
    "parts_of_mine": """
        SCALE = 5; UNUSED = 6
        def tail(x): return x
        def inner(): return 1
        def head(*given): return inner()
        class Base:
            def call(self): return 1
        class Block(Base):
            units = 3
            @property
            def width(self): return 4
            @staticmethod
            def made(): return 7
        """,
}
MATTERS = (
    ("WIDTH = 2; DEPTH = 3", "WIDTH = 3; DEPTH = 3"),
    ("WIDTH = 2; DEPTH = 3", "WIDTH = 2; DEPTH = 2"),
    ("activations.relu", "activations.tanh"),
    ("[1, 2]", "[1, 3]"),
    ("rate=0.1", "rate=0.2"),
    ("np.arange(3)", "np.arange(4)"),
    ("return function(*given)", "return function(*given) or 1"),
    ("parts_of_mine.tail(", "print("),
    ("SCALE = 5", "SCALE = 6"),
    ("return x", "return x + 1"),
    ("def inner(): return 1", "def inner(): return 2"),
    ("def call(self): return 1", "def call(self): return 2"),
    ("units = 3", "units = 4"),
    ("return 4", "return 5"),
    ("return 7", "return 8"),
)
DOES_NOT = (
    ("# A comment.", "# Another\n            # one."),
    ('out="a"', 'out="b"'),
    ("UNUSED = 6", "UNUSED = 7"),
    ("def unrelated():\n            return 1", "def unrelated():\n            return 2"),
)


@pytest.fixture
def key_of_script(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def key(before="", after=""):
        assert any(before in text for text in SCRIPT.values())
        for name, text in SCRIPT.items():
            content = textwrap.dedent(text.replace(before, after) if before else text)
            (tmp_path / f"{name}.py").write_text(content)
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return given.Given(importlib.import_module("model_of_mine").build, (X, Y), 0.2, 0.2).key()

    yield key
    for name in SCRIPT:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("edit", MATTERS, ids=lambda edit: edit[1])
def test_an_edit_of_what_the_function_does_makes_another_key(key_of_script, edit):
    assert key_of_script(*edit) != key_of_script()


@pytest.mark.parametrize("edit", DOES_NOT, ids=lambda edit: edit[1])
def test_other_edits_leave_the_key(key_of_script, edit):
    assert key_of_script(*edit) == key_of_script()


def test_tasks_of_each_way_to_compile():
    tasks = given.tasks_of(build())
    assert [(task.name, [m.name for m in task.metrics]) for task in tasks] == [
        ("size", ["mae"]),
        ("kind", ["AUC"]),
    ]
    made = mtk.MultiTaskModel(given.network(build()), [mtk.Task("size", "mse")])
    made.compile("sgd")
    assert [task.name for task in given.tasks_of(made)] == ["size"]
    with pytest.raises(ValueError, match="not compiled"):
        given.tasks_of(keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"budget": "soon"}, "30min"),
        ({"budget": 0.01}, "more than the budget"),
        slow(({"batch_size": 100}, "batch")),
        ({"seeds": 1}, "seeds=1"),
        ({"methods": ["static", "NoGrad"]}, "NoGrad"),
        ({"train": X}, r"\(x, y\)"),
        ({"monitor": {"kind": "aux"}}, "Did you mean 'kind_AUC'"),
        ({"monitor": {"kin": "auc"}}, r"no tasks \['kin'\]"),
        ({"engine": Here()}, "`engine` is a class"),
        ({"learning_rates": "serch"}, "search"),
        ({"learning_rates": [0.1, -1.0]}, "positive"),
        ({"learning_rates": []}, "positive"),
        ({"learning_rates": 0.1}, "list of positive"),
        ({"epochs": "10"}, "`epochs` is a whole number"),
        ({"epochs": 0}, "`epochs` is a whole number"),
        ({"seeds": [1, 2]}, "`seeds` is how many"),
        ({"out": __file__}, "is a file"),
    ],
)
def test_bad_input(changed, words, tmp_path):
    arguments = {"train": (X, Y), "out": tmp_path / "s", **changed}
    with pytest.raises(ValueError, match=words):
        comparison.compare(build, **arguments)
    assert not (tmp_path / "s").exists()


def test_runs_of_another_process_are_refused():
    with pytest.raises(ValueError, match="mtk.compare"):
        given.workload("0123456789abcdef")


class WithoutLength(keras.utils.PyDataset):
    def __getitem__(self, number):
        return X, Y


class Endless(WithoutLength):
    num_batches = None


def test_data_that_never_end_or_do_not_fit_are_named(monkeypatch):
    for data in (Endless(), WithoutLength()):
        with pytest.raises(ValueError, match="train PyDataset never ends"):
            given.as_arrays("train", data, build)
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).batch(9)
    with pytest.raises(ValueError, match="train split is an iterator"):
        given.as_arrays("train", lambda: iter([(X, Y)]), build)
    with pytest.raises(ValueError, match="train data set never ends"):
        given.as_arrays("train", batches.repeat(), build)
    monkeypatch.setattr("mtk.data.sources.os.sysconf", lambda name: 20)
    with pytest.raises(ValueError, match=r"train split, .* takes .*mtk\.workloads\.Datasets"):
        given.as_arrays("train", batches.repeat().filter(lambda x, y: True), build)


def test_a_network_with_an_output_that_is_no_task():
    x = keras.Input((4,))
    outputs = [keras.layers.Dense(1, name=name)(x) for name in ("a", "looked_at", "b")]

    def three():
        model = keras.Model(x, outputs)
        model.compile("sgd", ["mse", None, "mse"])
        return model

    key = given.Given(three, (X, [X[:, :1], X[:, :2], X[:, 1:2]]), 0.2, 0.2).key()
    data = given.workload(key)
    assert [task.name for task in data.tasks] == ["a", "b"]
    assert {n: part.shape[-1] for n, part in _labels(data).items()} == {"a": 1, "b": 1}


def _labels(data):
    return next(iter(data.validation(4)))[1]


@pytest.mark.parametrize("by_tasks", [False, True])
def test_lists_of_labels_are_paired_as_in_fit(by_tasks):
    """As Keras does, by the sorted keys of a dict; or in the order of tasks that are given."""
    x = keras.Input((4,))

    def made():
        network = keras.Model(x, {n: keras.layers.Dense(1, name=n)(x) for n in ("z", "a")})
        if by_tasks:
            network = mtk.MultiTaskModel(network, [mtk.Task(n, "mse") for n in ("z", "a")])
        network.compile("sgd", *([] if by_tasks else [{"z": "mse", "a": "mse"}]))
        return network

    lists = [np.full((len(X), 1), value, "float32") for value in (0, 1)]
    labels = _labels(given.workload(given.Given(made, (X, lists), 0.2, 0.2).key()))
    named = dict(zip(("z", "a"), labels, strict=True)) if by_tasks else labels
    found = {name: float(part[0, 0]) for name, part in named.items()}
    assert found == ({"z": 0, "a": 1} if by_tasks else {"a": 0, "z": 1})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"methods": None}, "methods=None"),
        ({"methods": 5}, "methods=5"),
        ({"out": None}, "`out` is the path.*None"),
        ({"out": ""}, "`out` is the path.*give a path"),
        ({"out": "a\0b"}, "`out` is the path"),
        ({"out": "a" * 300}, "`out` is the path.*shorter"),
        ({"learning_rates": [[0.1]]}, r"learning_rates.*\[\[0.1\]\]"),
        ({"learning_rates": ["0.1"]}, r"learning_rates.*'0.1'"),
        ({"learning_rates": np.ones((2, 2))}, "learning_rates"),
        ({"learning_rates": [True]}, r"positive.*\[True\]"),
        ({"seeds": 10**12}, "to 1000.*seeds=1000000000000"),
        ({"budget": "1e400h"}, "`budget`.*1e400h"),
        ({"engine": dict}, "Engine.*{}"),
    ],
)
def test_arguments_of_another_kind_are_named(tmp_path, monkeypatch, given, words):
    monkeypatch.chdir(tmp_path)
    given = {"methods": ["MGDA"], "epochs": 1, "out": "s", **given}
    with pytest.raises(ValueError, match=words):
        comparison.compare(lambda: None, None, **given)
    assert not list(tmp_path.iterdir())


def test_function_that_raises_or_needs_an_argument_is_named(tmp_path):
    def raising():
        raise KeyError("width")

    arguments = {"train": (X, Y), "methods": ["MGDA"], "out": tmp_path / "s"}
    with pytest.raises(ValueError, match="`build` has raised KeyError: 'width' .line.*comparison"):
        comparison.compare(raising, **arguments)
    with pytest.raises(ValueError, match=r"`build` is called without.*needs \['width'\]"):
        comparison.compare(lambda width, seed, *more: None, **arguments)


def test_function_that_returns_no_model(tmp_path):
    with pytest.raises(ValueError, match="model None is not compiled"):
        comparison.compare(lambda: None, (X, Y), methods=["MGDA"], out=tmp_path / "s")
