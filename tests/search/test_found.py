"""The printed result of a search."""

import re
from pathlib import Path

import numpy as np
import pytest
from searches import RATE

from mtk.search import Confirmed, Constraint, Found, Front, Preference, Space, Tried
from mtk.search.goals import Seen

DROPOUT = "multi_digits.MultiDigits.dropout"
TASKS = ("left", "right")


def make_found(rates, dropouts):
    space = Space(TASKS, log_uniform={RATE: (0.01, 1.0)}, uniform={DROPOUT: (0.0, 0.5)})
    losses = [(0.0, 1.0), (1.0, 0.0), (2.0, 2.0)]  # The last one is not on the front.
    trials = []
    for number, values in enumerate(zip(losses, rates, dropouts, strict=True)):
        own, rate, dropout = values
        point = space.at(np.array([0.5, 0.5]), {RATE: rate, DROPOUT: dropout})
        trials.append(Tried(point, dict(zip(TASKS, own, strict=True)), [Path(f"runs/{number}")]))
    return Found(Path("study"), space, Front(), trials, 0)


@pytest.mark.parametrize(
    ("rates", "dropouts", "said"),
    [
        ((0.1, 0.1, 1.0), (0.2, 0.3, 0.5), []),
        ((0.9, 1.0, 0.1), (0.2, 0.3, 0.0), ["learning_rate.* upper end of its range, 0.01 to 1"]),
        ((0.9, 0.1, 1.0), (0.0, 0.04, 0.5), ["dropout.* lower end of its range, 0 to 0.5"]),
        ((0.01, 0.012, 0.1), (0.5, 0.5, 0.1), ["learning_rate.* lower", "dropout.* upper"]),
        ((0.01, 1.0, 0.1), (0.0, 0.5, 0.1), []),  # Both ends: the front spans the range.
    ],
)
def test_parameters_at_an_end_of_their_range_are_reported(rates, dropouts, said):
    result = make_found(rates, dropouts)
    assert len(result.at_limits) == len(said)
    lines = str(result).splitlines()[-len(said) :] if said else []
    for line, words in zip(lines, said, strict=True):
        assert re.search(words, line)


@pytest.mark.parametrize(
    ("goal", "said"),
    [
        (Preference({"days": 1, "kind": 1, "flags": 1}), "The loss of days makes up 99.7%"),
        (Preference({"days": 0.002, "kind": 1, "flags": 1}), None),
        (Preference({"days": 1}), None),
        (Constraint("kind", at_most=1.0), "The loss of days makes up 99.9%"),
        (Constraint("days", at_most=1e3), None),
        (Constraint("kind", at_most=1.0, best="flags"), None),
    ],
)
def test_task_that_dominates_a_mean_is_reported(goal, said):
    losses = np.array([[600.0, 0.9, 0.9], [610.0, 0.8, 0.8]])
    seen = Seen(["days", "kind", "flags"], np.full((2, 3), 1 / 3), losses)
    assert [text.startswith(said or "") for text in goal.doubts(seen)] == [True] * bool(said)
    space = Space(seen.tasks)
    own = [dict(zip(seen.tasks, values, strict=True)) for values in losses.tolist()]
    trials = [Tried(space.at(np.full(3, 1 / 3), {}), each, [Path("runs/0")]) for each in own]
    text = str(Found(Path("s"), space, goal, trials, 0))
    assert ("makes up" in text) == bool(said)


@pytest.mark.parametrize(
    ("fresh", "said"),
    [
        ({"left": 0.31, "right": 0.62}, "left has 0.31, and at most 0.3 was asked for"),
        ({"left": 0.3, "right": 0.62}, None),
        (None, "has no mean: a run with a fresh seed diverged or failed"),
    ],
)
def test_losses_of_fresh_seeds_are_printed_beside_those_of_selection(fresh, said):
    space = Space(TASKS)
    losses = dict(zip(TASKS, (0.29, 0.6), strict=True))
    trial = Tried(space.at(np.array([0.5, 0.5]), {}), losses, [Path("runs/0")])
    again = Confirmed(trial, fresh, [Path("runs/1"), Path("runs/2")])
    given = (Path("s"), space, Constraint("left", at_most=0.3), [trial], 0)
    text = str(Found(*given, confirmed=[again]))
    head, row, *rest = text.splitlines()
    assert "fresh(left)" in head
    assert "mean over 2 fresh seeds" in rest[0]
    assert row.split()[-3 if fresh else -2 :][:-1] == (
        [f"{fresh['left']:.4g}", "0.62"] if fresh else ["0.6"]
    )
    assert ("breaks the bound" in text) == bool(fresh and said)
    assert (said or "0.62") in text
    assert "fresh" not in str(Found(*given))


def test_only_constraints_can_be_broken():
    seen = Seen(TASKS, np.full((1, 2), 0.5), np.array([[0.3, 0.6]]))
    worse = {"left": 9.0, "right": 9.0}
    assert [goal.broken(seen, worse) for goal in (Front(), Preference({"left": 1}))] == ["", ""]
    # A relative bound is unknown before the single-task run.
    assert not Constraint("left", worse=0.1).broken(seen, worse)
