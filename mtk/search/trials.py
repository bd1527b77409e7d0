"""What a trial came to, by its runs and in words."""

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from mtk.errors import StudyError
from mtk.search.samplers import Sampler
from mtk.study import Run, StudyFolder


def losses(
    folder: StudyFolder, runs: Sequence[Run], tasks: Sequence[str]
) -> dict[str, float] | None:
    """Returns each task's validation loss, the mean over the runs of a trial.

    Args:
        folder: The study folder.
        runs: One for each seed.
        tasks: Their names.

    Returns:
        None if a run has no losses, or one is not finite.

    Raises:
        StudyError: If the runs have no such task.
    """
    said = [folder.selected(run.hash) for run in runs]
    found = [each.losses for each in said if each is not None]
    if len(found) < len(runs):
        return None
    missing = [task for task in tasks if task not in found[0]]
    if missing:
        raise StudyError(
            f"The runs have no task {missing[0]!r}; they have {', '.join(found[0])}. Name these in "
            "`search.Space.tasks`."
        )
    means = {task: fmean(each[task] for each in found) for task in tasks}
    return means if np.isfinite(list(means.values())).all() else None


def line(sampler: Sampler, number: int) -> str:
    """Returns what the last trial came to, and how far the search is.

    Args:
        sampler: What was told.
        number: How many trials there will be.
    """
    space, trial = sampler.space, sampler.trials[-1]
    weights = " ".join(f"{weight:.3g}" for weight in space.weights_of(trial.point))
    values = [
        *([f"weights {weights}"] if space.weights else []),
        *(f"{n.rpartition('.')[2]} {value}" for n, value in space.others_of(trial.point).items()),
    ]
    head = f"trial {len(sampler.trials)}/{number}: {', '.join(values) or 'as it is'}"
    if trial.losses is None:
        return f"{head}: no losses"
    told = " ".join(f"{loss:.4g}" for loss in trial.losses)
    return f"{head}: losses {told} · {sampler.goal.words(sampler.seen(sampler.finished))}"
