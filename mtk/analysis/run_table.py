"""Groups runs that differ only in the seed into configurations."""

import numpy as np
import pandas as pd

from mtk.analysis import metric_sets, plain_text
from mtk.analysis.schema import MEASURE

# The name of all runs with static weights in a comparison.
STATIC = "static weights"
LEARNING_RATE = "experiment.Optimization.learning_rate"
WEIGHT_DECAY = "experiment.Optimization.weight_decay"
# Parameters that define another experiment rather than other hyperparameters: models of different
# sizes or training lengths are never compared as if they had the same cost.
_SIZE = "parameters"
_LENGTHS = {
    "experiment.Optimization.batch_size",
    "experiment.Training.epochs",
    "experiment.Training.steps",
}
_LENGTHS |= {"experiment.run.workload"}
_RUN = ["study", "method", "role", "configuration", "seed", "status"]
_KEY = ["study", "setting", "method", "role", "configuration"]


def checked(table: pd.DataFrame) -> pd.DataFrame:
    """Returns a table of runs, or raises a ValueError if it is not one."""
    if missing := [name for name in _RUN if name not in table]:
        raise ValueError(
            f"Expected a table of runs as returned by `load`. Missing columns: {', '.join(missing)}"
        )
    return table


def parameters(table: pd.DataFrame) -> list[str]:
    """Returns the columns of the configuration; only their names contain a dot."""
    return [name for name in table if "." in name and not metric_sets.is_metric(name)]


def varying(table: pd.DataFrame) -> list[str]:
    """Returns the parameters with more than one value, not counting missing values."""
    return [name for name in parameters(table) if table[name].nunique() > 1]


def with_setting(table: pd.DataFrame) -> pd.DataFrame:
    """Adds the column `setting`: the sizes, lengths and monitors that vary in the table, as text.

    Args:
        table: The result of `load`. Only runs of the same setting are fairly compared.
    """
    parts = table[[name for name in varying(table) if name in _LENGTHS]]
    monitors = metric_sets.monitors(table)
    if monitors.nunique() > 1:
        parts = parts.assign(**{"selected by": monitors})
    if _SIZE in table and table[_SIZE].nunique() > 1:
        parts = parts.assign(size=sizes(table))
    return table.assign(setting=_in_words(parts))


def sizes(table: pd.DataFrame) -> list[str | None]:
    """Returns the parameter count of each run's network as text; None if not recorded."""
    numbers = table.get(_SIZE, pd.Series(np.nan, table.index))
    return [f"{number:,.0f} parameters" if number > 0 else None for number in numbers]


def _in_words(values: pd.DataFrame) -> list[str]:
    names = ["" if name == "size" else name.rpartition(".")[2] for name in values]
    # Before pandas 3, a table without columns has no `records`.
    rows = [zip(names, row[1:], strict=True) for row in values.itertuples(name=None)]
    return [
        ", ".join(f"{name} {plain(value)}".strip() for name, value in row if pd.notna(value))
        for row in rows
    ]


def plain(value: object) -> str:
    """Returns the value of a parameter as text for display."""
    return f"{value:g}" if isinstance(value, (int, float)) else plain_text.short(str(value))


def configurations(table: pd.DataFrame) -> pd.DataFrame:
    """Returns a row for each configuration: the mean of every metric over its seeds.

    In a study with two stages, validation metrics are means over the selecting seeds, and those of
    the other splits over the fresh seeds, if the configuration was measured with them.

    Args:
        table: The result of `load`.

    Returns:
        The parameters; `seeds` (finished runs), `diverged` and `unusable` (all others); means of
        the metrics; `comparable`: at least one run finished and none diverged (a configuration that
        diverges with some seeds has no fair mean and is not selected); and `measured`: whether it
        finished with a fresh seed, if its study has a second stage.

    Raises:
        ValueError: If it is not a table of runs.
    """
    table = with_setting(checked(table))
    table = table if "stage" in table else table.assign(stage=None)
    metrics = [column for column in table if metric_sets.is_metric(column)]
    finished = table["status"] == "finished"
    counted = table.assign(
        seeds=finished,
        diverged=table["status"] == "diverged",
        **{name: table[name].where(finished) for name in metrics},
    )
    counted["unusable"] = ~(counted["seeds"] | counted["diverged"])
    staged = table.groupby("study")["stage"].transform(lambda stages: (stages == MEASURE).any())
    counted["measured"] = finished & (~staged.astype(bool) | (table["stage"] == MEASURE))
    counted[metrics] = _by_stage(counted, metrics)
    groups = counted.groupby(_KEY, sort=False, dropna=False)
    counts = groups[["seeds", "diverged", "unusable"]].sum()
    recorded = [name for name in ("combiner", "task_weights") if name in table]
    facts = groups[[*parameters(table.drop(columns="setting")), *recorded]].first()
    speed = [name for name in ("steps_per_second", "parameters", "steps") if name in table]
    parts = [facts, counts, groups["measured"].any(), groups[[*speed, *metrics]].mean()]
    found = pd.concat(parts, axis=1).reset_index()
    return found.assign(comparable=(found["seeds"] > 0) & (found["diverged"] == 0))


def _by_stage(runs: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """Returns the metrics, with NaN for those that the other stage provides."""
    fresh = (runs["stage"] == MEASURE) & runs["seeds"].astype(bool)
    measured = fresh.groupby([runs[name] for name in _KEY], dropna=False).transform("any")
    other = [fresh if name.startswith("validation/") else measured & ~fresh for name in metrics]
    return runs[metrics].mask(np.stack(other, axis=1)) if metrics else runs[metrics]
