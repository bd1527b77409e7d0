"""Population based training with fake runs, whose losses follow from their lineage."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fake_engine import FakeEngine, finish, pause
from searches import RATE, Folder

from mtk.errors import StudyError
from mtk.search import PBT, Constraint, Front, Preference, Sobol, Space
from mtk.study import StudyFolder
from tests.quick import some

WEIGHTS = "combiners.StaticWeights.weights"
BRANCH = "experiment.Checkpoints.branch_from"
STEPS, EVERY = 40, 5
PLAN = {"steps": STEPS, "steps_per_epoch": 10, "evaluate_every": EVERY, "patience": None}
PLAN |= {"batch_size": 8, "seed": 0, "sealed": False}
GIVEN = {"runs": 8, "sampler": Sobol, "pbt": PBT(interval=10)}
# The best weights change during training: first the left task learns, then the right one.
EARLY, LATE = np.array([0.8, 0.2]), np.array([0.2, 0.8])


def gain(weights, step):
    """Returns what a step adds to the learning progress of each task."""
    best = EARLY if step < STEPS // 2 else LATE
    return 0.05 * np.sqrt(weights * best)


@pytest.fixture
def space():
    return Space(["left", "right"])


class PopulationFolder(Folder):
    """Runs whose state is the learning progress of each task."""

    def outcome(self, path, run, number):
        del number
        study = StudyFolder(path)
        bound = self.point(run)
        until = study.pause_at(run)
        begin, learnt = self.state(study, run, bound)
        weights = self.space.weights_of(bound)
        for step in range(begin, STEPS if until is None else until):
            learnt = learnt + gain(weights, step)
        losses = np.exp(-learnt)
        if until is None:
            finish(path, run, losses=losses)
        else:
            said = {"name": "mean_loss", "direction": "min", "value": float(losses.mean())}
            pause(path, run, until, losses, plan=PLAN, monitor=said)
            kept = study.run_dir(run) / "rungs" / str(until)
            kept.mkdir(exist_ok=True)
            (kept / "state.json").write_text(json.dumps(learnt.tolist()))
            (study.run_dir(run) / "own.json").write_text(json.dumps([until, learnt.tolist()]))

    def state(self, study, run, bound):
        """Returns the initial state of a run: its own pause, that of its parent, or zeros."""
        own = study.run_dir(run) / "own.json"
        if own.exists():
            step, learnt = json.loads(own.read_text())
            return step, np.array(learnt)
        if BRANCH not in bound:
            return 0, np.zeros(2)
        parent, step = bound[BRANCH]
        kept = study.run_dir(parent) / "rungs" / str(step) / "state.json"
        return step, np.array(json.loads(kept.read_text()))


@pytest.fixture
def folder(tmp_path, space):
    return PopulationFolder(tmp_path / "study", space)


def outcomes(found):
    return [(t.point, t.losses, t.paused_at, t.schedule, t.runs[0].name) for t in found.trials]


def progress_of(space, trial):
    """Returns the learning progress of a trial, computed from its reported schedule."""
    learnt, begin = np.zeros(2), 0
    for until, point in (*trial.schedule, (trial.paused_at or STEPS, trial.point)):
        for step in range(begin, until):
            learnt = learnt + gain(space.weights_of(point), step)
        begin = until
    return learnt


def test_all_members_that_are_not_replaced_finish(folder):
    found = folder.go(FakeEngine(folder.outcome), **GIVEN)
    assert found.exit_code == 0
    assert len(found.complete) == 8
    # A quarter of the population is replaced at the end of each interval but the last.
    assert len(found.trials) == 8 + 3 * 2
    (best,) = found.chosen
    assert sum(best.losses.values()) == min(sum(t.losses.values()) for t in found.complete)
    changed = next(trial for trial in found.complete if trial.schedule)
    text = str(replace(found, selected=changed))
    assert all(f"until step {step}" in text for step, _ in changed.schedule)


@pytest.mark.parametrize("seed", range(3))
def test_adapted_weights_beat_all_fixed_weights(space, seed):
    """The best weights change half way; with enough intervals PBT adapts."""
    pbt, learnt = PBT(interval=2, seed=seed), np.zeros((8, 2))
    points = Sobol(space).ask(8)
    for step in range(STEPS):
        learnt = learnt + [gain(space.weights_of(point), step) for point in points]
        if step % 2 and step < STEPS - 1:
            costs = np.exp(-learnt).mean(1).tolist()
            after = pbt.advance(space, points, costs, [True] * 8, step)
            learnt, points = learnt[[one.parent for one in after]], [one.point for one in after]
    fixed = np.stack([np.linspace(0.05, 0.95, 91), np.linspace(0.95, 0.05, 91)], 1)
    most = np.exp(-sum(gain(fixed, step) for step in range(STEPS))).mean(1).min()
    assert np.exp(-learnt).mean(1).min() < most - 0.005


def test_losses_follow_from_the_reported_schedule(folder, space):
    for trial in folder.go(**GIVEN).trials:
        expected = np.exp(-progress_of(space, trial))
        np.testing.assert_allclose([*trial.losses.values()], expected, rtol=1e-12)


def test_only_the_worst_members_are_replaced_by_perturbed_best_ones(folder, space):
    folder.go(**GIVEN)
    rounds = json.loads((folder.path / "search.json").read_text())["rounds"]
    assert [len(each) for each in rounds] == [8] * 4
    points, learnt = rounds[0], np.zeros((8, 2))
    for number, after in enumerate(rounds[1:]):
        weights = np.array([space.weights_of(point) for point in points])
        for step in range(10 * number, 10 * number + 10):
            learnt = learnt + np.array([gain(each, step) for each in weights])
        order = np.exp(-learnt).mean(1).argsort()
        for place, said in enumerate(after):
            if place in order[-2:]:
                assert said["parent"] in order[:2]
                ratio = space.weights_of(said["point"]) / weights[said["parent"]]
                assert ratio[0] != pytest.approx(ratio[1])
                # Each was multiplied by at most 1.5 or its inverse, up to a common factor.
                assert 1 < max(ratio) / min(ratio) < 1.5**2 + 0.01
            else:
                assert said == {"parent": place, "point": points[place]}
        learnt = learnt[[said["parent"] for said in after]]
        points = [said["point"] for said in after]


def test_configuration_names_the_parent_run(folder):
    found = folder.go(**GIVEN)
    for trial in found.trials:
        bound = folder.entry(trial.runs[0].name)["bindings"]
        assert (BRANCH in bound) == bool(trial.schedule)
        if trial.schedule:
            parent, step = bound[BRANCH]
            assert step == trial.schedule[-1][0]
            assert folder.entry(parent)["bindings"][WEIGHTS] == trial.schedule[-1][1][WEIGHTS]
            config = (folder.path / "configs" / f"{trial.runs[0].name}.gin").read_text()
            assert parent in config
    # Each run has one configuration, and checkpoints of pauses are deleted.
    assert len({trial.runs[0].name for trial in found.trials}) == len(found.trials)
    assert not list(folder.path.glob("runs/*/rungs/*/"))


@pytest.mark.parametrize("seed", some(range(40), range(1)))
def test_random_kills_do_not_change_the_population(folder, tmp_path, seed):
    # A failed run has no state to copy, which would change the population.
    expected = PopulationFolder(tmp_path / "other", folder.space).go(**GIVEN)
    found = folder.go_through_kills(seed, most_deaths=3, **GIVEN)
    assert outcomes(found) == outcomes(expected)
    assert str(found) == str(expected)


def test_concurrent_searches_share_the_runs(folder):
    inner = FakeEngine(folder.outcome)

    def outcome(path, run, number):
        folder.outcome(path, run, number)
        if len(outer.started) == 11:
            assert folder.go(inner, **GIVEN).exit_code == 0

    outer = FakeEngine(outcome, slots=1)
    assert folder.go(outer, **GIVEN).exit_code == 0
    assert len(outer.started) + len(inner.started) == 8 * 4


def test_diverged_runs_are_replaced_and_never_copied(folder):
    def outcome(path, run, number):
        study = StudyFolder(path)
        heavy = folder.space.weights_of(folder.point(run))[0] > 0.6
        if heavy and BRANCH not in folder.point(run) and study.pause_at(run) == 20:
            finish(path, run, "diverged")
        else:
            folder.outcome(path, run, number)

    found = folder.go(FakeEngine(outcome), **GIVEN)
    lost = {trial.runs[0].name for trial in found.trials if trial.losses is None}
    assert len(lost) > 1
    assert len(found.complete) == 8
    later = [t for t in found.trials if t.schedule and t.schedule[-1][0] >= 20]
    assert later
    assert not {folder.entry(t.runs[0].name)["bindings"][BRANCH][0] for t in later} & lost


def test_search_fails_when_all_runs_diverge(folder):
    found = folder.go(FakeEngine(lambda path, run, number: finish(path, run, "diverged")), **GIVEN)
    assert found.exit_code == 1
    assert len(found.trials) == 8
    assert found.chosen == []


def test_preference_steers_the_population(folder, space):
    left = folder.go(goal=Preference({"left": 1.0}), **GIVEN).chosen[0]
    right = PopulationFolder(folder.path.with_name("other"), space)
    right = right.go(goal=Preference({"right": 1.0}), **GIVEN).chosen[0]
    assert left.losses["left"] < right.losses["left"]
    assert right.losses["right"] < left.losses["right"]


def test_confirmation_replays_the_schedule_with_fresh_seeds(folder):
    engine = FakeEngine(folder.outcome)
    found = folder.go(engine, **{**GIVEN, "runs": 10}, confirm=2)
    (best,) = found.chosen
    listed = StudyFolder(folder.path).listed(folder.search().study)
    again = [entry for entry in listed if entry.get("stage") == "measure"]
    assert len(again) == 2 * (len(best.schedule) + 1)
    for seed in (1, 2):
        own = [e["bindings"][WEIGHTS] for e in again if e["seed"] == seed]
        assert own == [point[WEIGHTS] for _, point in (*best.schedule, (None, best.point))]
    # Their losses equal those of the original: here the seed has no effect.
    study = StudyFolder(folder.path)
    last = [e["hash"] for e in again if e["bindings"][WEIGHTS] == best.point[WEIGHTS]]
    for run in last:
        np.testing.assert_allclose(study.losses(run), [*best.losses.values()])
    (confirmed,) = found.confirmed
    assert [run.name for run in confirmed.runs] == last
    assert confirmed.losses == pytest.approx(best.losses)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"runs": 1}, "two or more runs"),
        ({"runs": 2, "confirm": 1}, "two or more runs"),
        ({"rungs": (10,)}, "cannot be combined with rungs"),
        ({"at_a_time": 2}, "at_a_time"),
        ({"seeds": (0, 1)}, "seeds"),
        ({"cpu_seconds": 60.0}, "cpu_seconds"),
        ({"goal": Front()}, "front"),
        ({"goal": Constraint("left", worse=0.1)}, "single-task runs"),
        ({"space": Space(["left", "right"], weights=None, log_uniform={RATE: (0.1, 1.0)})}, "none"),
    ],
)
def test_options_incompatible_with_populations_raise(folder, changes, named):
    with pytest.raises(StudyError, match=named):
        folder.search(**{**GIVEN, **changes})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"interval": 0}, "interval"),
        ({"interval": 1.5}, "interval"),
        ({"interval": 1, "share": 0.6}, "share"),
        ({"interval": 1, "share": 0.0}, "share"),
        ({"interval": 1, "factor": 1.0}, "factor"),
    ],
)
def test_invalid_arguments_of_pbt_raise(changes, named):
    with pytest.raises(StudyError, match=named):
        PBT(**changes)


def test_equal_points_raise(folder):
    """At equal weights and without other parameters all runs would be the same run."""
    from mtk.search import TwoStage

    with pytest.raises(StudyError, match="too few different points"):
        folder.go(**{**GIVEN, "sampler": lambda **given: TwoStage(**given, tuning=8)})


def test_other_population_size_in_the_same_folder_raises(folder):
    folder.go(**GIVEN)
    with pytest.raises(StudyError, match="population"):
        folder.go(**{**GIVEN, "runs": 9})


@pytest.mark.parametrize("tasks", [2, 3, 7])
@pytest.mark.parametrize("seed", range(5))
def test_perturbed_points_are_distinct_and_in_the_space(tasks, seed):
    space = Space(
        [f"{n}" for n in range(tasks)],
        log_uniform={RATE: (0.01, 1.0)},
        uniform={"a.b": (0.0, 0.5)},
        choices={"a.c": (1, 2, 4)},
    )
    draw = np.random.default_rng(seed)
    points = [space.point(draw.random(space.size)) for _ in range(9)]
    pbt, costs = PBT(interval=1, share=0.4, seed=seed), draw.random(9)
    for generation in range(30):
        after = pbt.advance(space, points, costs, [True] * 9, generation)
        for place, one in enumerate(after):
            weights = space.weights_of(one.point)
            assert weights.sum() == pytest.approx(1.0)
            assert weights.min() >= space.least_weight - 1e-4 * tasks
            assert 0.01 <= one.point[RATE] <= 1.0
            assert 0.0 <= one.point["a.b"] <= 0.5
            assert one.point["a.c"] in (1, 2, 4)
            assert all(one.point != each.point for each in after[:place])
        assert pbt.advance(space, points, costs, [True] * 9, generation) == after
        points = [one.point for one in after]


def test_only_members_with_a_state_are_copied(space):
    points = [space.point(np.array([x])) for x in (0.1, 0.3, 0.5, 0.7)]
    pbt = PBT(interval=1)
    after = pbt.advance(space, points, [1.0, 2.0, 3.0, np.inf], [False, True, True, False], 1)
    assert [one.parent for one in after] == [0, 1, 2, 1]
    nobody = pbt.advance(space, points, [np.inf] * 4, [False] * 4, 1)
    assert [one.parent for one in nobody] == [0, 1, 2, 3]
