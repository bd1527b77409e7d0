"""Multi-task models against one model for each task."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mtk.analysis.objectives import Objective, points, tasks
from mtk.analysis.weights import static_weights


def delta_m(found: pd.DataFrame, objectives: Sequence[Objective]) -> pd.Series:
    """Returns how much worse each configuration is than single-task models, in percent.

    The mean over tasks of the relative difference in test to the single-task model that validation
    selects: negative where the multi-task model is better.

    Args:
        found: As `configurations` makes it, with rows of the role "single" for every task: runs
            that train only one task, or give all weight to it.
        objectives: What is compared.

    Raises:
        ValueError: If a task has no single-task run.

    Reference:
        Maninis et al., *Attentive single-tasking of multiple tasks* (2019), section 5.1; the sign
        is turned, so that less is better, as later papers have it.
    """
    single = found[(found["role"] == "single") & found["comparable"]]
    reference = np.array([_reference(single, objective) for objective in objectives])
    worse = (points(found, objectives, "test") - reference) / np.abs(reference)
    return pd.Series(100 * worse.mean(1), found.index, name="delta_m").where(found["comparable"])


def _reference(single: pd.DataFrame, objective: Objective) -> float:
    """Returns the test value of a task's best model in validation."""
    own = single[[_trains(row, objective.task) for row in single.to_dict("records")]]
    validation = points(own, [objective], "validation")[:, 0]
    if not np.isfinite(validation).any():
        raise ValueError(
            f"Task {objective.task!r} has no single-task run. Add one to the study: static weights "
            "that give it everything."
        )
    return float(points(own, [objective], "test")[np.nanargmin(validation), 0])


def _trains(row: dict[Any, Any], task: str) -> bool:
    weights = static_weights(row)
    if weights is None:
        return tasks(pd.DataFrame([row])) == [task]
    return weights.get(task) == 1.0
