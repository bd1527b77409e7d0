"""`mtk.compare`: one call from a compiled model to a verdict."""

import functools
import itertools
from contextlib import nullcontext
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import mtk
from mtk import analysis, combiners, comparison
from mtk.comparison import given, plan, planning, result
from mtk.comparison.look import _look, _try
from mtk.errors import StudyError
from mtk.study.engines import Here
from tests.quick import slow
from tests.study.compared import LOOK, X, Y, build


@pytest.mark.slow
def test_compare_model_end_to_end(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(planning, "SIZES", (planning.Size(2, 1, 2),))
    arguments = {"methods": ["pcgrad"], "epochs": 1, "learning_rates": [0.1], "out": tmp_path / "s"}
    study = comparison.compare(build, (X, Y), monitor={"kind": "auc"}, **arguments)
    first, *lines = str(study).splitlines()
    assert first.startswith("Use loss_weights={'size': ")
    assert "kind_AUC" in first
    assert any(line.startswith("PCGrad") and " over tasks: " in line for line in lines)
    assert any(line.startswith("Compared with single-task models, Δm of") for line in lines)
    assert set(study.verdict["method"]) == {"PCGrad"}
    assert set(study.verdict["answer"]) <= {"better", "equivalent", "worse", "undecided"}
    best = study.best({"size": 1.0, "kind": 2.0})
    assert set(best(X[:2])) == {"size", "kind"}
    with pytest.raises(ValueError, match="smallest losses"):
        study.best(limits={"size": -1.0})
    assert study.report().is_file()
    assert "Each seed drew its own data" in (tmp_path / "s/report/index.html").read_text()
    capsys.readouterr()
    again = comparison.compare(build, (X, Y), monitor={"kind": "auc"}, **arguments)
    assert str(again) == str(study)
    assert "finished after" not in capsys.readouterr().err
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.gin")}
    for other, named in (({"train": (X + 1.0, Y)}, "other data"), ({"epochs": 2}, "`epochs`")):
        given_then = {"train": (X, Y), "monitor": {"kind": "auc"}, **arguments, **other}
        with pytest.raises(ValueError, match=f"contains a comparison with another .*{named}"):
            comparison.compare(build, **given_then)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.gin")} == before
    said, moved = str(study), {**arguments, "out": (tmp_path / "s").rename(tmp_path / "moved")}
    assert str(comparison.compare(build, (X, Y), monitor={"kind": "auc"}, **moved)) == said


def test_comparison_keeps_the_first_name_of_its_folder(tmp_path):
    methods, rates = [planning.method_of("PCGrad")], {planning.STATIC: [0.1], "PCGrad": [0.1]}

    def name(out):
        size = planning.Size(2, 1, 2)
        return planning.study_of(out, "key", LOOK, methods, size, rates, {}).name

    assert name(tmp_path / "mine") == "mine"
    (tmp_path / "mine" / "study.json").write_text('{"name": "mine", "runs": []}')
    assert name((tmp_path / "mine").rename(tmp_path / "other")) == "mine"


def test_folder_of_another_study_raises(tmp_path):
    (tmp_path / "study.json").write_text('{"name": "grid", "runs": []}')
    with pytest.raises(ValueError, match="contains a study that is not a comparison"):
        comparison.compare(build, (X, Y), out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]


def workload():
    """Batches that are read again for each split and never loaded as a whole."""
    tasks = [mtk.Task("size", "mse", ["mae"]), mtk.Task("kind", "binary_crossentropy")]

    data = tf.data.Dataset.from_tensor_slices((X, Y))
    return mtk.workloads.Datasets(build, tasks, data, data, data)


def test_workload_provides_the_data():
    key = given.Given(workload, None, None, None).key()
    data = given.workload(key)
    assert [task.name for task in data.tasks] == ["size", "kind"]
    assert given.optimizer(key, 0.5).get_config()["learning_rate"] == 0.5
    assert given.Given(build, None, None, None).key() != key


@pytest.mark.slow
def test_compare_workload_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "SIZES", (planning.Size(2, 1, 2),))
    study = comparison.compare(workload, methods=["MGDA"], epochs=1, out=tmp_path / "s")
    assert str(study).startswith("Use loss_weights={'size': ")
    assert set(study.verdict["method"]) == {"MGDA"}


