"""A search and its folder, with fake runs."""

import itertools
import os
import re
import signal
import subprocess

import pytest
from fake_engine import FakeEngine, finish
from searches import RATE, ROOT, Folder, losses_at

import mtk
from mtk.errors import StudyError
from mtk.search import PBT, Constraint, Cooldown, Preference, Random, Search, Sobol, Space
from mtk.study import StudyFolder, scheduler
from tests.quick import some


def points(found):
    return [trial.point for trial in found.trials]


def test_finds_the_front_within_the_budget(folder):
    engine = FakeEngine(folder.outcome)
    found = folder.go(engine)
    assert found.exit_code == 0
    assert len(engine.started) == len(set(engine.started)) == len(found.trials) == 7
    assert len(found.chosen) == 5  # Two of the seven had a worse learning rate.
    assert {trial.point[RATE] for trial in found.chosen} == {0.1}
    first = [trial.losses["left"] for trial in found.chosen]
    assert first == sorted(first)
    assert all(trial.runs[0].name in str(found) for trial in found.chosen)


@pytest.mark.slow
def test_finished_search_is_shown_on_a_read_only_file_system(folder, bind):
    before = str(folder.go())
    bind(folder.path, folder.path)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder.path], check=True)
    asked = {"folders": [ROOT / "configs"], "study_dir": folder.path}
    assert str(mtk.search(folder.search(), **asked)) == before


def test_progress_line_per_trial_with_hypervolume_and_front(folder):
    folder.go()
    lines = [line for line in folder.said.getvalue().splitlines() if line.startswith("trial")]
    assert len(lines) == 7
    assert "hypervolume" in lines[-1]
    assert "front of 5" in lines[-1]


@pytest.mark.parametrize("seed", some(range(40), range(2)))
@pytest.mark.parametrize("at_a_time", [1, 3])
def test_random_kills_do_not_change_the_front(folder, tmp_path, at_a_time, seed):
    undisturbed = type(folder)(tmp_path / "other", folder.space).go(at_a_time=at_a_time)
    found = folder.go_through_kills(seed, at_a_time=at_a_time)
    assert points(found) == points(undisturbed)
    assert [t.losses for t in found.trials] == [t.losses for t in undisturbed.trials]
    assert str(found) == str(undisturbed)


def test_finished_search_starts_nothing_and_a_larger_budget_extends_it(folder):
    first = folder.go()
    idle = FakeEngine(folder.outcome)
    assert points(folder.go(idle)) == points(first)
    assert not idle.started
    more = FakeEngine(folder.outcome)
    further = folder.go(more, runs=9)
    assert len(more.started) == 2
    assert points(further)[:7] == points(first)


def test_signal_stops_and_the_same_call_continues(folder):
    def outcome(path, run, number):
        if len(engine.started) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        folder.outcome(path, run, number)

    engine = FakeEngine(outcome)
    assert folder.go(engine).exit_code == 75
    assert "Run the same command again to continue" in folder.said.getvalue()
    rest = FakeEngine(folder.outcome)
    assert folder.go(rest).exit_code == 0
    assert len(engine.started) + len(rest.started) == 7


def test_concurrent_searches_share_the_runs(folder):
    inner = FakeEngine(folder.outcome)

    def outcome(path, run, number):
        folder.outcome(path, run, number)
        if len(outer.started) == 3:
            assert folder.go(inner).exit_code == 0

    outer = FakeEngine(outcome, slots=1)
    assert folder.go(outer).exit_code == 0
    assert not {*outer.started} & {*inner.started}
    assert len(outer.started) + len(inner.started) == 7


def test_diverged_and_failed_trials_do_not_affect_others(folder):
    """High learning rates diverge, one run fails; the others finish, and failures are reported."""

    def outcome(path, run, number):
        rate = folder.point(run)[RATE]
        if rate > 0.2:
            finish(path, run, "diverged")
        elif rate < 0.05:
            folder.searcher().folder.fail(run, "no such data")
        else:
            folder.outcome(path, run, number)

    found = folder.go(FakeEngine(outcome), runs=9)
    assert found.exit_code == 1
    assert len(found.trials) == 9
    assert sum(trial.losses is None for trial in found.trials) == 2
    assert len(found.chosen) == 7
    assert "no such data" in folder.said.getvalue()
    assert folder.go(FakeEngine(folder.outcome), True, runs=9).exit_code == 0


