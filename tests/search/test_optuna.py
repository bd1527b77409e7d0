"""The Optuna samplers."""

import importlib.util
import logging
import warnings

import numpy as np
import pytest
from searches import RATE, losses_at

from mtk.errors import StudyError
from mtk.search import Constraint, Front, Optuna, Preference, Random, Space
from mtk.search.samplers import optuna


@pytest.fixture
def wide_space():
    return Space(
        ["a", "b", "c"],
        least_weight=0.1,
        log_uniform={RATE: (0.0123456, 1.0)},
        uniform={"dropout": (0.0, 0.5)},
        choices={"layers": ((8, 8), (16,)), "name": ("x", "y", "z")},
    )


@pytest.mark.parametrize("seed", range(5))
def test_points_round_trip_through_optuna_parameters(wide_space, seed):
    sampler, draw = Optuna(wide_space), Random(wide_space, seed=seed)
    for _ in range(20):
        point = draw.ask(1)[0]
        draw.tell(point, None)
        again = sampler._point(sampler._params(point))
        assert np.allclose(wide_space.weights_of(again), wide_space.weights_of(point), atol=2e-4)
        assert again["layers"] == point["layers"]
        assert again["name"] == point["name"]
        assert again[RATE] == pytest.approx(point[RATE], rel=1e-3)


def test_single_task_weights_map_to_the_nearest_parameters(wide_space):
    sampler = Optuna(wide_space)
    others = wide_space.others_of(Random(wide_space).ask(1)[0])
    for weights in np.eye(3):
        params = sampler._params(wide_space.at(weights, others))
        assert {params["weights, 1"], params["weights, 2"]} <= {0.0, 1.0}


def optimized(space, losses, goal, number=40, seed=0):
    sampler = Optuna(space, goal, budget=number, seed=seed)
    for _ in range(number):
        (point,) = sampler.ask(1)
        sampler.tell(point, losses(point))
    return sampler


def test_tpe_beats_random_search():
    """The mean over seeds of the best of 40 trials."""
    space = Space(["left", "right"], log_uniform={RATE: (0.001, 10.0)})
    goal = Preference({"left": 3.0, "right": 1.0})

    def best(sampler):
        return min(3 * t.losses[0] + t.losses[1] for t in sampler.finished)

    found, drawn = [], []
    for seed in range(5):
        found.append(best(optimized(space, lambda p: losses_at(space, p), goal, seed=seed)))
        random = Random(space, seed=seed)
        for _ in range(40):
            (point,) = random.ask(1)
            random.tell(point, losses_at(space, point))
        drawn.append(best(random))
    assert np.mean(found) < np.mean(drawn)


def test_gaussian_processes_beat_random_search():
    pytest.importorskip("torch")
    space = Space(["left", "right"], log_uniform={RATE: (0.001, 10.0)})
    goal = Preference({"left": 3.0, "right": 1.0})

    def best(sampler):
        for _ in range(10):
            asked = sampler.ask(2)
            assert len({str(point) for point in asked}) == 2
            for point in asked:
                sampler.tell(point, losses_at(space, point))
        return min(3 * t.losses[0] + t.losses[1] for t in sampler.finished)

    seeds = range(3)
    found = [best(Optuna(space, goal, budget=20, seed=seed, model="gp")) for seed in seeds]
    drawn = [best(Random(space, goal, budget=20, seed=seed)) for seed in seeds]
    assert np.mean(found) < np.mean(drawn)
    front = Optuna(space, budget=9, model="gp")
    for _ in range(5):
        front.tell(front.ask(1)[0], None)  # All diverge.
    assert len({point[RATE] for point in front.ask(4)}) == 4


def test_gaussian_processes_without_pytorch_raise(space, monkeypatch):
    monkeypatch.setattr(optuna, "find_spec", lambda name: None)
    with pytest.raises(StudyError, match="need PyTorch: pip install torch"):
        Optuna(space, model="gp")
    with pytest.raises(ValueError, match="model"):
        Optuna(space, model="forest")


def test_constraint_is_a_single_objective(space):
    goal = Constraint("left", at_most=0.4, best="right")
    sampler = optimized(space, lambda point: losses_at(space, point), goal, 30)
    losses = np.array([trial.losses for trial in sampler.trials])
    assert (losses[15:, 0] <= 0.4).mean() > (losses[:10, 0] <= 0.4).mean()


def test_diverged_trial_gets_the_worst_value(space):
    sampler = Optuna(space)
    for losses in ((1.0, 3.0), None, (2.0, 1.0)):
        sampler.tell(sampler.ask(1)[0], losses)
    assert sampler._objectives().tolist() == [[1.0, 3.0], [2.0, 3.0], [2.0, 1.0]]
    sampler.goal = Preference({"left": 1.0})
    assert sampler._objectives().tolist() == [[1.0], [2.0], [2.0]]


def test_asks_new_points_when_all_diverge(space):
    sampler = Optuna(space, budget=9)
    for _ in range(5):
        sampler.tell(sampler.ask(1)[0], None)
    assert len({point[RATE] for point in sampler.ask(4)}) == 4


def test_optuna_logs_nothing(space, caplog):
    with caplog.at_level(logging.INFO), warnings.catch_warnings():
        warnings.simplefilter("error")
        optimized(space, lambda point: losses_at(space, point), Front(), 4)
    assert not caplog.records


def test_missing_optuna_error_names_the_install_command(space, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "optuna" else find(name, *a)
    )
    with pytest.raises(
        StudyError, match=r"Optuna needs an additional package: pip install .*search\]"
    ):
        Optuna(space)