def test_each_seed_draws_its_own_split():
    shares = given.Given(build, (X, Y), 0.2, 0.2)
    whole = given.Given(build, (X, Y), (X[:9], Y), (X[:9], Y))
    assert (shares.draws_splits, whole.draws_splits) == (True, False)
    key = shares.key()
    first, again, other = (given.workload(key, seed).fingerprint() for seed in (0, 0, 1))
    assert first == again
    assert all(first[split] != other[split] for split in ("train", "validation", "test"))


class UnregisteredModel(keras.Model):
    """A class that is not registered, so that Keras cannot load it from a file."""

    def __init__(self):
        super().__init__()
        self.hidden = keras.layers.Dense(3)
        self.size = keras.layers.Dense(1)
        self.kind = keras.layers.Dense(1, "sigmoid")

    def call(self, x):
        hidden = self.hidden(x)
        return {"size": self.size(hidden), "kind": self.kind(hidden)}


def test_best_network_is_built_as_in_the_runs(tmp_path):
    def own():
        model = UnregisteredModel()
        model(X[:1])
        model.compile("sgd", {"size": "mse", "kind": "binary_crossentropy"})
        return model

    trained = own()
    trained.save(tmp_path / "model.keras")
    key = given.Given(own, (X, Y), 0.2, 0.2).key()
    found = result._with_weights(key, tmp_path / "model.keras")
    assert isinstance(found, UnregisteredModel)
    for name, values in trained(X[:5]).items():
        np.testing.assert_array_equal(found(X[:5])[name], values)


def test_custom_losses_and_metrics_need_no_registration():
    """They cannot be serialized: the objects are used as they are."""

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
        (build(), (X, Y), "`build` must be a function"),
        (workload, (X, Y), "leave out `train`"),
        (build, None, "`train` is missing.* `build` returned: Functional"),
    ],
)
def test_models_need_data_and_workloads_must_have_none(function, data, words, tmp_path):
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
def test_models_that_override_training_methods_raise(base, hook):
    """Otherwise the comparison would be about another way of training."""
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
        with pytest.raises(ValueError, match=f"overrides {hook}") if refused else nullcontext():
            given.workload(key)


def test_exclusions_from_weight_decay_are_kept():
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
    with pytest.raises(ValueError, match="Exclude them by name"):
        given.optimizer(key, 0.3)


