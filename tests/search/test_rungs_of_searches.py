"""Successive halving at the rungs of a search, with fake runs."""

import itertools

import numpy as np
import pytest
from fake_engine import FakeEngine, finish, pause
from searches import RATE, losses_at

from mtk.errors import StudyError
from mtk.search import Constraint, Front, Preference, Random, Space
from mtk.search.goals import Seen
from mtk.search.halving import Halving
from mtk.search.samplers import Trial
from mtk.study import StudyFolder
from tests.quick import some

RUNGS = {"runs": 12, "rungs": (10, 30), "sampler": Random}


@pytest.fixture
def space():
    """So wide that most learning rates are clearly worse than others."""
    return Space(["left", "right"], log_uniform={RATE: (0.0001, 10.0)})


def outcomes(found):
    return [(trial.point, trial.losses, trial.paused_at) for trial in found.trials]


def test_trials_stop_at_rungs_and_only_complete_trials_are_chosen(folder):
    engine = FakeEngine(folder.outcome)
    found = folder.go(engine, **RUNGS)
    assert found.exit_code == 0
    assert len(found.trials) == 12
    stopped = [trial for trial in found.trials if trial.paused_at is not None]
    assert 4 <= len(stopped) < 12
    assert len(found.complete) == 12 - len(stopped)
    assert all(trial.paused_at is None for trial in found.chosen)
    # A run is started once per rung that it reaches, and once to finish.
    number = {None: 3, 30: 2, 10: 1}
    assert len(engine.started) == sum(number[trial.paused_at] for trial in found.trials)
    said = folder.said.getvalue()
    assert "stopped at step 10, losses" in said
    assert f"{len(stopped)} stopped at a rung" in said


def test_without_rungs_no_run_pauses(folder):
    found = folder.go(runs=4)
    assert not any(trial.paused_at for trial in found.trials)
    assert not (folder.path / "pauses").exists()


@pytest.mark.parametrize("seed", some(range(40), range(1)))
@pytest.mark.parametrize("at_a_time", some([1, 4], [4]))
def test_random_kills_do_not_change_the_result(folder, tmp_path, at_a_time, seed):
    undisturbed = type(folder)(tmp_path / "other", folder.space)
    expected = undisturbed.go(at_a_time=at_a_time, **RUNGS)
    found = folder.go_through_kills(seed, at_a_time=at_a_time, **RUNGS)
    assert outcomes(found) == outcomes(expected)
    assert str(found) == str(expected)


def test_concurrent_searches_share_the_runs(folder):
    inner = FakeEngine(folder.outcome)

    def outcome(path, run, number):
        folder.outcome(path, run, number)
        if len(outer.started) == 5:
            assert folder.go(inner, **RUNGS).exit_code == 0

    outer = FakeEngine(outcome, slots=1)
    found = folder.go(outer, **RUNGS)
    assert found.exit_code == 0
    number = {None: 3, 30: 2, 10: 1}
    expected = sum(number[trial.paused_at] for trial in found.trials)
    assert len(outer.started) + len(inner.started) == expected


def test_finished_search_starts_nothing_and_a_larger_budget_extends_it(folder):
    first = folder.go(**RUNGS)
    idle = FakeEngine(folder.outcome)
    assert outcomes(folder.go(idle, **RUNGS)) == outcomes(first)
    assert not idle.started
    assert outcomes(folder.go(**{**RUNGS, "runs": 16}))[:12] == outcomes(first)


def test_diverged_and_failed_trials_do_not_affect_others(folder):
    def outcome(path, run, number):
        rate, step = folder.point(run)[RATE], StudyFolder(path).pause_at(run)
        if rate > 0.4 and step is not None:
            finish(path, run, "diverged")
        elif 0.05 < rate < 0.2 and step != 10:
            StudyFolder(path).fail(run, "no such data")
        else:
            folder.outcome(path, run, number)

    found = folder.go(FakeEngine(outcome), **RUNGS)
    assert found.exit_code == 1
    assert len(found.trials) == 12
    lost = [trial for trial in found.trials if trial.losses is None]
    assert {trial.paused_at for trial in lost} == {None}
    assert any(trial.point[RATE] > 0.4 for trial in lost)
    assert any(trial.point[RATE] < 0.2 for trial in lost)
    assert found.chosen
    assert "no such data" in folder.said.getvalue()
    # Failed runs are resumed from their last pause, before the second rung.
    again = FakeEngine(folder.outcome)
    assert folder.go(again, True, **RUNGS).exit_code == 0
    failed = {t.runs[0].name for t in lost if t.point[RATE] < 0.4}
    assert failed <= {*again.started}