def test_search_stops_when_the_first_run_fails(folder):
    engine = FakeEngine(lambda path, run, number: folder.searcher().folder.fail(run, "no data"))
    found = folder.go(engine, runs=30)
    assert found.exit_code == 1
    assert len(engine.started) == 1
    assert "no data" in folder.said.getvalue()


def test_other_learning_rates_are_tried_when_all_diverge(folder):
    found = folder.go(FakeEngine(lambda path, run, number: finish(path, run, "diverged")), runs=9)
    assert found.exit_code == 1
    assert len({trial.point[RATE] for trial in found.trials}) == 9
    assert found.chosen == []
    assert "lower learning rates" in folder.said.getvalue()


def test_losses_are_averaged_over_seeds(folder):
    def outcome(path, run, number):
        finish(path, run, losses=[(1.0, 2.0), (2.0, 1.0)][folder.entry(run)["seed"]])

    found = folder.go(FakeEngine(outcome), runs=2, seeds=(0, 1))
    assert found.trials[0].losses == {"left": 1.5, "right": 1.5}
    assert len(found.trials[0].runs) == 2


def test_trial_has_no_losses_if_one_of_its_seeds_diverges(folder):
    def outcome(path, run, number):
        finish(path, run, ["finished", "diverged"][folder.entry(run)["seed"]])

    found = folder.go(FakeEngine(outcome), runs=2, seeds=(0, 1))
    assert found.trials[0].losses is None
    assert len(found.trials[0].runs) == 2
    assert found.chosen == []


def test_confirmation_runs_count_in_the_budget_of_runs(folder):
    engine = FakeEngine(folder.outcome)
    found = folder.go(engine, runs=15, confirm=2)
    assert len(found.trials) == 5
    again = len(engine.started) - 5
    assert again == 2 * len(found.chosen)
    listed = folder.searcher(runs=15, confirm=2).folder.listed(folder.search().study)
    assert [entry["stage"] for entry in listed].count("measure") == again


def test_budget_of_cpu_seconds(folder):
    def outcome(path, run, number):
        folder.outcome(path, run, number)
        folder.searcher().folder.run_log.note(run, "finished", 1.0, cpu_seconds=10.0)

    found = folder.go(FakeEngine(outcome), runs=20, cpu_seconds=45.0)
    assert found.exit_code == 0
    assert len(found.trials) == 4
    assert "45 CPU seconds" in folder.said.getvalue()


def test_confirmation_runs_count_in_the_budget_of_cpu_seconds(tmp_path):
    """Trials that stop at a rung cost a tenth of a run, confirmation runs a whole one."""
    space = Space(["left", "right"], log_uniform={RATE: (1e-4, 10.0)})
    folder, taken, length = Folder(tmp_path / "study", space), {}, 40

    def outcome(path, run, number):
        folder.outcome(path, run, number)
        step = StudyFolder(path).pause_at(run) or length
        cost = float(step - taken.get(run, 0))
        StudyFolder(path).run_log.note(run, "finished", 1.0, cpu_seconds=cost)
        taken[run] = step

    asked = {"runs": 400, "confirm": 4, "rungs": (4,), "sampler": Random}
    found = folder.go(FakeEngine(outcome), cpu_seconds=1300.0, **asked)
    assert sum(trial.paused_at is not None for trial in found.trials) > 10
    assert len(found.chosen) >= 5
    assert 1300 - 2 * length < sum(taken.values()) <= 1300
    assert "800 s are reserved for confirmation" in folder.said.getvalue()


def test_preference_finds_its_optimum(folder):
    found = folder.go(goal=Preference({"left": 3.0, "right": 1.0}), runs=12)
    (best,) = found.chosen
    # 3 (1 - w)^2 + w^2 has its minimum at 3/4.
    assert best.point["combiners.StaticWeights.weights"]["left"] == pytest.approx(0.75, abs=0.06)


