"""A run that branches from a pause of another run continues like that run."""

import json
import shutil
from functools import partial

import compare_runs
import keras
import numpy as np
import pytest
from application_runs import read_metrics, start
from crashes import CrashError, crash

import mtk
from mtk import config, experiment, schedules
from mtk.combiners import StaticWeights
from mtk.experiment import Checkpoints, Optimization, Training, branch_checks, branching
from mtk.search import PBT, Cooldown, Random, Search, Sobol, Space
from mtk.study.engines import Here
from tests.quick import slow

RATE = "experiment.Optimization.learning_rate"


def weights(left):
    return partial(StaticWeights, {"left": left, "right": 1 - left})


@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory):
    """The folder of an uninterrupted run, and of one that paused at step 4 and was resumed."""
    folder = tmp_path_factory.mktemp("runs")
    start(tiny, folder / "undisturbed", every=0.0, combiner=weights(0.5))
    for pause_at in (4, None):
        kept = {"pause_at": pause_at, "keep_pauses": True}
        start(tiny, folder / "parent", every=0.0, combiner=weights(0.5), **kept)
    return folder


def branch(tiny, runs, name, left=0.5, **given):
    given = {"every": 0.0, "branch_from": ("parent", 4), **given}
    return start(tiny, runs / name, combiner=weights(left), **given)


def lines(folder, **keys):
    return [x for x in read_metrics(folder) if keys.items() <= x.items()]


def test_branch_without_changes_is_bitwise_equal_to_an_uninterrupted_run(tiny, runs):
    assert compare_runs.differences(runs / "parent", runs / "undisturbed") == []
    branch(tiny, runs, "same")
    # The result contains the name of the run, which depends on the configuration.
    assert compare_runs.differences(runs / "same", runs / "undisturbed") == ["result.json"]
    results = [json.loads((runs / n / "result.json").read_text()) for n in ("same", "undisturbed")]
    assert results[0].pop("run") != results[1].pop("run")
    assert results[0] == results[1]
    manifest = json.loads((runs / "same" / "manifest.json").read_text())
    assert manifest["sessions"][0]["first_step"] == 4
    assert manifest["method"]["static"]


@pytest.mark.slow
def test_weights_and_learning_rate_change_at_the_branch(tiny, runs):
    """The run equals one with schedules that change at that step."""
    branch(tiny, runs, "changed", 0.8, learning_rate=0.3)
    piecewise = keras.optimizers.schedules.PiecewiseConstantDecay
    factors = {"left": piecewise([3], [1.0, 1.6]), "right": piecewise([3], [1.0, 0.4])}
    start(
        tiny,
        runs / "scheduled",
        combiner=partial(StaticWeights, [0.5, 0.5], schedule=factors),
        schedule=lambda learning_rate, steps_per_epoch: piecewise([3], [0.1, 0.3]),
    )
    for task in ("left", "right"):
        for name in ("loss", "weight"):
            own, other = (
                [(x["step"], x["value"]) for x in lines(runs / each, task=task, name=name)]
                for each in ("changed", "scheduled")
            )
            np.testing.assert_allclose(own, other, rtol=1e-4)
    said = json.loads((runs / "changed" / "lineage.json").read_text())["runs"]
    assert [(each["run"], each["first_step"]) for each in said] == [("parent", 0), ("changed", 4)]
    assert said[1]["changed"][RATE] == {"from": "0.1", "to": "0.3"}
    assert len(said[1]["changed"]) == 2
    method = json.loads((runs / "changed" / "manifest.json").read_text())["method"]
    assert (method["static"], method["task_weights"]) == (False, None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "moment"),
    [(branching, "_write_lineage"), (branching.AppendOnlyFiles, "copy")],
)
def test_run_killed_while_branching_resumes(tiny, runs, monkeypatch, owner, moment):
    with monkeypatch.context() as patch:
        original = getattr(owner, moment)

        def dies(*given):
            original(*given)
            raise CrashError

        patch.setattr(owner, moment, dies)
        with pytest.raises(CrashError):
            branch(tiny, runs, f"killed_{moment}")
    branch(tiny, runs, f"killed_{moment}")
    found = compare_runs.differences(runs / f"killed_{moment}", runs / "undisturbed")
    assert found == ["result.json"]


