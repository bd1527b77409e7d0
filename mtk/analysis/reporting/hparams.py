"""A study in TensorBoard's HParams tab."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mtk import hparams
from mtk.analysis import metric_sets, plain_text
from mtk.analysis.plain_text import FileNames
from mtk.analysis.run_table import varying
from mtk.analysis.schema import SPLITS
from mtk.analysis.weights import static_weights

# More weights than this are too long for the name of a run.
_MOST_TASKS = 4
_LONGEST = 200


def write_hparams(table: pd.DataFrame, folder: str | Path) -> None:
    """Writes the data that `tensorboard --logdir FOLDER` shows in its HParams tab.

    There is a session for each run that has begun, including failed ones, with its method, seed and
    every parameter that varies, and its metrics at the selected step (train metrics at the last
    one), test metrics first.

    Args:
        table: The result of `load`.
        folder: Output folder, with a folder per study and, in it, one per run, named after its
            method, static weights and varying parameters. Files of an earlier call are replaced.
    """
    folder = Path(folder)
    table = table[table["status"] != "pending"]
    names = ["run", "method", "seed", *varying(table)]
    metrics = [column for column in table if metric_sets.is_metric(column)]
    metrics.sort(key=lambda column: SPLITS[::-1].index(column.partition("/")[0]))
    folders = _folders(table)
    hparams.write(folder, [hparams.table(names, metrics)])
    for row, own in zip(table.to_dict("records"), folders, strict=True):
        session = hparams.Session(
            f"{row['study']}/{row['run']}",
            {name: _plain(row[name]) for name in names if pd.notna(row[name])},
            {name: row[name] for name in metrics if pd.notna(row[name])},
            row["status"],
            int(row["selected_step"]) if pd.notna(row["selected_step"]) else 0,
        )
        hparams.write(folder / own, session.summaries, session.step)


def _folders(table: pd.DataFrame) -> list[str]:
    """Returns the folder of each run, `<study>/<run>`, named after what distinguishes the run."""
    studies, own = FileNames(), {}
    for study, runs in table.groupby("study", sort=False):
        names = FileNames("=.,+-")
        place = studies.make(str(study))
        varied = varying(runs)
        for index, row in runs.iterrows():
            own[index] = f"{place}/{names.make(_words(row.to_dict(), varied))}"
    return [own[index] for index in table.index]


def _words(row: Mapping[Any, Any], varied: list[str]) -> str:
    weights = static_weights(row) or {}
    shares = "-".join(f"{share:.3g}" for share in weights.values())
    told = (".weights", "experiment.run.combiner")  # In the method and the shares.
    known = [name for name in varied if pd.notna(row[name]) and not name.endswith(told)]
    parts = [str(row["method"]), shares if len(weights) <= _MOST_TASKS else ""]
    parts += [f"{name.rpartition('.')[2]}={row[name]}" for name in known]
    parts.append(f"seed={row['seed']:.0f}" if pd.notna(row["seed"]) else "")
    return ",".join(filter(None, parts))


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return plain_text.short(value, _LONGEST)
    return value.item() if hasattr(value, "item") else value