def test_constraint_finds_the_best_feasible_trial(folder):
    goal = Constraint("left", worse=0.2, best="right")
    found = folder.go(goal=goal, runs=14)
    (best,) = found.chosen
    assert any(t.point["combiners.StaticWeights.weights"]["left"] == 1.0 for t in found.trials)
    # The single-task loss is 0.3; the bound is 0.36, so (1 - w)^2 <= 0.06.
    assert best.losses["left"] <= 0.36
    assert best.losses["right"] == pytest.approx(0.3 + (1 - 0.06**0.5) ** 2, abs=0.03)


@pytest.mark.parametrize("most", [0.05, 0.0])
def test_diverged_single_task_run_is_retried_at_other_learning_rates(folder, most):
    """The best learning rate of all tasks is too high when one task has all the weight."""

    def is_alone(point):
        return point["combiners.StaticWeights.weights"]["left"] == 1.0

    def outcome(path, run, number):
        point = folder.point(run)
        if is_alone(point) and point[RATE] > most:
            finish(path, run, "diverged")
        else:
            folder.outcome(path, run, number)

    goal = Constraint("left", worse=0.5, best="right")
    found = folder.go(FakeEngine(outcome), goal=goal, runs=14)
    alone = [trial for trial in found.trials if is_alone(trial.point)]
    assert sum(trial.losses is not None for trial in alone) == (most > 0)
    assert len({trial.point[RATE] for trial in alone}) == len(alone) > 1
    if most > 0:
        (best,) = found.chosen
        assert best.losses["left"] <= 1.5 * alone[-1].losses["left"]
    else:
        assert found.exit_code == 1
        assert "no single-task run of left" in folder.said.getvalue()


