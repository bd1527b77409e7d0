"""The tables of the report."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from mtk.analysis import completeness, fronts, indicators, objectives, repeats
from mtk.analysis.budget import MOST_TASKS, equal_budget, reference, volume
from mtk.analysis.compute import search_curve
from mtk.analysis.figures import averages
from mtk.analysis.margins import widths
from mtk.analysis.schema import SPLITS
from mtk.analysis.single_task import delta_m
from mtk.analysis.unavailable import UnavailableError
from mtk.analysis.view import STATIC, View


def runs_by_status(table: pd.DataFrame) -> pd.DataFrame:
    """Returns how many runs of each method ended how."""
    counts = table.groupby(["study", "method", "role", "status"], sort=False).size()
    return counts.unstack(fill_value=0).reset_index()


def problems(table: pd.DataFrame) -> pd.DataFrame:
    """Returns every run that is not compared, with the reason."""
    columns = ["study", "method", "run", "seed", "status", "reason"]
    return table.loc[table["status"] != "finished", columns]


def left_out(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the metrics that are not compared, and how many runs have them in each split."""
    groups = table.groupby(["study", repeats.with_setting(table)["setting"]], sort=False)
    parts = [
        completeness.left_out(runs).assign(study=study, runs=len(runs))
        for (study, _), runs in groups
    ]
    found = pd.concat(parts, ignore_index=True)
    return found[["study", "metric", "runs", *SPLITS]]


def other_data(table: pd.DataFrame) -> pd.DataFrame:
    """Returns what the runs of a setting were made with, where that is not the same for all."""
    columns = ["study", "setting", "data", "runs", "methods"]
    known = repeats.with_setting(table).reindex(columns=[*columns[:3], "method"])
    known = known.dropna(subset=["data"])
    rows = []
    for (study, setting), own in known.groupby(["study", "setting"], sort=False):
        groups = dict(list(own.groupby("data", sort=False)["method"]))
        for data, differing in zip(groups, _differing(groups), strict=True):
            methods = ", ".join(groups[data].unique())
            rows.append((study, setting, differing, len(groups[data]), methods))
    found = pd.DataFrame(rows, columns=columns)
    return found[found.groupby(["study", "setting"])["runs"].transform("size") > 1]


def _differing(data: Iterable[str]) -> list[str]:
    """Returns of each text the parts that not all have."""
    parts = [text.split("; ") for text in data]
    shared = set.intersection(*map(set, parts))
    return ["; ".join(part for part in own if part not in shared) for own in parts]


def sources(views: Sequence[View]) -> pd.DataFrame:
    """Returns what each study trains on (Table 1)."""
    rows = []
    for view in views:
        row: dict[str, object] = {"study": view.title, "tasks": ", ".join(view.tasks)}
        row["workload"] = _one(view.table, "experiment.run.workload")
        for name in ("train_examples", "test_examples"):
            row[name.replace("_", " ")] = _one(view.table, name)
        row["batch size"] = _one(view.table, "experiment.Optimization.batch_size")
        row["steps"] = _one(view.table, "steps")
        rows.append(row)
    return pd.DataFrame(rows)


def models(views: Sequence[View]) -> pd.DataFrame:
    """Returns size and speed of each method in each setting (Table 2)."""
    rows = []
    for view in views:
        for method in [STATIC, *view.methods]:
            own = view.runs(method)[lambda t: t["status"] == "finished"]
            speed = own.get("steps_per_second", pd.Series(dtype=float)).median()
            row = {"model": view.title, "method": method, "parameters": _one(own, "parameters")}
            row["steps per second"] = speed
            row["cost of a step"] = (own["cost"] / own["steps"]).median()
            rows.append(row)
    table = pd.DataFrame(rows)
    if table[["parameters", "steps per second"]].isna().all(axis=None):
        raise UnavailableError("no run recorded its parameters or its throughput")
    return table


def averages_of(view: View) -> pd.DataFrame:
    """Returns each method's best mean over tasks, in test and in validation (Table 3)."""
    rows = []
    sign = view.spaces[averages.space_of_means(view)][0].sign
    for method in [STATIC, *view.methods]:
        validation, test = (averages.means(view, method, s) for s in ("validation", "test"))
        if np.isfinite(validation).any():
            best = int(np.nanargmin(validation * sign))
            rows.append({"method": method, "test": test[best], "validation": validation[best]})
    return pd.DataFrame(rows).assign(metric=averages.space_of_means(view))


def configurations(view: View) -> pd.DataFrame:
    """Returns every configuration with its means over seeds: the points of most figures."""
    names = ["method", *repeats.varying(view.found), "seeds", "comparable"]
    splits = ("validation", "test", "train")
    known = [o.column(s) for s in splits for own in view.spaces.values() for o in own]
    return view.found.reindex(columns=list(dict.fromkeys([*names, *known]))).dropna(
        axis=1, how="all"
    )


