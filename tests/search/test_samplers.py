"""The points that samplers propose."""

from typing import Any

import numpy as np
import pytest
from searches import RATE, losses_at

from mtk.errors import StudyError
from mtk.search import (
    Bisection,
    Constraint,
    Front,
    Optuna,
    Preference,
    Random,
    Sampler,
    Search,
    Sobol,
    Space,
    TwoStage,
)
from mtk.search.goals import Seen

ALL = [TwoStage, Bisection, Optuna, Random, Sobol]


def searched(make, space, number, at_a_time=1, **given):
    sampler = make(space, budget=number, **given)
    while len(sampler.trials) < number:
        points = sampler.ask(min(at_a_time, number - len(sampler.trials)))
        if not points:
            break
        for point in points:
            sampler.tell(point, losses_at(space, point))
    return sampler


def volume(space, sampler):
    """Returns the hypervolume relative to a corner just outside the true front."""
    from mtk.analysis import hypervolume

    losses = np.array([trial.losses for trial in sampler.finished])
    return hypervolume(losses, np.full(len(space.tasks), 1.4))


@pytest.mark.parametrize("make", ALL)
def test_proposals_are_a_function_of_the_recorded_trials(make, space):
    """Hence a search that is resumed after a kill proposes the same points."""
    whole = searched(make, space, 12)
    for known in range(12):
        again = make(space, budget=12)
        for trial in whole.trials[:known]:
            again.tell(*trial)
        assert again.ask(1) == [whole.trials[known].point]


# Bisection needs two tasks.
@pytest.mark.parametrize(
    ("make", "tasks"), [(TwoStage, 2), (TwoStage, 3), (TwoStage, 4), (Bisection, 2)]
)
@pytest.mark.parametrize("worse", [0.02, 0.1, 0.3])
def test_weights_are_at_least_the_least_weight_except_in_single_task_runs(make, worse, tasks):
    """Also between the last trial and the single-task run, where a tight bound leads."""
    space = Space([f"t{n}" for n in range(tasks)], least_weight=0.1)
    sampler = searched(make, space, 24, goal=Constraint("t0", worse=worse))
    weights = np.array([space.weights_of(trial.point) for trial in sampler.trials])
    alone = weights.max(1) == 1
    assert alone.sum() == 1
    assert (weights[~alone] >= space.least_weight - 1e-3).all()


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_points_are_in_the_space(make, tasks):
    names = [f"t{number}" for number in range(tasks)]
    space = Space(
        names,
        log_uniform={RATE: (0.01, 1.0)},
        uniform={"dropout": (0.0, 0.5)},
        choices={"layers": (2, 3, 4)},
    )
    if make is Bisection and tasks != 2:
        with pytest.raises(StudyError, match="two tasks"):
            make(space)
        return
    sampler = searched(make, space, 15, at_a_time=4)
    for trial in sampler.trials:
        weights = space.weights_of(trial.point)
        assert weights.sum() == pytest.approx(1)
        assert (weights >= space.least_weight - 1e-3).all()
        assert 0.01 <= trial.point[RATE] <= 1.0
        assert 0.0 <= trial.point["dropout"] <= 0.5
        assert trial.point["layers"] in (2, 3, 4)
    assert len({repr(trial.point) for trial in sampler.trials}) == len(sampler.trials)


@pytest.mark.parametrize("make", [TwoStage, Bisection])
@pytest.mark.parametrize("at_a_time", [1, 3])
def test_samplers_beat_random_search(make, at_a_time, space):
    placed = volume(space, searched(make, space, 9, at_a_time))
    drawn = [volume(space, searched(Random, space, 9, seed=seed)) for seed in range(20)]
    assert placed > max(np.mean(drawn), volume(space, searched(Sobol, space, 9)))


def test_the_first_stage_finds_the_learning_rate(space):
    sampler = searched(TwoStage, space, 12)
    assert sampler.tuning == 4
    first = [space.weights_of(trial.point) for trial in sampler.trials[:4]]
    assert np.allclose(first, 0.5)
    assert {trial.point[RATE] for trial in sampler.trials[4:]} == {0.1}


def test_small_budget_tries_values_on_both_sides_of_the_first(space):
    assert [TwoStage(space, budget=number).tuning for number in (3, 5, 6, 8, 9, 12)] == [
        *(1, 1, 3, 3, 3, 4)
    ]
    first = [point[RATE] for point in TwoStage(space, budget=6).ask(3)]
    assert min(first) < first[0] < max(first)


@pytest.mark.parametrize("optimum", [0.012, 0.03, 0.1, 0.2, 0.9])
def test_more_trials_of_the_first_stage_come_closer_to_the_optimum(space, optimum):
    """The optimum lies between the values tried so far, or beyond them."""

    def nearest(tuning):
        sampler = TwoStage(space, tuning=tuning)
        for _ in range(tuning):
            (point,) = sampler.ask(1)
            cost = np.log(point[RATE] / optimum) ** 2
            sampler.tell(point, (1 + cost, 1 + cost))
        assert sampler.is_tuned
        return abs(np.log(sampler.best_others()[RATE] / optimum))

    assert nearest(9) < 0.35 * max(nearest(3), 0.3)


