"""The view of a running search on a terminal: its front, its hypervolume and its runs."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mtk.display import BEST, format_duration
from mtk.search.goals import Front
from mtk.search.result import Found, shown
from mtk.study import Run

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 16  # bars
_MOST = 12  # rows of the front


class Point(NamedTuple):
    """The progress of a search at one time.

    Attributes:
        seconds: CPU seconds spent.
        value: Value of the goal; for a front, its hypervolume.
    """

    seconds: float
    value: float


class Live:
    """The table under the progress bar: the front, its hypervolume over CPU time, current runs.

    Args:
        found: The trials so far.
    """

    def __init__(self, found: Found):
        self.update(found, {})

    def update(self, found: Found, seconds: Mapping[str, float]) -> None:
        """Updates the view with further trials.

        Args:
            found: The trials.
            seconds: CPU seconds of each run.
        """
        self._found, tasks = found, found.space.tasks
        others = [name.rpartition(".")[2] for name in found.space.others]
        weighed = tasks if found.space.weights else []
        head = ["", *(f"w({t})" for t in weighed), *others, *(f"loss({t})" for t in tasks)]
        self.rows = [head]
        for trial in found.chosen[:_MOST]:
            assert trial.losses is not None
            losses = [f"{trial.losses[task]:.4g}" for task in tasks]
            self.rows.append(
                [_name(trial.runs[0].name, BEST), *shown(found.space, trial.point), *losses]
            )
        if len(found.chosen) > _MOST:
            self.rows.append([f"and {len(found.chosen) - _MOST} more"])
        if points := curve(found, seconds):
            what = "hypervolume" if isinstance(found.goal, Front) else "goal"
            spent = format_duration(points[-1].seconds)
            self.rows.append([f"{what} {points[-1].value:.3g}  {bars(points)}  {spent} CPU"])

    def table(self, running: Sequence[Run]) -> list[list[str]]:
        """Returns the rows, with one more for each current run."""
        at_work = [
            [_name(run.hash, "running"), *shown(self._found.space, run.point)] for run in running
        ]
        return [*self.rows, *at_work]


def curve(found: Found, seconds: Mapping[str, float]) -> list[Point]:
    """Returns the progress of the search after each complete trial.

    Units and bounds of the goal's value are determined by all trials so far.

    Args:
        found: The trials.
        seconds: CPU seconds of each run.
    """
    if not found.complete:
        return []
    seen, value = found.seen, found.goal.value(found.seen)
    spent, number, points = 0.0, 0, []
    for trial in found.trials:
        spent += sum(seconds.get(run.name, 0.0) for run in (*trial.runs, *trial.further))
        if trial.losses and trial.paused_at is None:
            number += 1
            points.append(Point(spent, value(seen.losses[:number])))
    return points


def bars(points: Sequence[Point]) -> str:
    """Returns a curve as text: the value at equal intervals of CPU time, from low to high."""
    times = np.linspace(0, points[-1].seconds, _WIDTH + 1)[1:]
    before = np.searchsorted([point.seconds for point in points], times, side="right") - 1
    values = np.array([point.value for point in points])
    low, height = values.min(), np.ptp(values)
    levels = (values - low) / (height or 1.0) * (len(_BARS) - 1)
    return "".join(" " if n < 0 else _BARS[round(float(levels[n]))] for n in before)


def _name(run: str, what: str) -> str:
    return f"{what} {run[:8]}"
