"""What moves results: methods, hyperparameters, seeds."""

import numpy as np
import pandas as pd

from mtk.analysis import judging, objectives
from mtk.analysis.measurement import STATIC
from mtk.analysis.unavailable import UnavailableError
from mtk.analysis.view import View

_DRAWS = 1000


def variance_table(view: View, space: str) -> pd.DataFrame:
    """Returns the shares of the variance of the mean over tasks, in test, over all finished runs.

    One after the other: between methods (static weights are one), between the configurations of a
    method (its hyperparameters, weights among them), between seeds within configurations, the same
    for all, and the rest.

    Args:
        view: The study.
        space: Name of the set of objectives.

    Raises:
        UnavailableError: If no configuration was run with two seeds, or nothing varies.
    """
    runs = _means(view, space)
    if runs.empty or not (runs.groupby(["label", "configuration"])["seed"].nunique() > 1).any():
        raise UnavailableError("no configuration was run with two seeds")
    value = runs["value"]
    method = value.groupby(runs["label"]).transform("mean")
    model = value.groupby([runs["label"], runs["configuration"]]).transform("mean")
    residual = value - model
    # Runs of a configuration without repeats have no residual, and say nothing of seeds.
    repeated = residual.groupby([runs["label"], runs["configuration"]]).transform("size") > 1
    seed = residual[repeated].groupby(runs["seed"][repeated]).transform("mean")
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


def improvement_table(view: View, question: judging.Question) -> pd.DataFrame:
    """Returns how probably a run of each method is better than one with equal static weights.

    The mean over tasks in test of a random run of the method's model that is best in validation,
    against that of a random run with equal weights, both over the fresh seeds; the interval is a
    bootstrap over seeds, drawn together for both.

    Args:
        view: The study.
        question: A verdict, whose measured models are compared.

    Raises:
        UnavailableError: If equal static weights were not measured.

    Reference:
        Agarwal et al., *Deep reinforcement learning at the edge of the statistical precipice*
        (2021), section 4.3.
    """
    static = question.measured.models.get(STATIC)
    if static is None:
        raise UnavailableError("no static model was measured")
    equal = _equal(static.weights)
    units = judging.mean_units(view, question.space)
    units = np.ones(static.values.shape[2]) if units is None else units
    baseline = (static.values[equal] / units).mean(1)
    generator = np.random.default_rng(0)
    draws = generator.integers(0, len(baseline), (_DRAWS, len(baseline)))
    rows = []
    for method, models in question.measured.models.items():
        if method != STATIC:
            means = (models.values / units).mean(2)
            own = means[_best(view, question, method, units)]
            found = [_probability(own[drawn], baseline[drawn]) for drawn in draws]
            low, high = np.quantile(found, [0.025, 0.975])
            row = {"method": method, "probability": _probability(own, baseline)}
            rows.append({**row, "low (95 %)": low, "high (95 %)": high})
    return pd.DataFrame(rows)


def _best(view: View, question: judging.Question, method: str, units: np.ndarray) -> int:
    """Returns which of a method's measured models has the best mean in validation."""
    found = view.of(method).drop_duplicates("configuration").set_index("configuration")
    own = found.loc[question.measured.configurations[method]]
    values = objectives.points(own, view.spaces[question.space], "validation") / units
    return int(np.nan_to_num(values.mean(1), nan=np.inf).argmin())


def _equal(weights: np.ndarray | None) -> int:
    weights = np.empty((0, 1)) if weights is None else weights
    near = np.flatnonzero(np.ptp(weights, axis=1) < 1e-6)
    if not len(near):
        raise UnavailableError("no static model with equal weights was measured")
    return int(near[0])


def _probability(own: np.ndarray, other: np.ndarray) -> float:
    pairs = own[:, None] - other
    return float(np.mean(pairs < 0) + 0.5 * np.mean(pairs == 0))


def _means(view: View, space: str) -> pd.DataFrame:
    """Returns a row for each finished run that is compared, with its mean over tasks in test."""
    runs = view.table[
        view.table["role"].isin(["baseline", "method"]) & (view.table["status"] == "finished")
    ]
    units = judging.mean_units(view, space)
    if units is None:
        raise UnavailableError("the tasks' metrics have no unit in common")
    values = objectives.points(runs, view.spaces[space], "test") / units
    label = runs["method"].where(runs["role"] != "baseline", STATIC)
    found = runs[["configuration", "seed"]].assign(label=label, value=values.mean(1))
    return found[np.isfinite(found["value"])]