def settings(view: View) -> pd.DataFrame:
    """Returns the parameters that are the same in all finished runs (Table 4)."""
    finished = view.table[view.table["status"] == "finished"]
    fixed = {
        name: finished[name].dropna().iloc[0]
        for name in repeats.parameters(finished)
        if finished[name].nunique() == 1 and finished[name].notna().all()
    }
    return pd.DataFrame({"parameter": fixed.keys(), "value": [str(v) for v in fixed.values()]})


def indicator_table(view: View, space: str) -> pd.DataFrame:
    """Returns the indicators of each method's selected models in test.

    Hypervolume and epsilon are in widths of the static front; less is better but for the volume.
    """
    chosen = view.spaces[space]
    static = view.candidates(STATIC, space)
    if not 2 <= len(chosen) <= MOST_TASKS or not len(static):
        raise UnavailableError("needs static weights, and two to five tasks")
    scale, corner = widths(static.test[static.selected]), reference(static)
    front = static.test[static.selected] / scale
    named = {name: view.candidates(name, space) for name in [STATIC, *view.methods]}
    named = {name: own for name, own in named.items() if len(own)}
    ideal = np.min([(own.test / scale).min(0) for own in named.values()], axis=0)
    rows = []
    for name, own in named.items():
        points = own.test[own.selected] / scale
        row: dict[str, object] = {"method": name, "configurations": len(own)}
        row["selected"] = len(points)
        row["on the front in test"] = int(fronts.non_dominated(points).sum())
        row["hypervolume"] = volume(own, corner, scale)
        row["epsilon to static"] = indicators.additive_epsilon(points, front)
        row["static's epsilon to it"] = indicators.additive_epsilon(front, points)
        row["R2"] = indicators.r2(points, ideal)
        if (points > 0).all() and (front > 0).all():
            row["epsilon to static, factor"] = indicators.multiplicative_epsilon(points, front)
        if name != STATIC:
            equal = equal_budget(own, static)
            row |= {"equal budgets": equal.size, "hypervolume then": equal.method}
            row |= {"static hypervolume then": equal.static, "share won": equal.share}
        rows.append(row)
    return pd.DataFrame(rows)


def equal_compute(view: View, space: str) -> pd.DataFrame:
    """Returns what static weights reach for the compute that each method's search took.

    A search tries configurations in random order and keeps the best mean over tasks in validation;
    what it reaches is that model's mean in test, averaged over orders.
    """
    chosen, static = view.spaces[space], view.candidates(STATIC, space)
    unit = view.runs(STATIC)["cost"].median()
    if len({objective.metric for objective in chosen}) > 1 or not len(static) or not unit > 0:
        raise UnavailableError("needs static weights, their throughput, and a shared metric")
    ones, sign = np.ones(len(chosen)), chosen[0].sign
    baseline = search_curve(static.average(ones), 1.0)
    rows = []
    for method in view.methods:
        models, cost = view.candidates(method, space), view.runs(method)["cost"].median() / unit
        if len(models) and cost > 0:
            own = search_curve(models.average(ones), cost)
            row = {"method": method, "cost of a run, in static runs": cost}
            row["compute of the search, in static runs"] = own.cost[-1]
            row[f"mean {space}, test"] = sign * own.mean[-1]
            reached = np.interp(own.cost[-1], baseline.cost, baseline.mean)
            rows.append({**row, "static weights, same compute": sign * reached})
    return pd.DataFrame(rows)


def single_task_table(view: View, space: str) -> pd.DataFrame:
    """Returns each method's mean change against single-task models, in percent."""
    try:
        worse = delta_m(view.found, view.spaces[space])
    except ValueError as reason:
        raise UnavailableError(str(reason)) from None
    validation = objectives.points(view.found, view.spaces[space], "validation").mean(1)
    known = view.found.assign(delta_m=worse, by=validation).dropna(subset=["delta_m", "by"])
    known = known[known["role"] != "single"]
    best = known.loc[known.groupby("method", sort=False)["by"].idxmin()]
    return best[["method", "delta_m"]].rename(columns={"delta_m": "Δm, % (less is better)"})


def _one(table: pd.DataFrame, name: str) -> object:
    """Returns the value of a column, or a range where it has several."""
    values = list(table[name].dropna().unique()) if name in table else []
    if len(values) < 2:
        return values[0] if len(values) else "not recorded"
    ordered = sorted(values, key=lambda value: (isinstance(value, str), value))
    return f"{ordered[0]} to {ordered[-1]}"