@pytest.mark.slow
@pytest.mark.parametrize("step", [4, 6, 9])
def test_run_killed_after_branching_resumes(tiny, runs, monkeypatch, step):
    crash(monkeypatch, max(step, 5))
    with pytest.raises(CrashError):
        branch(tiny, runs, f"late_{step}")
    branch(tiny, runs, f"late_{step}")
    found = compare_runs.differences(runs / f"late_{step}", runs / "undisturbed")
    assert found == ["result.json"]


@pytest.mark.slow
def test_lineage_of_a_branch_of_a_branch(tiny, runs):
    branch(tiny, runs, "child", 0.8, pause_at=8, keep_pauses=True)
    branch(tiny, runs, "grandchild", 0.3, branch_from=("child", 8))
    said = json.loads((runs / "grandchild" / "lineage.json").read_text())["runs"]
    assert [(x["run"], x["first_step"]) for x in said] == [
        ("parent", 0),
        ("child", 4),
        ("grandchild", 8),
    ]
    shares = lines(runs / "grandchild", task="left", name="weight")
    assert [(x["step"], round(x["value"], 6)) for x in shares] == [(4, 0.5), (8, 0.8), (10, 0.3)]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"branch_from": ("parent", 8)}, "No valid checkpoint"),
        ({"branch_from": ("nobody", 4)}, "No valid checkpoint"),
        ({"batch_size": 32}, "batch_size 64 there, 32 here"),
        slow(({"evaluate_every": 2}, "evaluate_every")),
        slow(({"seed": 1}, "seed 0 there, 1 here")),
    ],
)
def test_incompatible_branches_are_refused(tiny, runs, tmp_path, given, named):
    shutil.copytree(runs / "parent" / "rungs", tmp_path / "parent" / "rungs")
    with pytest.raises(ValueError, match=named):
        branch(tiny, tmp_path, "child", **given)


@pytest.mark.slow
def test_damaged_pause_is_refused(tiny, runs, tmp_path):
    shutil.copytree(runs / "parent", tmp_path / "parent")
    path = tmp_path / "parent" / "rungs" / "4" / "variables.npz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="No valid checkpoint"):
        branch(tiny, tmp_path, "child")


@pytest.mark.parametrize("given", ["parent", ("a/b", 4), ("parent", 0), ("parent", 4.0), (4, 4)])
def test_branch_from_must_be_a_name_and_a_step(given):
    with pytest.raises(ValueError, match="branch_from"):
        Checkpoints(branch_from=given)


# Checks of whether runs can branch, before any of them starts.


def check(tiny, further, combiner=StaticWeights, steps=10, **given):
    experiment.check(
        tiny,
        Training(steps=steps, evaluate_every=4),
        combiner,
        optimization=Optimization(**{"batch_size": 32, **given}),
        further=further,
    )


def fixed(learning_rate, steps_per_epoch):
    del learning_rate, steps_per_epoch
    return keras.optimizers.schedules.PiecewiseConstantDecay([5], [0.1, 0.01])


@pytest.mark.parametrize(
    ("interval", "given", "named"),
    [
        (9, {}, "two or more intervals.*an interval of 9 steps, in a run of 10"),
        (100, {}, "an interval of 100 steps"),
        (2, {}, "between any two rungs"),
        (4, {"schedule": fixed}, "has no effect: PiecewiseConstantDecay"),
        (4, {"combiner": partial(StaticWeights, schedule={})}, "Leave the schedule out"),
    ],
)
def test_invalid_populations_are_refused(tiny, interval, given, named):
    with pytest.raises(ValueError, match=named):
        check(tiny, branch_checks.Population(interval, varies_rate=True), **given)