def test_unsatisfied_constraint_is_reported(folder):
    found = folder.go(goal=Constraint("left", at_most=0.1))
    assert found.exit_code == 1
    assert len(found.trials) == 7
    assert found.chosen == []
    assert "no trial meets the bound left at most 0.1; the closest has" in folder.said.getvalue()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"runs": 0}, "budget of 0 runs"),
        ({"runs": None, "cpu_seconds": 60.0}, "`runs` must be the total number"),
        ({"goal": Preference}, "`goal` must be an object"),
        ({"runs": 2, "seeds": (0, 1, 2)}, "budget of 2 runs"),
        ({"runs": 10, "confirm": 2}, "10 for confirmation"),
        ({"cpu_seconds": 30.0, "run_minutes": 1.0}, "30.0 CPU seconds"),
        ({"cpu_seconds": 0.0}, "0.0 CPU seconds"),
        (
            {"cpu_seconds": 600.0, "runs": 20, "run_minutes": 1.0, "confirm": 2},
            "10 for confirmation",
        ),
        ({"at_a_time": 0}, "at_a_time"),
        ({"seeds": ()}, "no seeds"),
        ({"goal": Preference({"middle": 1.0})}, "'middle'"),
        ({"goal": Preference({"left": 0.0})}, "positive"),
        ({"goal": Constraint("left", worse=0.1, best="left")}, "another task"),
        ({"settings": {RATE: 0.1}}, RATE),
        ({"settings": ["a"]}, "`settings` must be a dict"),
        ({"configs": "mine.gin"}, "`configs` must be a list"),
        ({"space": {}}, "`space` must be an mtk.search.Space"),
        ({"name": 3}, "`name` must be a string"),
        ({"sampler": "TwoStage"}, "`sampler` must be a class"),
        ({"cpu_seconds": "1h"}, "`cpu_seconds` must be a number"),
        ({"keep": None}, "`keep` must be the share"),
        ({"cooldown": "a", "rungs": (9,)}, "`cooldown` must be an object"),
        ({"pbt": 84}, "`pbt` must be an object"),
        ({"seeds": 3}, "`seeds` must be a list"),
        ({"seeds": ("0",)}, "`seeds` must be integers"),
        ({"seeds": (-1,)}, "`seeds` must be integers"),
        ({"goal": Preference({"left": "3"})}, "0 or more"),
        ({"goal": Preference({"left": float("inf")})}, "0 or more"),
        ({"goal": Preference("left")}, "{task: weight}"),
    ],
)
def test_invalid_searches_raise(folder, changes, named):
    with pytest.raises(StudyError, match=".*") as caught:
        folder.search(**changes)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Space(None), "`tasks` must be a list"),
        (lambda: Space("left"), "`tasks` must be a list"),
        (lambda: Space([1, 2]), "must be strings.*1"),
        (lambda: Space(["a", "b"], weights=3), "`weights` must be the name"),
        (lambda: Space(["a", "b"], least_weight="0.1"), "`least_weight` must be a number"),
        (lambda: Space(["a", "b"], log_uniform=[(RATE, (0.1, 1))]), "`log_uniform` must be"),
        (lambda: Space(["a", "b"], uniform={RATE: ("0.1", "1")}), "two numbers"),
        (lambda: Space(["a", "b"], choices={RATE: 3}), "list of choices"),
        (lambda: Constraint("left", at_most="0.3"), "finite number.*'0.3'"),
        (lambda: Constraint("left", worse=float("nan")), "finite number.*nan"),
        (lambda: PBT(84, factor="1.5"), "`factor` must be a number"),
        (lambda: Cooldown("0.2"), "between 0 and 1.*'0.2'"),
        (lambda: mtk.search(None, "s"), r"mtk\.search\.Search.*None"),
    ],
)
def test_values_of_a_wrong_type_raise(make, named):
    with pytest.raises(StudyError, match=named):
        make()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"study_dir": ""}, "`study_dir` must be the path"),
        ({"study_dir": None}, "`study_dir` must be the path"),
        ({"study_dir": __file__}, "is a file"),
        ({"folders": "configs"}, "`folders` must be a list"),
    ],
)
def test_invalid_folders_raise(given, named, tmp_path):
    search = Search("s", ["multi_digits.gin"], Space(["left", "right"]), 9)
    with pytest.raises(ValueError, match=named):
        mtk.search(search, **{"study_dir": tmp_path / "s", **given})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"space": Space(["left", "right"])}, "space"),
        ({"sampler": Sobol}, "sampler"),
        ({"goal": Preference({"left": 1.0})}, "goal"),
        ({"seeds": (1,)}, "seeds"),
        ({"settings": {"experiment.Training.epochs": 5}}, "settings"),
        ({"name": "another"}, "another"),
    ],
)
def test_folder_of_another_search_raises_and_is_unchanged(folder, changes, named):
    folder.go(runs=2)
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    with pytest.raises(StudyError, match=named):
        folder.go(**changes)
    assert before == {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()}


def test_folder_of_a_study_raises(folder):
    folder.path.mkdir()
    (folder.path / "study.json").write_text('{"name": "small", "runs": []}')
    with pytest.raises(StudyError, match="not a search"):
        folder.go()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-9],
        lambda text: re.sub(r"(\d)(?=,?\n)", lambda m: str((int(m[1]) + 1) % 10), text, count=1),
        lambda text: text.replace("learning_rate", "learning_rat", 2),
    ],
    ids=["cut", "digit", "name"],
)
def test_damaged_record_raises_and_can_be_removed(folder, change):
    found = folder.go()
    record = folder.path / "search.json"
    record.write_text(change(record.read_text()))
    with pytest.raises(StudyError, match=r"search\.json"):
        folder.go()
    record.unlink()
    (folder.path / "study.json").unlink()
    idle = FakeEngine(folder.outcome)
    assert points(folder.go(idle)) == points(found)
    assert not idle.started


def test_misspelled_parameter_raises_before_any_run(folder):
    space = Space(["left", "right"], uniform={"experiment.Optimization.clip_nor": (0.1, 1.0)})
    with pytest.raises(StudyError, match="clip_norm"):
        folder.searcher(space=space)
    assert not folder.path.exists()


