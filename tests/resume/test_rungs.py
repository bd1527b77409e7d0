"""A run that pauses at rungs equals an uninterrupted run, and writes its results there."""

import json
from dataclasses import replace
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
from mtk.experiment import Checkpoints, Optimization, Training, rungs
from mtk.experiment.plan import Plan
from mtk.search import Random, Search, Space
from mtk.study.engines import Here, Local
from tests.quick import slow, some

RATE = "experiment.Optimization.learning_rate"
# Ten steps with an evaluation every four.
KILLS = [
    (2, "stepped"),
    (4, "on_test_begin"),
    (4, "evaluated"),
    (6, "stepped"),
    (8, "on_test_begin"),
    (8, "evaluated"),
    (9, "stepped"),
]


def rung(folder, step):
    return json.loads((folder / "rungs" / f"{step}.json").read_text())


def sessions(folder):
    return [x["first_step"] for x in json.loads((folder / "manifest.json").read_text())["sessions"]]


@pytest.mark.slow
@pytest.mark.parametrize("pauses", [[(3, 4)], slow([(3, 4), (8, 8)])])
def test_paused_run_is_bitwise_equal_to_an_uninterrupted_run(tiny, undisturbed, tmp_path, pauses):
    run = tmp_path / "run"
    for asked, step in pauses:
        result = start(tiny, run, every=0.0, pause_at=asked)
        assert result == rung(run, asked)
        assert (result["status"], result["steps"]) == ("paused", step)
        assert not (run / "result.json").exists()
    assert start(tiny, run, every=0.0)["status"] == "finished"
    assert sessions(run) == [0, *(step for _, step in pauses)]  # No step is taken twice.
    assert compare_runs.differences(run, undisturbed) == []
    for asked, step in pauses:
        assert losses(rung(run, asked)) == recorded(undisturbed, step)


def losses(result):
    return {task: own["loss"] for task, own in result["validation"]["tasks"].items()}


def recorded(folder, step):
    keys = {"step": step, "split": "validation", "name": "loss"}
    lines = (x for x in read_metrics(folder) if x["task"] and keys.items() <= x.items())
    return {x["task"]: x["value"] for x in lines}


@pytest.mark.slow
@pytest.mark.parametrize(("step", "moment"), KILLS)
def test_run_killed_before_a_rung_resumes(tiny, undisturbed, tmp_path, monkeypatch, step, moment):
    run = tmp_path / "run"
    crash(monkeypatch, step, moment)
    crashed = 0
    for pause_at in (4, 8, None):
        try:
            start(tiny, run, every=0.0, pause_at=pause_at)
        except CrashError:
            crashed += 1
            start(tiny, run, every=0.0, pause_at=pause_at)
    assert crashed == 1
    assert compare_runs.differences(run, undisturbed) == []
    assert [losses(rung(run, each)) for each in (4, 8)] == [
        recorded(undisturbed, each) for each in (4, 8)
    ]