def test_valid_populations(tiny):
    alike = branch_checks.Population(4, varies_rate=True)
    check(tiny, alike)
    check(tiny, alike, learning_rate=0.3, schedule=schedules.Cosine)
    with pytest.raises(ValueError, match="batch_size 32 and 16"):
        check(tiny, alike, batch_size=16)
    with pytest.raises(ValueError, match="steps 10 and 12"):
        check(tiny, alike, steps=12)
    check(tiny, branch_checks.Population(4, varies_rate=False), schedule=fixed)


@pytest.mark.parametrize(
    ("ends", "pauses", "given", "named"),
    [
        ((8,), (4,), {"schedule": None}, "no schedule"),
        ((8,), (4,), {"schedule": schedules.Cosine}, "Received: Cosine"),
        ((8,), (6,), {}, "the next evaluation is at step 8"),
        ((10,), (8,), {}, "before the end of the run"),
    ],
)
def test_invalid_trunks_are_refused(tiny, ends, pauses, given, named):
    given = {"schedule": schedules.WarmupStableDecay, **given}
    with pytest.raises(ValueError, match=named):
        check(tiny, branch_checks.Trunk(pauses, ends), **given)


def test_valid_trunk(tiny):
    check(tiny, branch_checks.Trunk((4,), (8,)), schedule=schedules.WarmupStableDecay)


# Searches, with real runs.

SETTINGS = {
    "experiment.Training.epochs": None,
    "experiment.Training.steps": 12,
    "experiment.Training.evaluate_every": 4,
    "experiment.Optimization.batch_size": 16,
    "multi_digits.MultiDigits.partners": 1,
    "multi_digits.MultiDigits.channels": (4, 4),
}


@pytest.mark.slow
def test_population_of_real_runs(tmp_path):
    """Logged weights equal those of the search, and `analysis.load` reads the runs."""
    space = Space(["left", "right"], log_uniform={RATE: (0.01, 1.0)})
    given = {"settings": SETTINGS, "sampler": Sobol, "pbt": PBT(interval=4)}
    search = Search("small", ["multi_digits.gin"], space, 4, **given)
    found = mtk.search(search, tmp_path / "study", Here)
    assert found.exit_code == 0
    assert len(found.complete) == 4
    for trial in found.trials:
        parts = [*trial.schedule, (trial.paused_at or 12, trial.point)]
        expected = [
            (step, round(next(p for until, p in parts if step <= until)[name]["left"], 4))
            for name in ["combiners.StaticWeights.weights"]
            for step in range(4, (trial.paused_at or 12) + 1, 4)
        ]
        told = lines(trial.runs[0], task="left", name="weight")
        assert [(x["step"], round(x["value"], 4)) for x in told] == expected
        assert (trial.runs[0] / "lineage.json").exists() == bool(trial.schedule)
    from mtk import analysis

    table = analysis.load(tmp_path / "study").set_index("run")
    for trial in found.complete:
        assert table.loc[trial.runs[0].name, "static"] != bool(trial.schedule)


@pytest.mark.slow
def test_cooldown_equals_runs_with_that_schedule(tmp_path):
    """Trunk and branch are bitwise equal to uninterrupted runs."""
    settings = {**SETTINGS, "experiment.Optimization.schedule": "@schedules.WarmupStableDecay"}
    space = Space(["left", "right"], log_uniform={RATE: (0.01, 1.0)})
    given = {"settings": settings, "sampler": Random, "rungs": (8,), "keep": 0.9}
    search = Search("small", ["multi_digits.gin"], space, 2, cooldown=Cooldown(0.5), **given)
    found = mtk.search(search, tmp_path / "study", Here)
    assert found.exit_code == 0
    (trial,) = found.complete
    assert trial.cost == pytest.approx(1 + 4 / 12)
    # It paused at 4 for the rung 8, and for the end at 6, that is at the evaluation of step 8.
    for folder, begin, end in ((trial.further[1], 4, 8), (trial.runs[0], 8, 12)):
        config.parse()
        bound = {**settings, **trial.point, **Cooldown(0.5).bindings(begin, end)}
        statements = mtk.study.spec.bindings(bound)
        experiment.launch(["multi_digits.gin"], statements, str(tmp_path / f"{end}"))
        assert compare_runs.differences(folder, tmp_path / f"{end}") == ["result.json"]
