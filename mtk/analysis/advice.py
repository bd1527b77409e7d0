"""One sentence on which static weights to use."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mtk.analysis import metric_sets, run_table
from mtk.analysis.run_table import LEARNING_RATE
from mtk.analysis.schema import MEASURE, SELECT
from mtk.analysis.select import STATIC
from mtk.analysis.study_view import StudyView
from mtk.analysis.weights import static_weights
from mtk.display import counted, significant


def advice(view: StudyView, better: Sequence[str] = ()) -> str:
    """Returns a sentence on the static weights that are best on validation, with test values.

    Test values are those of the fresh seeds, if there are any. A configuration that diverged with
    any seed is advised only if all of them did. Better methods are named first. The result is "" if
    there are no static weights, the test split is sealed, or the weights or the monitor of the runs
    are unknown. For a search for a preference or a bound, it refers to the search command.

    Args:
        view: The study.
        better: Names of the methods that are better than static weights.
    """
    runs = view.runs(STATIC)
    diverged = runs.loc[runs["status"] == "diverged", "configuration"]
    finished = metric_sets.finished(runs)
    if runs.empty:
        return ""
    if finished.empty:
        return "No run with static weights can be compared."
    if "goal" in runs and runs["goal"].notna().any():
        goal = runs["goal"].dropna().iloc[0]
        return (
            f"These runs belong to a search for the goal {goal}, which selects by that goal. "
            "Run the search command again to print its result."
        )
    stable = finished[~finished["configuration"].isin(diverged)]
    finished = finished if stable.empty else stable
    if metric_sets.is_sealed(view.table):
        return ""
    fresh = finished["stage"] == MEASURE
    selecting = finished if fresh.all() else finished[~fresh]
    if not (selecting["stage"] == SELECT).any():  # One seed selects, the others are compared.
        selecting = selecting[selecting["seed"] == selecting["seed"].iloc[0]]
    values = metric_sets.selected_values(selecting)
    if values is None:
        return ""
    chosen = _best(selecting, values)
    weights = static_weights(chosen.to_dict())
    if weights is None:
        return ""
    own = finished["configuration"] == chosen["configuration"]
    measured = finished[own & fresh] if (own & fresh).any() else finished[own]
    varied = [name for name in run_table.varying(finished) if not name.endswith(".weights")]
    named = [n for n in dict.fromkeys([LEARNING_RATE, *varied]) if pd.notna(chosen.get(n))]
    settings = ", ".join(f"{_words(name)} {run_table.plain(chosen[name])}" for name in named)
    shares = {task: significant(share) for task, share in weights.items()}
    spread = " ± standard deviation" if len(measured) > 1 else ""
    reached = ", ".join(
        f"{task}_{name} {_reached(measured[f'test/{task}/{name}'])}"
        for task, names in metric_sets.by_task(view.table).items()
        for name in names
        if f"test/{task}/{name}" in measured
    )
    by = ", ".join(dict.fromkeys(metric_sets.monitors(selecting)))
    lost = int((diverged == chosen["configuration"]).sum())
    doubt = f" It diverged with {counted(lost, 'further seed')}." if lost else ""
    if fresh.any() and not fresh.all():
        doubt += _other_choice(finished[fresh], chosen["configuration"])
    use = f"Better than static weights: {', '.join(better)}. Otherwise use" if better else "Use"
    return (
        f"{use} loss_weights={shares}{f' with {settings}' if settings else ''} (weights that "
        f"sum to one, best on validation by {by}). Test: {reached} (mean of "
        f"{counted(len(measured), 'seed')}{spread}).{doubt}"
    )


def _other_choice(fresh: pd.DataFrame, chosen: str) -> str:
    """Returns a sentence if another model beats the chosen one at every fresh seed."""
    values = metric_sets.selected_values(fresh)
    if values is None:
        return ""
    best = _best(fresh, values)
    by_seed = fresh.assign(value=values).pivot_table("value", "seed", "configuration")
    ways = by_seed.reindex(columns=[best["configuration"], chosen]).dropna().to_numpy()
    if len(ways) < 2 or not (ways[:, 0] < ways[:, 1]).all():
        return ""
    shares = static_weights(best.to_dict()) or {}
    told = {task: significant(share) for task, share in shares.items()}
    seeds = f"each of the {len(ways)} fresh seeds"
    return f" However, at {seeds} validation prefers loss_weights={told} to these."


def _best(selecting: pd.DataFrame, values: np.ndarray) -> pd.Series:
    """Returns a run of the configuration with the lowest mean selection value over its seeds.

    Only configurations with the largest number of runs are considered.
    """
    names = selecting["configuration"].to_numpy()
    means = pd.Series(np.nan_to_num(values, nan=np.inf)).groupby(names).agg(["mean", "count"])
    best = means.loc[means["count"] == means["count"].max(), "mean"].idxmin()
    return selecting.iloc[int(np.flatnonzero(names == best)[0])]


def _reached(values: pd.Series) -> str:
    spread = f" ± {float(f'{values.std():.1g}'):g}" if values.count() > 1 else ""
    return f"{values.mean():.4g}{spread}"


def _words(name: str) -> str:
    return name.rpartition(".")[2].replace("_", " ")