@pytest.mark.slow
def test_foreign_files_raise_and_are_kept(tmp_path):
    mine = tmp_path / "methods" / "base.gin"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(ValueError, match="not part of a study"):
        comparison.compare(build, (X, Y), out=tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["methods", "base.gin"]
    assert mine.read_text() == "mine"


def test_comparison_continues_after_a_full_disk(tmp_path):
    """The call left a folder without files, or with a temporary folder."""
    (tmp_path / "methods" / "unfinished.00000000").mkdir(parents=True)
    planning.check_own(tmp_path)


@pytest.mark.slow
def test_task_without_validation_labels_raises():
    missing = {"missing": float("nan")}
    tasks = [mtk.Task("size", "mse", **missing), mtk.Task("kind", "binary_crossentropy", **missing)]

    def model():
        model = mtk.MultiTaskModel(build(), tasks)
        model.compile("sgd")
        return model

    none = {**Y, "kind": np.full_like(Y["kind"], np.nan)}
    key = given.Given(model, (X, Y), (X, none), 0.2).key()
    for monitor in (None, "mean_loss"):
        with pytest.raises(ValueError, match=r"NaN for \['kind'\].*split has labels"):
            _look(key, 4, monitor)


@pytest.mark.slow
def test_relative_loss_with_a_zero_loss_raises():
    tasks = [mtk.Task("size", "mse"), mtk.Task("kind", lambda _, prediction: 0.0 * prediction)]

    def model():
        model = mtk.MultiTaskModel(build(), tasks)
        model.compile("sgd")
        return model

    key = given.Given(model, (X, Y), 0.2, 0.2).key()
    with pytest.raises(ValueError, match=r"validation losses of \['kind'\] are zero"):
        _look(key, 4, "relative_loss")
    assert _look(key, 4, "mean_loss").selects == "mean_loss"


def test_incompatible_method_raises_before_the_first_run():
    def model():
        model = build()
        model.compile("sgd", {"size": lambda y, p: keras.ops.mean(y - p, -1), "kind": "mse"})
        return model

    data = given.workload(given.Given(model, (X, Y), 0.2, 0.2).key())
    with pytest.raises(
        ValueError, match=r"UncertaintyWeights cannot train this model: .* \['size'\]"
    ):
        _try(
            "UncertaintyWeights",
            combiners.UncertaintyWeights,
            data,
            keras.optimizers.SGD(),
            {},
            None,
        )


def test_same_call_retries_failed_runs(tmp_path, monkeypatch):
    asked = []

    class Sweep:
        def __init__(self, study, folder, **arguments):
            asked.append(arguments["retry_failed"])

        def go(self, engine):
            return 1

    monkeypatch.setattr(plan, "Sweep", Sweep)
    trainer = plan.Trainer(tmp_path / "s", "key", [], {}, Here, None, None)
    own = plan.Plan([], LOOK, planning.Size(2, 1, 2), {planning.STATIC: [0.1]})
    with pytest.raises(RuntimeError, match="to retry them"):
        trainer.sweep(own)
    assert asked == [True]


def test_method_without_a_verdict_is_reported():
    runs = pd.DataFrame({"status": ["diverged", "diverged"]})
    view = SimpleNamespace(methods=["PCGrad", "MGDA"], runs=lambda name: runs)
    (said,) = result._unjudged(view, ["PCGrad"])
    assert said == "MGDA  No verdict: none of its models has finished with every seed (2 diverged)."


def test_plan_is_reused_only_by_the_same_call(tmp_path):
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
    with pytest.raises(ValueError, match="another `epochs` and `monitor`. Give another folder"):
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
def test_damaged_plan_raises(tmp_path, change):
    (tmp_path / "methods").mkdir()
    (tmp_path / "study.json").write_text("{}")
    plan.Plan([1], LOOK, planning.SIZES[1], {"static weights": [0.1]}).write(tmp_path)
    file = tmp_path / "methods" / "plan.json"
    file.write_text(change(file.read_text()))
    for read in (lambda: plan.Plan.written(tmp_path, [1]), lambda: plan.untrained_losses(tmp_path)):
        with pytest.raises(StudyError, match=r"plan\.json' is damaged: .* another folder"):
            read()


@pytest.mark.parametrize("name", ["checkpoints/run.json", "search.json", "methods/mine", ""])
def test_foreign_folder_raises_before_the_model_is_built(tmp_path, monkeypatch, name):
    monkeypatch.setattr(comparison, "look", None)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    if name:
        (tmp_path / name).write_text("{}")
    with pytest.raises(ValueError, match="Give a"):
        comparison.compare(build, (X, Y), out=tmp_path if name else "/")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / name] * bool(name)


def test_changed_code_of_an_earlier_method_raises(tmp_path):
    (tmp_path / "methods").mkdir()
    (tmp_path / "study.json").write_text("{}")
    for codes in ({"Mine": "a", "PCGrad": "b"}, {"PCGrad": "b"}):
        plan.Plan([1], LOOK, planning.SIZES[1], {}, codes).write(tmp_path)
    for same in ({"Mine": "a"}, {"Other": "c"}, {}):
        assert plan.Plan.written(tmp_path, [1], same) is not None
    with pytest.raises(ValueError, match="The code of Mine has changed since the runs in"):
        plan.Plan.written(tmp_path, [1], {"Mine": "edited"})


def test_plan_is_replaced_if_no_run_was_started(tmp_path):
    rates = {planning.STATIC: [0.1], "PCGrad": [0.1]}
    methods = [planning.method_of("PCGrad")]
    for key in ("first", "mended"):
        study = planning.study_of(tmp_path, key, LOOK, methods, planning.SIZES[-1], rates, {})
    assert [*study.methods] == [planning.STATIC, "PCGrad", "single task: size", "single task: kind"]
    assert "mended" in (tmp_path / "methods" / "common.gin").read_text()


def test_methods_of_earlier_calls_are_listed(monkeypatch):
    view = SimpleNamespace(methods=["PCGrad", "RLW"], spaces={"loss": []})
    verdicts = dict.fromkeys(view.methods)
    question = SimpleNamespace(space="loss", title="front of loss", verdicts=verdicts)
    table = pd.DataFrame({"method": view.methods, "in words": "Undecided."})
    monkeypatch.setattr(analysis, "verdict_table", lambda view, question: table)
    monkeypatch.setattr(analysis, "against_single_tasks", lambda view, space: "")
    study = object.__new__(comparison.Comparison)
    for asked, said in ((["static weights", "PCGrad"], "(RLW: from an earlier call"), (None, "")):
        study._methods = asked
        assert said in (text := "\n".join(study._lines(view, [question])))
        assert bool(said) == ("earlier" in text)


