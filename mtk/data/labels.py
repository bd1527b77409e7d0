"""Checks of labels before training."""

import math
from collections.abc import Mapping

import numpy as np


def require_labels(
    labels: Mapping[str, np.ndarray],
    masks: Mapping[str, np.ndarray] | None = None,
    missing: Mapping[str, float | None] | None = None,
) -> None:
    """Raises a ValueError that names the tasks without any label in the training split.

    Args:
        labels: Labels by task, `(N, ...)`.
        masks: Masks by task, nonzero where there is a label; a task without a mask is fully
            labelled.
        missing: By task, the label value that marks a missing label.
    """
    masks = masks or {}
    missing = missing or {}
    unlabelled = [
        task
        for task, values in labels.items()
        if not _labelled(values, masks.get(task), missing.get(task))
    ]
    if unlabelled:
        raise ValueError(
            f"No example of the training split has a label for: {', '.join(unlabelled)}. Leave "
            "these tasks out, or provide labels."
        )


def _labelled(values: np.ndarray, mask: np.ndarray | None, missing: float | None) -> bool:
    found = np.ones(values.shape, bool)
    if missing is not None:
        found = ~np.isnan(values) if math.isnan(missing) else values != missing
    if mask is not None:
        trailing = (1,) * (values.ndim - mask.ndim)
        found = found & (mask.reshape(mask.shape + trailing) != 0)
    return bool(found.any())
