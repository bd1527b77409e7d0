"""Shows what pairing by seeds gains: differences to equal static weights, paired and unpaired.

    python tools/paired.py --study_dir=studies/multi_mnist_short --metric=accuracy

For each measured model, it prints the mean over tasks of a test metric in percent, the difference
to equal static weights, and the standard error of this difference over the fresh seeds: paired, and
as if the seeds of both were unrelated. It then prints the share of the variance within models that
is a common effect of the seed, and the width of the static front in each task.
"""

import argparse

import numpy as np
import pandas as pd

from mtk import analysis
from mtk.analysis.fronts import non_dominated
from mtk.analysis.metric_sets import tasks
from mtk.analysis.run_table import varying
from mtk.analysis.weights import static_weights


def measured_runs(study_dir: str) -> pd.DataFrame:
    """Returns the finished runs of the second stage."""
    runs = analysis.load([study_dir])
    return runs[(runs["status"] == "finished") & (runs["stage"] == "measure")]


def table_of(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Returns the metric by model (rows) and fresh seed (columns)."""
    varied = ["method", *(name for name in varying(runs) if name != "experiment.run.combiner")]
    names = []
    for row in runs.to_dict("records"):
        weights = static_weights(row)
        is_equal = weights is not None and len(set(weights.values())) == 1
        parts = ["equal static weights"] if is_equal else [f"{row[name]}" for name in varied]
        names.append(" ".join(part for part in parts if part != "nan"))
    columns = [f"test/{task}/{metric}" for task in tasks(runs)]
    values = 100 * runs[columns].mean(axis=1)
    return runs.assign(model=names, value=values).pivot_table("value", "model", "seed")


def differences(table: pd.DataFrame) -> pd.DataFrame:
    """Returns for each model its mean, and its difference to equal static weights with errors."""
    equal, seeds = table.loc["equal static weights"], table.shape[1]
    away = table.sub(equal, axis=1)
    apart = (table.var(axis=1) + equal.var()) / seeds
    return pd.DataFrame(
        {
            "mean": table.mean(axis=1),
            "difference": away.mean(axis=1),
            "paired error": away.std(axis=1) / seeds**0.5,
            "unpaired error": apart**0.5,
        }
    )


def common_share(table: pd.DataFrame) -> float:
    """Returns the share of the variance within models that is an effect of the seed alone."""
    rest = table.sub(table.mean(axis=1), axis=0)
    common = rest.mean(axis=0)
    return float(len(rest) * (common**2).sum() / (rest**2).to_numpy().sum())


def widths(runs: pd.DataFrame, metric: str) -> dict[str, np.ndarray]:
    """Returns how wide the static front is in each task, in points, and with dominated weightings.

    The metric is taken for one of which more is better.
    """
    own = runs[runs["role"] == "baseline"]
    columns = [f"test/{task}/{metric}" for task in tasks(runs)]
    points = 100 * own.groupby("configuration")[columns].mean().to_numpy()
    return {
        "front": np.ptp(points[non_dominated(-points)], axis=0),
        "front with dominated weightings": np.ptp(points, axis=0),
    }


def main() -> None:
    """Prints the table of a study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study_dir", required=True)
    parser.add_argument("--metric", default="accuracy")
    args = parser.parse_args()
    runs = measured_runs(args.study_dir)
    table = table_of(runs, args.metric)
    print(differences(table).round(2).to_string())
    print(f"{common_share(table):.0%} of the variance within models is common to them, by seed.")
    for what, width in widths(runs, args.metric).items():
        print(f"Width of the {what}, by task: {width.round(2).tolist()} points.")


if __name__ == "__main__":
    main()