def test_trial_with_nan_losses_at_a_rung_is_stopped(folder):
    def outcome(path, run, number):
        step = StudyFolder(path).pause_at(run)
        if folder.point(run)[RATE] < 0.3:
            pause(path, run, step, (float("nan"), 1.0))
        else:
            folder.outcome(path, run, number)

    found = folder.go(FakeEngine(outcome), **RUNGS)
    slow = [trial for trial in found.trials if trial.point[RATE] < 0.3]
    assert slow
    assert all(trial.losses is None for trial in slow)
    assert found.exit_code == 0


def test_run_that_finished_before_its_rung_counts(folder):
    found = folder.go(
        FakeEngine(lambda path, run, number: finish(path, run, losses=folder_losses(folder, run))),
        **RUNGS,
    )
    assert found.exit_code == 0
    for trial in found.trials:
        assert list(trial.losses.values()) == list(losses_at(folder.space, trial.point))


def folder_losses(folder, run):
    return losses_at(folder.space, folder.point(run))


def test_seeds_are_averaged_at_a_rung(folder):
    engine = FakeEngine(folder.outcome)
    found = folder.go(engine, runs=12, seeds=(0, 1), rungs=(10,), sampler=Random)
    assert len(found.trials) == 6
    assert all(len(trial.runs) == 2 for trial in found.trials)
    assert any(trial.paused_at for trial in found.trials)


def test_single_task_runs_are_never_stopped(folder):
    goal = Constraint("left", worse=0.2, best="right")
    found = folder.go(goal=goal, runs=14, rungs=(10, 30))
    alone = [t for t in found.trials if t.point["combiners.StaticWeights.weights"]["left"] == 1.0]
    assert len(alone) == 1
    assert alone[0].paused_at is None


class Exhausted(Random):
    """Proposes no more than five points."""

    def propose(self, number):
        return super().propose(min(number, max(0, 5 - len(self.trials))))


class Broken(Random):
    """Raises after five points."""

    def propose(self, number):
        if len(self.trials) >= 5:
            raise RuntimeError("the sampler has lost its thread")
        return super().propose(number)


def test_exhausted_sampler_ends_the_search(folder):
    found = folder.go(**{**RUNGS, "sampler": Exhausted})
    assert found.exit_code == 0
    assert len(found.trials) == 5
    assert "no more points to try" in folder.said.getvalue()


def test_search_continues_after_a_sampler_raised(folder):
    with pytest.raises(RuntimeError, match="lost its thread"):
        folder.go(**{**RUNGS, "sampler": Broken})
    # After the fix the search continues: the five trials are not repeated.
    Broken.propose, broken = Random.propose, Broken.propose
    try:
        engine = FakeEngine(folder.outcome)
        found = folder.go(engine, **{**RUNGS, "sampler": Broken})
    finally:
        Broken.propose = broken
    assert len(found.trials) == 12
    assert not {trial.runs[0].name for trial in found.trials[:5]} & {*engine.started}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rungs": (10, 20)}, "rungs"),
        ({"rungs": ()}, "rungs"),
        ({"keep": 0.5}, "keep"),
        ({"space": Space(["left", "right"], log_uniform={RATE: (0.1, 1.0)})}, "space"),
    ],
)
def test_folder_of_another_search_raises_and_is_unchanged(folder, changes, named):
    folder.go(**{**RUNGS, "runs": 2})
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    with pytest.raises(StudyError, match=named):
        folder.go(**{**RUNGS, **changes})
    assert before == {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rungs": (30, 10)}, "increasing numbers"),
        ({"rungs": (10, 10)}, "increasing numbers"),
        ({"rungs": (0, 10)}, "increasing numbers"),
        ({"rungs": (0.1,)}, "increasing numbers"),
        ({"rungs": 10}, "increasing numbers"),
        ({"rungs": "10"}, "increasing numbers"),
        ({"rungs": (10,), "keep": 1.0}, "keep"),
        ({"rungs": (10,), "keep": 0}, "keep"),
    ],
)
def test_invalid_rungs_raise(folder, changes, named):
    with pytest.raises(StudyError, match=named):
        folder.search(**changes)


