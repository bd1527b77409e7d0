"""The result of a trial, from its runs and in words."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from mtk.errors import StudyError
from mtk.search.result import Found
from mtk.search.space import Point, Space
from mtk.study import Run, StudyFolder


def losses(
    folder: StudyFolder, runs: Sequence[Run], tasks: Sequence[str], rung: int | None = None
) -> dict[str, float] | None:
    """Returns each task's validation loss as the mean over the runs of a trial.

    Args:
        folder: The study folder.
        runs: The runs, one for each seed.
        tasks: Names of the tasks.
        rung: The step of the losses; None for the step that validation selected. A run that stopped
            earlier has only the latter.

    Returns:
        The losses; None if a run has no losses, or one is not finite.

    Raises:
        StudyError: If the runs lack one of the tasks.
    """
    found = [_of_run(folder, run.hash, rung) for run in runs]
    if not all(found):
        return None
    missing = [task for task in tasks if task not in found[0]]
    if missing:
        raise StudyError(
            f"The runs have no task {missing[0]!r}. Their tasks are {', '.join(found[0])}; use "
            "these in `search.Space.tasks`."
        )
    means = {task: fmean(each[task] for each in found) for task in tasks}
    return means if np.isfinite(list(means.values())).all() else None


def _of_run(folder: StudyFolder, run: str, rung: int | None) -> Mapping[str, float]:
    if rung is not None and (losses := folder.rung(run, rung)):
        return losses
    said = folder.selected(run)
    return {} if said is None else said.losses


def line(found: Found, number: int) -> str:
    """Returns the result of the last trial, and the progress of the search.

    Args:
        found: The trials so far.
        number: Total number of trials.
    """
    space, trial = found.space, found.trials[-1]
    head = f"trial {len(found.trials)}/{number}: {in_words(space, trial.point)}"
    if trial.losses is None:
        return f"{head}: no losses"
    told = "losses " + " ".join(f"{trial.losses[task]:.4g}" for task in space.tasks)
    if trial.paused_at is not None:
        return f"{head}: stopped at step {trial.paused_at}, {told}"
    return f"{head}: {told} · {found.goal.words(found.seen)}"


def in_words(space: Space, point: Point) -> str:
    """Returns the values of a point, with the names of the parameters."""
    weights = " ".join(f"{weight:.3g}" for weight in space.weights_of(point))
    values = [
        *([f"weights {weights}"] if space.weights else []),
        *(f"{n.rpartition('.')[2]} {value}" for n, value in space.others_of(point).items()),
    ]
    return ", ".join(values) or "unchanged"