def tuned(space, means, rate=RATE, tuning=3):
    """Returns the value after the first stage, whose mean losses are `means(coordinate)`."""
    sampler = TwoStage(space, tuning=tuning)
    for _ in range(tuning):
        (point,) = sampler.ask(1)
        mean = means(float(space.coordinates(point)[0]))
        sampler.tell(point, (mean, 3 * mean))
    (point,) = sampler.ask(1)
    assert not np.allclose(space.weights_of(point), 0.5)
    return float(space.coordinates(point)[0]), [t.point[rate] for t in sampler.trials], point[rate]


@pytest.mark.parametrize("optimum", [0.25, 0.28, 0.3, 0.38, 0.62, 0.7, 0.72, 0.75])
@pytest.mark.parametrize("curvature", [0.01, 1.0, 300.0])
def test_first_stage_finds_the_minimum_of_a_parabola(space, optimum, curvature):
    found, _, _ = tuned(space, lambda x: 1 + curvature * (x - optimum) ** 2)
    assert found == pytest.approx(optimum, abs=2e-3)


@pytest.mark.parametrize(
    ("means", "nearest"),
    [
        (lambda x: 1 + (x - 0.52) ** 2, 1 / 2),  # Too close to a tried value for another run.
        (lambda x: 2 - (x - 0.6) ** 2, 1 / 6),  # The parabola has no minimum.
        (lambda x: 2.0, 1 / 2),
    ],
)
def test_first_stage_may_return_a_tried_value(space, means, nearest):
    found, tried, rate = tuned(space, means)
    assert rate in tried
    assert found == pytest.approx(nearest, abs=1e-3)


@pytest.mark.parametrize("slope", [-1.0, 1.0])
def test_extrapolation_goes_at_most_half_way_to_the_limit(space, slope):
    found, _, _ = tuned(space, lambda x: np.exp(slope * x))
    assert found == pytest.approx(1 / 12 if slope > 0 else 11 / 12, abs=2e-3)


def test_diverged_trials_are_excluded_from_the_parabola(space):
    sampler = TwoStage(space, tuning=3)
    for losses in ((1.0, 1.0), (2.0, 2.0), None):
        sampler.tell(*sampler.ask(1), losses)
    assert sampler.best_others() == space.others_of(sampler.trials[0].point)


def test_points_are_dense_where_losses_change_fast():
    """On a steep front, gaps are even in the losses and not in the weights."""
    space = Space(["left", "right"], least_weight=0.01)

    def losses(point):
        first = space.weights_of(point)[0]
        return (np.exp(-30 * first), 1 - np.exp(-30 * first))

    sampler = TwoStage(space)
    for _ in range(12):
        (point,) = sampler.ask(1)
        sampler.tell(point, losses(point))
    weights = np.array([space.weights_of(trial.point)[0] for trial in sampler.trials])
    assert (weights < 0.2).sum() >= 6


def test_preference_finds_nearly_the_best_weights():
    """If no candidate is expected to improve on the best trial, its nearest candidate is tried."""
    curvature = np.array([1.0, 10.0])

    def losses(weights):
        optimum = weights * curvature / (weights @ curvature)
        return 1 + curvature * ((optimum - np.eye(2)) ** 2).sum(1)

    every = np.array([losses(np.array([w, 1 - w])) for w in np.linspace(0.02, 0.98, 193)])
    regrets = []
    for share in np.linspace(0.05, 0.95, 10):
        importance = np.array([share, 1 - share]) / np.ptp(every, axis=0)
        goal = Preference(dict(zip(("a", "b"), importance, strict=True)))
        sampler = TwoStage(Space(["a", "b"], least_weight=0.02), goal, budget=9)
        for _ in range(9):
            (point,) = sampler.ask(1)
            sampler.tell(point, losses(sampler.space.weights_of(point)))
        means = np.array([trial.losses for trial in sampler.trials]) @ importance
        regrets.append(means.min() - (every @ importance).min())
    assert np.mean(regrets) < 0.007


def test_bisection_uses_the_normal_of_the_chord():
    space = Space(["left", "right"])
    sampler = Bisection(space)
    known = [(0.5, 0.5), (0.95, 0.05), (0.05, 0.95)]
    losses = {0.5: (1.0, 1.0), 0.95: (0.8, 4.0), 0.05: (4.0, 0.8)}
    for weights in known:
        sampler.tell(space.at(np.array(weights), {}), losses[weights[0]])
    (point,) = sampler.ask(1)
    # Equal weighted losses at both ends of a chord: 0.2 w = 3 (1 - w), or its mirror image.
    first = space.weights_of(point)[0]
    assert min(first, 1 - first) == pytest.approx(0.2 / 3.2, abs=1e-4)