def test_nan_loss_of_the_untrained_network_raises():
    def nan():
        model = build()
        losses = {"size": lambda y, p: (y - p) * float("nan"), "kind": "binary_crossentropy"}
        model.compile(keras.optimizers.SGD(0.05), losses)
        return model

    key = given.Given(nan, (X, Y), (X, Y), (X, Y)).key()
    with pytest.raises(
        ValueError, match=r"loss of the untrained network is infinite or NaN for \['size'\]"
    ):
        _look(key, 32, None)


INVALID_UTILITIES = [{"a": "1"}, {"a": np.nan}, {"a": -1.0}, {"a": np.inf}]


@pytest.mark.parametrize(
    "given",
    [{"utility": [1.0, 2.0]}, {"limits": 0.5}, *({"utility": each} for each in INVALID_UTILITIES)],
)
def test_best_requires_dicts_of_numbers(given):
    study = object.__new__(comparison.Comparison)
    with pytest.raises(ValueError, match=r"must be a dict of numbers by task, \{task: number\}"):
        study.best(**given)


def test_unlearned_tasks_are_reported(tmp_path):
    assert plan.untrained_losses(tmp_path) == {}
    untrained = {"size": 100.0, "kind": 0.7, "odd": float("nan")}
    losses = [{"size": 99.0, "kind": 0.3, "odd": 1.0}, {"size": 98.0, "kind": 0.9, "odd": 1.0}]
    (said,) = result.unlearned(untrained, losses)
    assert said.startswith("The loss of 'size' hardly decreases: on validation, it reaches 0.98 of")
    assert result.unlearned(untrained, []) == []
    (tmp_path / "methods").mkdir()
    plan.Plan([], LOOK._replace(losses={**untrained, "odd": 1.0})).write(tmp_path)
    study = object.__new__(comparison.Comparison)
    study.path = tmp_path
    # Held-out examples of another seed have smaller losses from the beginning.
    study._finished = [
        {
            "seed": seed,
            "result": {"validation": {"tasks": {t: {"loss": f * losses[0][t]} for t in untrained}}},
        }
        for seed, f in ((0, 1.0), (1, 0.5))
    ]
    assert [line.split("'")[1] for line in study._unlearned] == ["size", "odd"]


class Own(combiners.PCGrad):
    """A user-defined method."""


class Passing(combiners.GramianCombiner):
    """A method that passes arguments to its base class."""

    def __init__(self, power=0.5, shares=(0.5, 0.5), **further):
        super().__init__(**further)
        self.power, self.shares = power, shares

    def task_weights(self, gramian, task_losses, present):
        return tf.constant(self.shares)


class WithPrivateAttribute(combiners.LossCombiner):
    """A method that stores its argument under another name."""

    def __init__(self, heat=1.0):
        super().__init__()
        self._heat = heat

    def task_weights(self, task_losses, present, counts):
        return tf.nn.softmax(task_losses / self._heat)


def test_every_argument_of_a_method_object_is_recorded():
    """Also those that its class passes to its base class."""
    assert planning.method_of(Passing) == ("Passing", Passing, {})
    every = {"power": 2.0, "shares": [0.2, 0.8], "at": "representation", "update_every": 3}
    for number in range(len(every) + 1):
        for names in itertools.combinations(every, number):
            given = {name: every[name] for name in names}
            assert planning.method_of(Passing(**given))[2] == given
            lines = planning._overlay(Passing, given)
            assert {line.split(" = ")[0].rpartition(".")[2] for line in lines[3:]} == {*given}
    around = planning.method_of(combiners.WarmUp(Passing(update_every=3), 5))
    assert any(line.endswith("Passing.update_every = 3") for line in planning._overlay(*around[1:]))
    of_numpy = Passing(
        power=np.float32(2.0), shares=np.array([0.25, 0.75]), update_every=np.int64(3)
    )
    arguments = planning.method_of(of_numpy)[2]
    assert arguments == {"power": 2.0, "shares": [0.25, 0.75], "update_every": 3}
    assert [*map(type, arguments.values())] == [float, list, int]
    with pytest.raises(ValueError, match=r"would lose \['heat'\].*get_config"):
        planning.method_of(WithPrivateAttribute(2.0))


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
    with pytest.raises(ValueError, match=r"schedule.*Define a subclass"):
        planning.method_of(scheduled)
    with pytest.raises(ValueError, match=r"Did you mean 'PCGrad'"):
        planning.method_of("PCGradd")
    with pytest.raises(ValueError, match="object"):
        planning.method_of(3)


