"""A run in TensorBoard's HParams tab."""

import ast
import contextlib
import json
from collections.abc import Mapping
from typing import Any

from mtk import config, hparams
from mtk.experiment.run_folder import RunFolder

# The tab shows them in this order.
_SPLITS = ("test", "validation", "train")
# Longer values are not readable in a table.
_LONGEST = 200


def write(folder: RunFolder, result: Mapping[str, Any]) -> None:
    """Writes the data of the tab for a run that has ended, metrics of the test split first.

    Args:
        folder: The run folder.
        result: The content of its future `result.json`.
    """
    metrics = {
        f"{split}/{task}/{name}": value
        for split in _SPLITS
        for task, own in (result.get(split) or {}).get("tasks", {}).items()
        for name, value in own.items()
        if value is not None
    }
    values = {
        name: _value(text)
        for name, text in folder.settings.items()
        if not name.startswith(config.MODULE_OF) and len(text) <= _LONGEST
    }
    session = hparams.Session(
        json.dumps(folder.settings, sort_keys=True),
        values,
        metrics,
        result["status"],
        result["selected_step"] or 0,
    )
    columns = hparams.table(list(values), list(metrics))
    hparams.write(folder.tensorboard / "hparams", [columns, *session.summaries], session.step)


def _value(text: str) -> str | float | bool:
    """Returns a number or boolean as such, any other value as its text."""
    value: Any = text
    with contextlib.suppress(ValueError, SyntaxError):
        value = ast.literal_eval(text)
    return value if isinstance(value, (bool, int, float)) else text