@pytest.mark.parametrize(
    "losses",
    [
        {0.5: (1.0, 1.0), 0.95: (0.8, 0.9), 0.05: (2.0, 1.5)},  # Each dominates the next one.
        # The normals point beyond the ends.
        {0.5: (1.0, 1.0), 0.95: (0.9, 1.01), 0.05: (1.01, 0.9)},
    ],
)
def test_bisection_halves_a_gap_without_a_valid_normal(losses):
    space = Space(["left", "right"])
    sampler = Bisection(space)
    for first, told in losses.items():
        sampler.tell(space.at(np.array([first, 1 - first]), {}), told)
    (point,) = sampler.ask(1)
    assert space.weights_of(point)[0] in (pytest.approx(0.725), pytest.approx(0.275))


def test_exhausted_sampler_proposes_nothing():
    space = Space(["left", "right"], least_weight=0.49)
    sampler = searched(TwoStage, space, 50)
    assert len(sampler.trials) < 10
    assert sampler.ask(1) == []


def test_non_finite_losses_count_as_diverged(space):
    sampler = Random(space)
    for losses in ([np.nan, 1.0], [np.inf, 1.0], None):
        sampler.tell(sampler.ask(1)[0], losses)
    assert not sampler.finished


def test_hypervolume_is_normalized_by_the_box():
    losses = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0], [2.0, 2.0]])
    seen = Seen(["a", "b"], np.full((4, 2), 0.5), losses)
    # A box of side 1.1: three rectangles, counted without their overlap.
    expected = 1.1 * 0.1 + 0.6 * 0.5 + 0.1 * 0.5
    assert Front().value(seen)(losses) == pytest.approx(expected / 1.21)
    assert Front().chosen(seen) == [0, 1, 2]


def test_single_task_run_sets_the_bound_but_is_not_chosen():
    """Its other heads are untrained, so their losses are meaningless."""
    goal = Constraint("a", worse=0.1, best="b")
    weights = np.array([[0.5, 0.5], [1.0, 0.0], [0.8, 0.2]])
    seen = Seen(["a", "b"], weights, np.array([[2.0, 0.3], [1.0, 0.1], [1.09, 0.4]]))
    assert goal.chosen(seen) == [2]
    short = Seen(["a", "b"], weights[:2], seen.losses[:2])
    assert goal.chosen(short) == []
    assert "the closest has 2" in goal.words(short)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"tasks": ()}, "weights"),
        ({"tasks": ["left"]}, "two or more tasks"),
        ({"tasks": "left"}, "two or more tasks"),
        ({"tasks": ["left", "left"]}, "two or more tasks"),
        ({"least_weight": 0.5}, "least_weight"),
        ({"least_weight": 0.0}, "least_weight"),
        ({"log_uniform": {"x": (0.0, 1.0)}}, "'x'"),
        ({"log_uniform": {"x": (1.0, 1.0)}}, "'x'"),
        ({"uniform": {"x": (1.0, 0.0)}}, "'x'"),
        ({"uniform": {"x": (1.0,)}}, "'x'"),
        ({"uniform": {"x": "ab"}}, "'x'"),
        ({"uniform": {"x": (0.0, float("nan"))}}, "'x'"),
        ({"choices": {"x": ()}}, "'x'"),
        ({"choices": {"x": "ab"}}, "'x'"),
        ({"choices": {"x": (1,)}, "uniform": {"x": (0, 1)}}, "twice"),
        ({"uniform": {"combiners.StaticWeights.weights": (0, 1)}}, "twice"),
    ],
)
def test_invalid_spaces_raise(given, named):
    with pytest.raises(StudyError) as caught:
        Space(**{"tasks": ["left", "right"], **given})
    assert named in str(caught.value)


@pytest.mark.parametrize("make", [TwoStage, Optuna, Random, Sobol])
def test_space_without_weights_searches_the_other_parameters(make):
    space = Space(["left", "right"], weights=None, log_uniform={RATE: (0.01, 1.0)})
    sampler = searched(make, space, 8)
    assert len({trial.point[RATE] for trial in sampler.trials}) == len(sampler.trials) == 8
    assert all({*trial.point} == {RATE} for trial in sampler.trials)
    nothing = Space(["left", "right"], weights=None)
    assert nothing.size == 0
    assert searched(TwoStage, nothing, 3).trials == [({}, (0.55, 0.55))]


class Answers(Sampler):
    """Proposes the value of its class attribute."""

    answer: Any = None

    def propose(self, number):
        return type(self).answer


@pytest.mark.parametrize("answer", [None, "a", 3, [None], [{}], [{"rate": 0.1}], {"rate": 0.1}])
def test_invalid_proposals_raise(answer, monkeypatch):
    monkeypatch.setattr(Answers, "answer", answer)
    with pytest.raises(StudyError, match="The sampler Answers proposes a list of points"):
        Answers(Space(["a", "b"])).ask(1)


def test_sampler_without_a_first_point_raises(monkeypatch):
    monkeypatch.setattr(Answers, "answer", [])
    with pytest.raises(StudyError, match="Answers asks for no point at all"):
        Search("s", ["multi_digits.gin"], Space(["a", "b"]), runs=2, sampler=Answers)
