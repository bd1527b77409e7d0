"""Searches with learning rate cooldowns at their rungs, with fake runs."""

import json
import re

import numpy as np
import pytest
from fake_engine import FakeEngine, finish, pause
from searches import RATE, Folder, losses_at

from mtk.errors import StudyError
from mtk.search import Cooldown, Random, Space
from mtk.study import State, StudyFolder
from tests.quick import some

BRANCH = "experiment.Checkpoints.branch_from"
LENGTH = "experiment.Training.steps"
FROM = "schedules.WarmupStableDecay.decay_from"
STEPS, EVERY = 100, 5
PLAN = {"steps": STEPS, "evaluate_every": EVERY}
GIVEN = {"runs": 12, "rungs": (20, 50), "sampler": Random, "cooldown": Cooldown(0.3)}
# Steps at which the trunk pauses, and the next evaluations, where the cooldowns branch off.
PAUSES, BRANCHES = (14, 35, 70), (15, 35, 70)


@pytest.fixture
def space():
    """So wide that most learning rates are clearly worse than others."""
    return Space(["left", "right"], log_uniform={RATE: (0.0001, 10.0)})


class CooldownFolder(Folder):
    """Trunks report useless losses; `taken` records the steps that each run has taken."""

    taken: dict

    def outcome(self, path, run, number):
        del number
        study, bound = StudyFolder(path), self.point(run)
        until = study.pause_at(run)
        if BRANCH in bound:
            trunk, asked = bound[BRANCH]
            assert (study.run_dir(trunk) / "rungs" / str(asked)).is_dir()
            begin = study.paused(trunk, asked)["steps"]
            assert bound[FROM] == begin
            assert (until, bound["experiment.Training.epochs"]) == (None, None)
            self.note(run, begin, bound[LENGTH])
            finish(path, run, losses=losses_at(self.space, bound) + 10 / bound[LENGTH])
            return
        step = -(-until // EVERY) * EVERY
        self.note(run, max(self.taken.get(run, [0])), step)
        pause(path, run, until, (9.0, 9.0), steps=step, plan=PLAN)
        record = study.run_dir(run) / "rungs" / f"{until}.json"
        record.write_text(json.dumps({**json.loads(record.read_text()), "steps": step}))
        (study.run_dir(run) / "rungs" / str(until)).mkdir(exist_ok=True)

    def note(self, run, first, last):
        steps = self.taken.setdefault(run, [])
        assert not set(steps) & {*range(first + 1, last + 1)}
        steps += range(first + 1, last + 1)


@pytest.fixture
def folder(tmp_path, space):
    made = CooldownFolder(tmp_path / "study", space)
    made.taken = {}
    return made


def outcomes(found):
    return [(t.point, t.losses, t.paused_at, t.runs, t.further, t.cost) for t in found.trials]


def test_rungs_compare_branches_and_the_trunk_continues(folder, space):
    found = folder.go(**GIVEN)
    assert found.exit_code == 0
    assert {trial.paused_at for trial in found.trials} >= {None, 20}
    ends = {20: 1, 50: 2, None: 3}
    for trial in found.trials:
        number = ends[trial.paused_at]
        trunk, *before = trial.further
        length = trial.paused_at or STEPS
        expected = losses_at(space, trial.point) + 10 / length
        np.testing.assert_allclose([*trial.losses.values()], expected)
        # The trunk took each step once, up to the last pause; each branch only its cooldown.
        assert folder.taken[trunk.name] == [*range(1, BRANCHES[number - 1] + 1)]
        branches = [folder.taken[run.name] for run in (*before, *trial.runs)]
        expected = zip(BRANCHES, (20, 50, STEPS)[:number], strict=False)
        assert branches == [[*range(first + 1, last + 1)] for first, last in expected]
    assert not list(folder.path.glob("runs/*/rungs/*/"))


def test_cooldowns_count_in_the_budget_of_runs(folder):
    found = folder.go(**GIVEN)
    costs = {20: 1 + 0.05, 50: 1 + 0.05 + 0.15, None: 1 + 0.05 + 0.15}
    for trial in found.trials:
        assert trial.cost == pytest.approx(costs[trial.paused_at])
    spent = sum(trial.cost for trial in found.trials)
    # Without cooldowns there would be twelve trials.
    assert 12 - 1.2 < spent <= 12
    assert len(found.trials) < 12


def test_trunks_and_branches_count_in_the_budget_of_cpu_seconds(folder):
    def outcome(path, run, number):
        folder.outcome(path, run, number)
        StudyFolder(path).run_log.note(run, "finished", 1.0, cpu_seconds=1.0)

    found = folder.go(FakeEngine(outcome), **GIVEN, cpu_seconds=40.0)
    starts = sum({20: 2, 50: 4, None: 6}[trial.paused_at] for trial in found.trials)
    each = starts / len(found.trials)
    assert starts <= 40 + each
    assert len(found.trials) < 12
    assert "CPU seconds" in folder.said.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("seed", some(range(40), range(1)))
@pytest.mark.parametrize("at_a_time", some([1, 3], [3]))
def test_random_kills_do_not_change_the_result(folder, tmp_path, at_a_time, seed):
    other = CooldownFolder(folder.path, folder.space)
    other.path, other.taken = tmp_path / "other", {}
    expected = other.go(**GIVEN, at_a_time=at_a_time)
    found = folder.go_through_kills(seed, **GIVEN, at_a_time=at_a_time)
    assert [t[:3] for t in outcomes(found)] == [t[:3] for t in outcomes(expected)]
    assert folder.taken == other.taken
    assert str(found) == str(expected)


def test_diverged_trunk_has_no_losses_and_finished_trunk_has(folder, space):
    def outcome(path, run, number):
        study, rate = StudyFolder(path), folder.point(run)[RATE]
        if BRANCH not in folder.point(run) and study.pause_at(run) == PAUSES[1] and rate < 0.1:
            finish(path, run, "diverged")
        elif rate > 0.4:
            finish(path, run, losses=losses_at(space, folder.point(run)))
        else:
            folder.outcome(path, run, number)

    found = folder.go(FakeEngine(outcome), **GIVEN)
    lost = [trial for trial in found.trials if trial.losses is None]
    assert lost
    assert all(trial.point[RATE] < 0.1 for trial in lost)
    early = [trial for trial in found.trials if trial.point[RATE] > 0.4]
    assert early
    assert all(not trial.further for trial in early)
    assert found.exit_code == 0


def test_confirmation_runs_have_the_same_cooldown_without_a_branch(folder):
    def outcome(path, run, number):
        entry = folder.entry(run)
        if entry["seed"] > 0:
            assert BRANCH not in entry["bindings"]
            finish(path, run)
        else:
            folder.outcome(path, run, number)

    found = folder.go(FakeEngine(outcome), **{**GIVEN, "runs": 17}, confirm=1)
    study = StudyFolder(folder.path)
    again = [e for e in study.listed(folder.search().study) if e.get("stage") == "measure"]
    assert len(again) == min(5, len(found.chosen))
    for entry in again:
        assert (entry["bindings"][FROM], entry["bindings"][LENGTH]) == (BRANCHES[-1], STEPS)
        assert study.state(entry["hash"]) is State.FINISHED


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda folder: Cooldown(0.0), "fraction"),
        (lambda folder: Cooldown(1.0), "fraction"),
        (lambda folder: Cooldown(0.2, "cosine"), "shape"),
        (lambda folder: folder.search(**{**GIVEN, "rungs": ()}), "Set `rungs`"),
    ],
)
def test_invalid_cooldowns_raise(folder, make, named):
    with pytest.raises(StudyError, match=named):
        make(folder)


def test_other_cooldown_in_the_same_folder_raises(folder):
    folder.go(**{**GIVEN, "runs": 2})
    with pytest.raises(StudyError, match="cooldown"):
        folder.go(**{**GIVEN, "cooldown": Cooldown(0.2)})


def test_progress_estimates_the_number_of_trials_with_cooldown_costs(folder):
    found = folder.go(**GIVEN)
    counts = re.findall(r"trial (\d+)/(\d+)", folder.said.getvalue())
    numbers = [(int(number), int(total)) for number, total in counts]
    assert numbers[-1] == (len(found.trials), len(found.trials))
    assert len(found.trials) < GIVEN["runs"]
    assert all(number < total <= GIVEN["runs"] for number, total in numbers[:-1])
