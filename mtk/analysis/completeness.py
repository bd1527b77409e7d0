"""Which metrics are compared, and which runs lack some of them."""

import pandas as pd

from mtk.analysis import objectives
from mtk.analysis.schema import SPLITS

# A metric that fewer of the runs have is left out, and not they for lacking it.
_SHARE = 0.5


def compared(runs: pd.DataFrame) -> list[str]:
    """Returns the columns of the metrics that runs of one setting are compared by.

    A metric is compared if at least half of the runs with a result have it, in validation
    as well as in test. Single-task runs do not count, since they lack the other tasks.

    Args:
        runs: Rows of a table as `load` makes it.
    """
    metrics = [column for column in runs if objectives.is_metric(column)]
    ended = runs[runs["status"].isin(["finished", "incomplete"]) & (runs["role"] != "single")]
    if ended.empty:
        return metrics
    shares = ended[metrics].notna().mean()
    common = [column for column in metrics if shares[column] >= _SHARE]
    return [column for column in common if {*_selected(column)} <= {*common}]


def incomplete(runs: pd.DataFrame) -> pd.Series:
    """Returns what finished runs lack of the metrics that are compared; "" for whole ones.

    Args:
        runs: As for `compared`.
    """
    columns = compared(runs)
    rows = runs[columns].notna().to_dict("records")
    texts = [_lacking([name for name in columns if not row[name]], bool(columns)) for row in rows]
    affected = (runs["status"] == "finished") & (runs["role"] != "single")
    return pd.Series(texts, runs.index, dtype=object).where(affected, "")


def left_out(runs: pd.DataFrame) -> pd.DataFrame:
    """Returns the metrics that are not compared: `metric`, and how many runs have it in each split.

    Args:
        runs: As for `compared`.
    """
    known = {column.partition("/")[2] for column in compared(runs)}
    rows: dict[str, dict[str, object]] = {}
    for column in runs:
        split, _, name = str(column).partition("/")
        number = int(runs[column].notna().sum())
        if objectives.is_metric(column) and name not in known and number:
            rows.setdefault(name, {"metric": name})[split] = number
    return pd.DataFrame(rows.values()).reindex(columns=["metric", *SPLITS])


def _selected(column: str) -> tuple[str, str]:
    """Returns the columns of the same metric that selection and comparison need."""
    metric = column.partition("/")[2]
    return f"validation/{metric}", f"test/{metric}"


def _lacking(columns: list[str], any_compared: bool) -> str:
    if not any_compared:
        return "no metric has values in validation and in test"
    if not columns:
        return ""
    more = f" and {len(columns) - 1} others" if len(columns) > 1 else ""
    return f"no value of {columns[0]}{more}"