@pytest.mark.parametrize("order", [*itertools.permutations((10, 30, None)), (30, 10)])
def test_pause_only_moves_forward(folder, order):
    folder.go(runs=1)
    study = StudyFolder(folder.path)
    for step in order:
        study.set_pause("run", step)
    assert study.pause_at("run") == (None if None in order else 30)


# Selection of the trials that continue.


def trials_of(space, losses):
    point = space.at(np.full(len(space.tasks), 1 / len(space.tasks)), {RATE: 0.1})
    return [Trial(point, None if row is None else tuple(row)) for row in losses]


@pytest.mark.parametrize("seed", range(20))
def test_best_share_continues_for_any_grouping_of_trials(space, seed):
    """For a scalar goal: a trial continues if it is in the best share of the trials so far."""
    draw = np.random.default_rng(seed)
    losses, came = draw.random((17, 2)), 0
    halving = Halving(Preference({"left": 1.0, "right": 2.0}), space, 1 / 3)
    means = losses @ [1, 2]
    while came < len(losses):
        number = min(int(draw.integers(1, 5)), len(losses) - came)
        found = halving.go_on(0, trials_of(space, losses[came : came + number]))
        before, came = came, came + number
        better = [(means[:came] < means[before + place]).sum() for place in range(number)]
        assert found == [place for place in range(number) if better[place] < came / 3]


def test_exact_share_continues_when_all_trials_come_together(space):
    losses = np.random.default_rng(0).random((27, 2))
    goal = Preference({"left": 1.0})
    assert len(Halving(goal, space, 1 / 3).go_on(0, trials_of(space, losses))) == 9
    assert len(Halving(goal, space, 0.1).go_on(0, trials_of(space, losses))) == 3


def test_trials_without_losses_do_not_continue(space):
    halving = Halving(Front(), space, 0.5)
    assert halving.go_on(0, trials_of(space, [None, None])) == []
    assert halving.go_on(0, trials_of(space, [(1.0, 1.0), None])) == [0]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("tasks", [2, 3])
def test_ranks_of_a_front_equal_the_definition(seed, tasks):
    """The definition: one more than the worst rank of the trials that clearly dominate it."""
    losses = np.random.default_rng(seed).random((25, tasks))
    seen = Seen([f"{n}" for n in range(tasks)], np.full((25, tasks), 1 / tasks), losses)
    ranks = Front().ranks(seen)
    front = losses[Front().chosen(seen)]
    width = front.max(0) - front.min(0)
    margin = 0.25 * (width if len(front) > 1 else front[0])
    behind = {
        (one, other)
        for one, other in itertools.product(range(25), repeat=2)
        if all(losses[one][k] - losses[other][k] >= margin[k] for k in range(tasks))
    }
    for one in range(25):
        better = [ranks[other] for other in range(25) if (one, other) in behind]
        assert ranks[one] == max(better, default=-1) + 1


def test_whole_front_continues_and_clearly_dominated_trials_stop(space):
    weights = np.linspace(0.05, 0.95, 10)
    front = np.stack([(1 - weights) ** 2, weights**2], 1)
    trials = trials_of(space, [*front, *(front + 0.05), *(front + 0.9)])
    assert Halving(Front(), space, 0.2).go_on(0, trials) == list(range(20))
    # The result is the same for one trial at a time.
    halving = Halving(Front(), space, 0.2)
    gone = [place for place, trial in enumerate(trials) if halving.go_on(0, [trial])]
    assert gone == list(range(20))


def test_margin_of_a_single_trial_is_a_quarter_of_its_losses(space):
    halving = Halving(Front(), space, 0.01)
    losses = [(1.0, 1.0), (1.2, 1.2), (1.3, 1.3), (1.3, 0.9)]
    assert [halving.go_on(0, trials_of(space, [row])) for row in losses] == [[0], [0], [], [0]]
