"""The tables of the report."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mtk.analysis import comparison, fronts, indicators, metric_sets, run_table
from mtk.analysis.comparison import Comparison
from mtk.analysis.indicators import MOST_TASKS, delta_m, equal_budget
from mtk.analysis.margins import widths
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.schema import MEASURE, SPLITS
from mtk.analysis.select import STATIC
from mtk.analysis.study_view import StudyView
from mtk.display import counted

_DRAWS = 1000
CPU_HOURS, CLOCK_HOURS = "CPU hours", "hours of wall-clock time (CPU time was not recorded)"


def runs_by_status(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the number of runs of each method by status."""
    counts = table.groupby(["study", "method", "role", "status"], sort=False).size()
    return counts.unstack(fill_value=0).reset_index()


def problems(table: pd.DataFrame) -> pd.DataFrame:
    """Returns all runs that are not compared, with the reasons."""
    columns = ["study", "method", "run", "seed", "status", "reason"]
    return table.loc[table["status"] != "finished", columns]


def lineages(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the runs that branched from other runs, and what changed at the branching."""
    columns = ["study", "method", "run", "seed", "lineage"]
    return table.reindex(columns=columns).dropna(subset="lineage")


def left_out(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the metrics that are not compared, and the number of runs with them by split."""
    groups = table.groupby(["study", run_table.with_setting(table)["setting"]], sort=False)
    parts = [
        metric_sets.left_out(runs).assign(study=study, runs=len(runs))
        for (study, _), runs in groups
    ]
    found = pd.concat(parts, ignore_index=True)
    return found[["study", "metric", "runs", *SPLITS]]


def other_data(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the differences between the data of runs of the same setting."""
    known = run_table.with_setting(table).reindex(columns=["study", "setting", "data", "method"])
    rows = []
    for key, own in known.dropna(subset=["data"]).groupby(["study", "setting"], sort=False):
        methods = own.groupby("data", sort=False)["method"].unique()
        parts = {data: str(data).split("; ") for data in methods.index}
        shared = set.intersection(*map(set, parts.values()))
        for data, which in methods.items() if len(methods) > 1 else ():
            differing = "; ".join(part for part in parts[data] if part not in shared)
            rows.append((*key, differing, int((own["data"] == data).sum()), ", ".join(which)))
    return pd.DataFrame(rows, columns=["study", "setting", "data", "runs", "methods"])


def sources(views: Sequence[StudyView]) -> pd.DataFrame:
    """Returns the data that each study trains on (Table 1)."""
    columns = {"workload": "experiment.run.workload"}
    columns |= {f"{split} examples": f"{split}_examples" for split in SPLITS}
    columns |= {"batch size": "experiment.Optimization.batch_size", "steps": "steps"}
    return pd.DataFrame(
        {
            "study": view.title,
            "tasks": ", ".join(view.tasks),
            **{
                name: _one(metric_sets.finished(view.table), column)
                for name, column in columns.items()
            },
        }
        for view in views
    )


def models(views: Sequence[StudyView]) -> pd.DataFrame:
    """Returns model size and speed of each method in each setting (Table 2)."""
    named = [(view, method, view.runs(method)) for view in views for method in view.labels]
    finished = ((view, method, metric_sets.finished(runs)) for view, method, runs in named)
    table = pd.DataFrame(
        {
            "model": view.title,
            "method": method,
            "parameters": _one(own, "parameters"),
            "steps per second": own.get("steps_per_second", pd.Series(dtype=float)).median(),
            "relative cost of a step": (own["cost"] / own["steps"]).median(),
        }
        for view, method, own in finished
    )
    if table[["parameters", "steps per second"]].isna().all(axis=None):
        raise UnavailableError("no run recorded its parameters or its throughput")
    return table


def averages_of(view: StudyView) -> pd.DataFrame:
    """Returns each method's best mean over tasks, on test and on validation (Table 3)."""
    rows, space = [], view.space_of_means
    sign = view.spaces[space][0].sign
    for method in view.labels:
        validation, test = (view.means(method, s) for s in ("validation", "test"))
        if np.isfinite(validation).any():
            best = int(np.nanargmin(validation * sign))
            rows.append({"method": method, "test": test[best], "validation": validation[best]})
    return pd.DataFrame(rows).assign(metric=f"{space}{view.in_units(space)}")


def configurations(view: StudyView) -> pd.DataFrame:
    """Returns all configurations with their means over seeds, which most figures show."""
    names = ["method", *run_table.varying(view.found), "seeds", "comparable", "measured"]
    splits = ("validation", "test", "train")
    known = [o.column(s) for s in splits for own in view.spaces.values() for o in own]
    return view.found.reindex(columns=list(dict.fromkeys([*names, *known]))).dropna(
        axis=1, how="all"
    )


def settings(view: StudyView) -> pd.DataFrame:
    """Returns the parameters that are the same in all finished runs (Table 4)."""
    finished = metric_sets.finished(view.table)
    fixed = {
        name: finished[name].dropna().iloc[0]
        for name in run_table.parameters(finished)
        if finished[name].nunique() == 1 and finished[name].notna().all()
    }
    return pd.DataFrame({"parameter": fixed.keys(), "value": [str(v) for v in fixed.values()]})


def indicator_table(
    view: StudyView, space: str, compared: Sequence[Comparison] = ()
) -> pd.DataFrame:
    """Returns the indicators, on test, of each method's selected models that were measured.

    Hypervolume and epsilon are in widths of the static front, which are those of the verdicts if
    there are any; lower is better, except for the hypervolume. At equal budgets, all configurations
    of the first stage are used, with its seeds, and in widths of its own front.
    """
    chosen, first = view.spaces[space], view.first_stage
    static = view.candidates(STATIC, space)
    if not 2 <= len(chosen) <= MOST_TASKS or not len(static):
        raise UnavailableError("needs static weights and two to five tasks")
    measured, judged = comparison.static_models(compared), static.front
    if space in measured:
        judged = measured[space].values.mean(1)
        judged = judged[fronts.non_dominated(judged)]
    scale, corner = indicators.scale_and_reference(judged)
    front, baseline = static.front / scale, first.candidates(STATIC, space)
    named = view.all_candidates(space)
    ideal = np.min([(own.test / scale).min(0) for own in named.values()], axis=0)
    rows = []
    for name, own in named.items():
        points = own.front / scale
        searched = first.candidates(name, space)
        row = {
            "method": name,
            "configurations": len(searched),
            "measured": len(own),
            "selected": len(points),
            "on the test front": int(fronts.non_dominated(points).sum()),
            "hypervolume": indicators.hypervolume_of(own, corner, scale),
            "epsilon to static": indicators.additive_epsilon(points, front),
            "epsilon of static weights to method": indicators.additive_epsilon(front, points),
            "R2": indicators.r2(points, ideal),
        }
        if (points > 0).all() and (front > 0).all():
            row["epsilon to static, factor"] = indicators.multiplicative_epsilon(points, front)
        if name != STATIC and len(searched) and len(baseline):
            equal = equal_budget(searched, baseline)
            row |= {
                "first-stage configurations at equal budgets": equal.size,
                "hypervolume at equal budgets": equal.method,
                "static hypervolume at equal budgets": equal.static,
                "share of wins": equal.share,
            }
        rows.append(row)
    return pd.DataFrame(rows)


def equal_compute(view: StudyView, space: str) -> pd.DataFrame:
    """Returns the results of static weights for the compute of each method's search.

    A search tries configurations in random order and keeps the best mean over tasks on validation;
    its result is that model's mean on test, averaged over orders. Only the first stage is used.
    """
    chosen, units = view.spaces[space], view.units[space]
    if units is None:
        raise UnavailableError("the tasks share no metric that can be averaged")
    curves, sign = view.search_curves(space, units), chosen[0].sign
    baseline = curves.pop(STATIC)
    ends = {method: own.iloc[-1] for method, own in curves.items()}
    return pd.DataFrame(
        {
            "method": method,
            "cost of a run, in static runs": curves[method]["cost"][0],
            "compute of the search, in static runs": end["cost"],
            f"mean {space}, test{view.in_units(space)}": sign * end["mean"],
            "static weights at the same compute": sign
            * np.interp(end["cost"], baseline["cost"], baseline["mean"]),
        }
        for method, end in ends.items()
    )


def single_task_table(view: StudyView, space: str) -> pd.DataFrame:
    """Returns each method's mean change relative to single-task models, in percent.

    The method's model is the best measured one on validation by the monitor of the runs.
    """
    measured = view.found[view.found["measured"]]
    try:
        worse = delta_m(measured, view.spaces[space])
    except ValueError as reason:
        raise UnavailableError(str(reason)) from None
    runs = metric_sets.finished(view.first_stage.table)[lambda t: t["role"] != "single"]
    values = runs.assign(by=metric_sets.selected_or_mean(runs, view.spaces[space]))
    by_model = values.groupby(["method", "configuration"])["by"].mean()
    known = measured.assign(delta_m=worse).join(by_model, on=["method", "configuration"])
    known = known.dropna(subset=["delta_m", "by"])
    if known.empty:
        raise UnavailableError(
            "a single-task model has the value zero, so relative changes are undefined"
        )
    best = known.loc[known.groupby("method", sort=False)["by"].idxmin()]
    return best[["method", "delta_m"]].rename(columns={"delta_m": "Δm, % (lower is better)"})


def against_single_tasks(view: StudyView, space: str) -> str:
    """Returns `single_task_table` or the reason without one, as text; "" without such models."""
    single = view.table[view.table["role"] == "single"]
    try:
        table = single_task_table(view, space)
    except UnavailableError as reason:
        if single.empty:
            return ""
        lost = int((single["status"] == "diverged").sum())
        why = f"{counted(lost, 'run')} of single-task models diverged" if lost else str(reason)
        return f"No comparison with single-task models (Δm of {space}): {why.rstrip('.')}."
    each = ", ".join(f"{method} {worse:+.1f} %" for method, worse in table.itertuples(index=False))
    return (
        f"Compared with single-task models, Δm of {space} (mean change; negative is better): "
        f"{each}."
    )


def _one(table: pd.DataFrame, name: str) -> object:
    """Returns the value of a column, or a range if it has several."""
    values = ordered(table[name]) if name in table else []
    if len(values) < 2:
        return values[0] if values else "not recorded"
    return f"{values[0]} to {values[-1]}"


def ordered(column: pd.Series) -> list[Any]:
    """Returns the unique values of a parameter: sorted numbers, then strings."""
    return sorted(column.dropna().unique(), key=lambda value: (isinstance(value, str), value))


def budgets(view: StudyView) -> pd.DataFrame:
    """Returns the number of runs of each method, including tuning, and their computing time.

    Hours are CPU time over all sessions, however they ended; if not every run with a result
    recorded it, they are wall-clock time of the training only.
    """
    title, hours = _hours(view.table)
    rows = []
    for method in view.labels:
        if (runs := view.runs(method)).empty:
            continue
        row = {"method": method, "configurations": runs["configuration"].nunique()}
        if view.first_stage is view:
            row["runs"] = len(runs)
        else:
            fresh = int((runs["stage"] == MEASURE).sum())
            row |= {"runs that select": len(runs) - fresh, "runs that measure": fresh}
        row["steps"] = int(_steps_taken(runs).sum())
        rows.append({**row, title: hours[runs.index].sum(min_count=1)})
    return pd.DataFrame(rows).dropna(axis=1, how="all")


def _hours(runs: pd.DataFrame) -> tuple[str, pd.Series]:
    """Returns the time that each run took, NaN if unknown, and the title of that column."""
    cpu = runs.get("cpu_seconds", pd.Series(np.nan, runs.index))
    ended = runs["status"].isin(["finished", "diverged", "incomplete"])
    if cpu[ended].notna().all():
        return CPU_HOURS, cpu / 3600
    speed = runs.get("steps_per_second", pd.Series(np.nan, runs.index))
    return CLOCK_HOURS, (_steps_taken(runs) / speed / 3600).astype(float)


def _steps_taken(runs: pd.DataFrame) -> pd.Series:
    """Returns the number of each run's own steps: for a branched run, those after branching."""
    first = runs.get("first_step", pd.Series(np.nan, runs.index))
    return (runs["steps"] - first.astype(float).fillna(0.0)).astype(float)


def variance_table(view: StudyView, space: str) -> pd.DataFrame:
    """Returns the shares of the variance of the mean over tasks on test, over all finished runs.

    In this order: between methods (static weights are one), between the configurations of a method
    (its hyperparameters, including weights), between seeds within configurations (an effect common
    to all), and the residual.

    Raises:
        UnavailableError: If no configuration was run with two seeds, or nothing varies.
    """
    units = view.units[space]
    if units is None:
        raise UnavailableError("the metrics of the tasks have different units")
    runs = metric_sets.finished(view.table)[lambda t: t["role"].isin(["baseline", "method"])]
    runs = runs.assign(
        label=runs["method"].where(runs["role"] != "baseline", STATIC),
        value=(metric_sets.points(runs, view.spaces[space], "test") / units).mean(1),
    )[lambda t: np.isfinite(t["value"])]
    if runs.empty or not (runs.groupby(["label", "configuration"])["seed"].nunique() > 1).any():
        raise UnavailableError("no configuration was run with two or more seeds")
    value, models = runs["value"], runs.groupby(["label", "configuration"])["value"]
    method, model = runs.groupby("label")["value"].transform("mean"), models.transform("mean")
    # Configurations with a single run have no residual and no information on seeds.
    residual = (value - model)[models.transform("size") > 1]
    seed = residual.groupby(runs["seed"]).transform("mean")
    squares = {
        "method": (method - value.mean()).pow(2).sum(),
        "hyperparameters": (model - method).pow(2).sum(),
        "seed, common to all runs": seed.pow(2).sum(),
    }
    total = (value - value.mean()).pow(2).sum()
    if not total > 0:
        raise UnavailableError("all runs have the same mean")
    squares["rest"] = total - sum(squares.values())
    shares = {name: 100 * square / total for name, square in squares.items()}
    return pd.DataFrame({"source": shares.keys(), "share of the variance, %": shares.values()})


def improvement_table(view: StudyView, compared: Comparison) -> pd.DataFrame:
    """Returns the probability that a run of each method beats one with equal static weights.

    This compares the mean over tasks on test of a random run of the method's best model on
    validation with that of a random run with equal weights, both over the fresh seeds; the interval
    is a bootstrap over seeds, paired for both. Tasks without a common unit are averaged in widths
    of the static front, as in the verdict on the mean.

    Raises:
        UnavailableError: If equal static weights were not measured.

    Reference:
        Agarwal et al., *Deep reinforcement learning at the edge of the statistical precipice*
        (2021), section 4.3.
    """
    static = compared.measured.models.get(STATIC)
    if static is None:
        raise UnavailableError("no static model was measured")
    weights = np.empty((0, 1)) if static.weights is None else static.weights
    equal = np.flatnonzero(np.ptp(weights, axis=1) < 1e-6)
    if not len(equal):
        raise UnavailableError("no static model with equal weights was measured")
    units = view.units[compared.space]
    units = widths(static.values.mean(1)) if units is None else units
    baseline = (static.values[equal[0]] / units).mean(1)
    generator = np.random.default_rng(0)
    draws = generator.integers(0, len(baseline), (_DRAWS, len(baseline)))
    rows = []
    for method, models in compared.measured.models.items():
        if method != STATIC:
            found = view.of(method).drop_duplicates("configuration").set_index("configuration")
            chosen = found.loc[compared.measured.configurations[method]]
            validation = metric_sets.points(chosen, view.spaces[compared.space], "validation")
            best = np.nan_to_num((validation / units).mean(1), nan=np.inf).argmin()
            own = (models.values[best] / units).mean(1)
            low, high = np.quantile(_wins(own[draws], baseline[draws]), [0.025, 0.975])
            row = {"method": method, "probability": float(_wins(own, baseline))}
            rows.append({**row, "low (95 %)": low, "high (95 %)": high})
    return pd.DataFrame(rows)


def _wins(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the share of all pairs of `(..., S)` in which `own` is smaller; ties count half."""
    pairs = own[..., :, None] - other[..., None, :]
    return (pairs < 0).mean((-2, -1)) + 0.5 * (pairs == 0).mean((-2, -1))