@pytest.mark.parametrize(
    "given",
    [
        {"choices": {"experiment.Optimization.batch_size": (128, "many")}},
        {"uniform": {"experiment.Optimization.weight_decay": (0.0, -1.0)}},
        {"log_uniform": {"experiment.Optimization.batch_size": (0.5, 64.0)}},
    ],
)
def test_invalid_value_raises_before_any_run(folder, given):
    with pytest.raises(StudyError) as caught:
        folder.searcher(space=Space(["left", "right"], **given))
    assert next(iter(next(iter(given.values())))).rpartition(".")[2] in str(caught.value)
    assert not folder.path.exists()


def test_weights_that_another_combiner_does_not_read_raise_before_any_run(folder):
    """All runs would be the same, and would be reported as static weights."""
    files = ["multi_digits.gin", "combiners/pcgrad.gin"]
    with pytest.raises(StudyError, match="would not read combiners.StaticWeights.weights.*PCGrad"):
        folder.searcher(configs=files)
    assert not folder.path.exists()
    space = Space(["left", "right"], weights=None, log_uniform={RATE: (0.01, 1.0)})
    assert folder.searcher(configs=files, space=space)


def test_unknown_task_raises(folder):
    space = Space(["left", "write"])
    with pytest.raises(StudyError, match="'write'"):
        folder.go(FakeEngine(lambda path, run, number: finish(path, run)), space=space)


def test_choices_may_be_tuples(folder, tmp_path):
    choices = {"experiment.Logging.profile_steps": [(1, 2), (2, 3)]}
    other = type(folder)(tmp_path / "tuples", Space(["left", "right"], choices=choices))
    first = other.go(runs=5)
    idle = FakeEngine(other.outcome)
    assert points(other.go(idle, runs=5)) == points(first)
    assert not idle.started


def test_module_is_callable(monkeypatch):
    called = []
    monkeypatch.setattr(mtk.search, "search", lambda *given: called.append(given))
    mtk.search(Search, "there")
    assert called == [(Search, "there")]


def test_progress_counts_trials_within_a_budget_of_cpu_seconds(folder):
    def outcome(path, run, number):
        folder.outcome(path, run, number)
        folder.searcher().folder.run_log.note(run, "finished", 1.0, cpu_seconds=10.0)

    folder.go(FakeEngine(outcome), runs=20, cpu_seconds=45.0)
    assert "trial 4/4: " in folder.said.getvalue()


@pytest.mark.parametrize(
    ("minutes", "told"), [(None, "time left unknown"), (1.0, "1:00 left"), (2.0, "2:00 left")]
)
def test_paused_runs_count_in_the_estimated_time(folder, minutes, told):
    """Regression test: a paused run counts as done, but continues later."""
    folder.go(runs=2, at_a_time=2, rungs=(4,), keep=0.9, run_minutes=minutes, sampler=Random)
    paused = [line for line in folder.said.getvalue().splitlines() if "paused at step" in line]
    assert len(paused) == 2
    assert all(told in line for line in paused)


def test_estimated_time_uses_the_duration_of_finished_trials(folder, monkeypatch):
    """Regression test: time spent in one run must not reduce the estimates of later runs."""
    clock = itertools.count(0, 7)
    monkeypatch.setattr(scheduler.time, "monotonic", lambda: next(clock))
    folder.go(FakeEngine(folder.outcome, slots=1), runs=3, sampler=Random)
    first = next(line for line in folder.said.getvalue().splitlines() if "finished, " in line)
    seconds = int(re.search(r"after (\d+) s", first)[1])
    assert seconds > 0
    assert f" {2 * seconds // 60}:{2 * seconds % 60:02} left" in first


def test_confirmed_trials_are_reported(folder):
    def outcome(path, run, number):
        entry = folder.entry(run)
        finish(path, run, losses=losses_at(folder.space, folder.point(run)) + entry["seed"])

    engine = FakeEngine(outcome)
    found = folder.go(engine, runs=15, confirm=2)
    assert [each.trial for each in found.confirmed] == found.chosen
    for trial, losses, runs in found.confirmed:
        assert len(runs) == 2
        assert losses == pytest.approx({k: v + 1.5 for k, v in trial.losses.items()})
    again = folder.go(runs=15, confirm=2)
    assert str(again) == str(found)
    assert "fresh(right)" in str(found)