@pytest.mark.parametrize("form", ["arrays", "batches", "examples", "sequence", "function"])
def test_all_forms_of_data_give_the_same_arrays(form):
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
    # A functional model, and one that does not know its inputs.
    for model in (build, UnregisteredModel):
        x, y = given.as_arrays("train", data, model)
        np.testing.assert_array_equal(x, X)
        for name, labels in Y.items():
            np.testing.assert_array_equal(y[name], labels)


def test_tasks_of_compiled_models():
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
        ({"engine": Here()}, "`engine` must be a class"),
        ({"learning_rates": "serch"}, "search"),
        ({"learning_rates": [0.1, -1.0]}, "positive"),
        ({"learning_rates": []}, "positive"),
        ({"learning_rates": 0.1}, "list of positive"),
        ({"epochs": "10"}, "`epochs` must be an integer"),
        ({"epochs": 0}, "`epochs` must be an integer"),
        ({"seeds": [1, 2]}, "`seeds` must be the number"),
        ({"out": __file__}, "is a file"),
    ],
)
def test_invalid_arguments_raise(changed, words, tmp_path):
    arguments = {"train": (X, Y), "out": tmp_path / "s", **changed}
    with pytest.raises(ValueError, match=words):
        comparison.compare(build, **arguments)
    assert not (tmp_path / "s").exists()


def test_unknown_key_raises():
    with pytest.raises(ValueError, match="mtk.compare"):
        given.workload("0123456789abcdef")


class WithoutLength(keras.utils.PyDataset):
    def __getitem__(self, number):
        return X, Y


class Endless(WithoutLength):
    num_batches = None


def test_infinite_or_too_large_data_raise(monkeypatch):
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


def test_output_without_a_loss_is_not_a_task():
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
def test_lists_of_labels_are_matched_to_tasks_as_in_fit(by_tasks):
    """By the sorted keys of a dict of outputs, as in Keras, or in the given order of tasks."""
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
        ({"out": None}, "`out` must be the path.*None"),
        ({"out": ""}, "`out` must be the path.*expected a path"),
        ({"out": "a\0b"}, "`out` must be the path"),
        ({"out": "a" * 300}, "`out` must be the path.*shorter"),
        ({"learning_rates": [[0.1]]}, r"learning_rates.*\[\[0.1\]\]"),
        ({"learning_rates": ["0.1"]}, r"learning_rates.*'0.1'"),
        ({"learning_rates": np.ones((2, 2))}, "learning_rates"),
        ({"learning_rates": [True]}, r"positive.*\[True\]"),
        ({"seeds": 10**12}, "to 1000.*seeds=1000000000000"),
        ({"budget": "1e400h"}, "`budget`.*1e400h"),
        ({"engine": dict}, "Engine.*{}"),
    ],
)
def test_arguments_of_a_wrong_type_raise(tmp_path, monkeypatch, given, words):
    monkeypatch.chdir(tmp_path)
    given = {"methods": ["MGDA"], "epochs": 1, "out": "s", **given}
    with pytest.raises(ValueError, match=words):
        comparison.compare(lambda: None, None, **given)
    assert not list(tmp_path.iterdir())


def test_build_function_that_raises_or_needs_an_argument_raises(tmp_path):
    def raising():
        raise KeyError("width")

    arguments = {"train": (X, Y), "methods": ["MGDA"], "out": tmp_path / "s"}
    with pytest.raises(ValueError, match="`build` raised KeyError: 'width' .line.*comparison"):
        comparison.compare(raising, **arguments)
    with pytest.raises(ValueError, match=r"`build` is called with no argument.*needs \['width'\]"):
        comparison.compare(lambda width, seed, *more: None, **arguments)


def test_build_function_that_returns_no_model_raises(tmp_path):
    with pytest.raises(ValueError, match="model None is not compiled"):
        comparison.compare(lambda: None, (X, Y), methods=["MGDA"], out=tmp_path / "s")