@pytest.mark.slow
def test_missing_rung_file_is_written_again_without_training(tiny, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(rungs, "write", lambda *given: (_ for _ in ()).throw(CrashError()))
        with pytest.raises(CrashError):
            start(tiny, run, every=0.0, pause_at=4)
    first = start(tiny, run, every=0.0, pause_at=4)
    start(tiny, run, every=0.0, pause_at=8)
    (run / "rungs" / "4.json").unlink()
    # The log still has the evaluation, although the run has continued.
    assert start(tiny, run, every=0.0, pause_at=4) == first
    assert sessions(run) == [0, 4, 4, 8]


@pytest.mark.slow
def test_run_that_ends_before_its_rung_is_finished(tiny, tmp_path):
    stops = {"learning_rate": 1e-30, "patience": 1, "steps": 40}
    result = start(tiny, tmp_path / "run", every=0.0, pause_at=20, **stops)
    assert (result["status"], result["steps"]) == ("finished", 8)
    diverged = start(tiny, tmp_path / "other", every=0.0, pause_at=8, learning_rate=1e30)
    assert diverged["status"] == "diverged"
    assert not list(tmp_path.glob("*/rungs"))


@pytest.mark.parametrize("pause_at", [9, 10, 11, 1000])
def test_pause_at_or_after_the_end_is_refused(tiny, tmp_path, pause_at):
    with pytest.raises(ValueError, match="in a run of 10 steps with an evaluation every 4"):
        start(tiny, tmp_path / "run", pause_at=pause_at)
    assert not (tmp_path / "run").exists()


def test_pause_at_must_be_positive():
    with pytest.raises(ValueError, match="pause_at"):
        Checkpoints(pause_at=0)


@pytest.mark.parametrize("every", [1, 3, 7, 50])
def test_pauses_are_at_evaluations(every):
    plan = Plan(100, 10, every, None, 32, 0)
    for step in range(1, 101):
        expected = next(s for s in range(step, 200) if s % every == 0)
        if expected < 100:
            assert rungs.evaluation_at(plan, step) == expected
        else:
            with pytest.raises(ValueError, match="Choose an earlier step"):
                rungs.evaluation_at(plan, step)


def constant_then_linear(learning_rate, steps_per_epoch):
    """Returns a schedule that falls to zero at step 10 and becomes negative."""

    class Linear(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return learning_rate * (1.0 - float(step) / 10)

    return Linear()


def cosine(epochs, warmup=1):
    """Returns a schedule for epochs of one step."""
    return lambda learning_rate, steps_per_epoch: schedules.Cosine(learning_rate, 1, epochs, warmup)


def decay(**given):
    return lambda learning_rate, steps_per_epoch: schedules.StepDecay(learning_rate, 1, **given)


def keras_own(name, **given):
    make = getattr(keras.optimizers.schedules, name)
    return lambda learning_rate, steps_per_epoch: make(learning_rate, **given)


REFUSED = {
    "a cosine over the whole length": cosine(10),
    "a longer cosine": cosine(25),
    "a cosine behind a warm-up": cosine(10, warmup=3),
    "linear, without an end": constant_then_linear,
    "polynomial": keras_own("PolynomialDecay", decay_steps=10),
    "cosine of Keras": keras_own("CosineDecay", decay_steps=10),
    "a last drop": lambda learning_rate, steps_per_epoch: (
        keras.optimizers.schedules.PiecewiseConstantDecay([7], [learning_rate, 0.01])
    ),
}
ACCEPTED = {
    "none": None,
    "step decay": decay(every=2),
    "inverse square root": lambda learning_rate, steps_per_epoch: schedules.InverseSqrt(
        learning_rate, warmup=2
    ),
    "exponential": keras_own("ExponentialDecay", decay_steps=4, decay_rate=0.9),
    "a cosine that is over": cosine(4),
}


def check(tiny, compare_at=(4, 8), mixed=False, combiner=StaticWeights, **given):
    training = Training(steps=10, evaluate_every=4)
    optimization = Optimization(batch_size=32, **given)
    numerics = experiment.Numerics(precision="mixed_float16" if mixed else "float32")
    experiment.check(
        tiny,
        training,
        combiner,
        optimization=optimization,
        numerics=numerics,
        further=partial(rungs.check, rungs=compare_at) if compare_at else None,
    )


@pytest.mark.parametrize("name", some([*REFUSED], ["a cosine over the whole length"]))
def test_schedules_with_a_fixed_end_are_refused(tiny, name):
    with pytest.raises(ValueError, match="cannot be compared at step 4") as caught:
        check(tiny, schedule=REFUSED[name])
    assert "Search without rungs" in str(caught.value)
    check(tiny, (), schedule=REFUSED[name])  # Without rungs it is accepted.


@pytest.mark.parametrize("name", some([*ACCEPTED], ["step decay"]))
def test_schedules_without_a_fixed_end_are_accepted(tiny, name):
    check(tiny, schedule=ACCEPTED[name])


@pytest.mark.parametrize(("steps", "refused"), [(10, True), (4, False)])
def test_schedules_of_task_weights_are_checked(tiny, steps, refused):
    fade = keras.optimizers.schedules.PolynomialDecay(0.0, steps, end_learning_rate=1.0)
    combiner = partial(StaticWeights, schedule={"left": fade})
    if refused:
        with pytest.raises(ValueError, match="PolynomialDecay, the schedule of the weight of left"):
            check(tiny, combiner=combiner)
    else:
        check(tiny, combiner=combiner)


@pytest.mark.slow
def test_schedule_inside_a_loss_scale_optimizer_is_checked(tiny):
    with pytest.raises(ValueError, match="Cosine"):
        check(tiny, mixed=True, schedule=cosine(10))
    check(tiny, mixed=True)


@pytest.mark.parametrize(
    ("compare_at", "named"),
    [((4, 9), "step 9"), ((2, 4), "between any two rungs"), ((10,), "step 10")],
)
def test_rungs_without_separate_evaluations_are_refused(tiny, compare_at, named):
    with pytest.raises(ValueError, match=named):
        check(tiny, compare_at)


@pytest.mark.slow
@pytest.mark.parametrize("asked", [4, None])
def test_launch_with_pause_at(tmp_path, asked):
    """The pause is an argument of `launch` and not part of the configuration."""
    lines = [
        "experiment.Training.epochs = None",
        "experiment.Training.steps = 8",
        "experiment.Training.evaluate_every = 4",
        "experiment.Optimization.batch_size = 16",
    ]
    result = experiment.launch(["multi_digits.gin"], lines, str(tmp_path / "run"), pause_at=asked)
    assert result["status"] == ("finished" if asked is None else "paused")
    settings = json.loads((tmp_path / "run/checkpoints/run.json").read_text())["settings"]
    assert not [name for name in settings if "pause_at" in name]
    assert config.asked()
    assert np.isfinite([*losses(result).values()]).all()


@pytest.mark.slow
@pytest.mark.parametrize("engine", [Here, partial(Local, workers=2)])
def test_runs_of_a_search_with_rungs_equal_uninterrupted_runs(tmp_path, engine):
    """Each run that passes all rungs is bitwise equal to an uninterrupted run."""
    settings = {
        "experiment.Training.epochs": None,
        "experiment.Training.steps": 12,
        "experiment.Training.evaluate_every": 4,
        "experiment.Optimization.batch_size": 16,
    }
    space = Space(["left", "right"], log_uniform={RATE: (1e-5, 1.0)})
    given = {"settings": settings, "sampler": Random, "at_a_time": 2}
    search = Search("small", ["multi_digits.gin"], space, 4, **given)
    found = mtk.search(replace(search, rungs=(4, 8)), tmp_path / "study", engine)
    undisturbed = mtk.search(search, tmp_path / "undisturbed", engine)
    assert found.complete
    for trial, other in zip(found.trials, undisturbed.trials, strict=True):
        assert trial.point == other.point
        if trial.paused_at is None:
            assert trial.losses == other.losses
            assert sessions(trial.runs[0]) == [0, 4, 8]
            assert compare_runs.differences(trial.runs[0], other.runs[0]) == []
