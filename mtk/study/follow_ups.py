"""Runs that depend on the results of others: more seeds of the best, and replays."""

import itertools
from collections.abc import Sequence

import numpy as np

from mtk.study.description import StudyError
from mtk.study.expansion import Expansion, Run
from mtk.study.folder import StudyFolder


def best(expansion: Expansion, runs: Sequence[Run], folder: StudyFolder) -> list[Run]:
    """Returns the runs that repeat each method's best configuration with the further seeds.

    The best has the smallest mean validation loss over all tasks, with the first seed.

    Args:
        expansion: Of the study.
        runs: All others, completed as far as they can be.
        folder: Where their results are.
    """
    study = expansion.study
    found = []
    for method in study.methods if study.best_seeds else ():
        own = [run for run in runs if run.method == method and run.seed == study.seeds[0]]
        means = {run.hash: np.mean(_losses(folder, run) or np.inf) for run in own}
        chosen = min(own, key=lambda run: means[run.hash])
        if np.isfinite(means[chosen.hash]):
            found += [expansion.run(method, chosen.point, seed) for seed in study.best_seeds]
    return found


def replays(expansion: Expansion, runs: Sequence[Run], folder: StudyFolder) -> list[Run]:
    """Returns runs with the mean weights of a method's runs as static weights.

    What a method reaches beyond its replay is what its weights do by changing. The configurations
    that no other of the method dominates in validation are replayed, each with all its seeds, with
    the mean weights over them, and at its point of the grid that all methods share.

    Args:
        expansion: Of the study; it must name its baseline.
        runs: The runs, completed as far as they can be.
        folder: Where their results are.

    Raises:
        StudyError: If what reads results is not installed.
        ValueError: If a method's run recorded no weights.
    """
    try:
        from mtk import analysis  # Takes a second, and is not needed for anything else.
    except ImportError as error:
        raise StudyError(f"A replay needs {error.name}: pip install 'mtk[analysis]'") from error
    study = expansion.study
    assert study.baseline is not None
    shared = {name for axis in study.grid for name in ([axis] if isinstance(axis, str) else axis)}
    found = []
    for method in study.methods:
        own = [run for run in runs if run.method == method != study.baseline]
        finished = _by_point([run for run in own if _losses(folder, run)])
        losses = [np.mean([_losses(folder, run) for run in each], 0) for each in finished]
        chosen = analysis.non_dominated(np.array(losses)) if losses else ()
        for each in itertools.compress(finished, chosen):
            means = [analysis.mean_weights(folder.run_dir(run.hash)) for run in each]
            point = {name: value for name, value in each[0].point.items() if name in shared}
            point[study.weights] = _mean(means)
            label = f"{method} (replayed)"
            found += [expansion.run(study.baseline, point, r.seed, label, "replay") for r in each]
    return found


def _by_point(runs: Sequence[Run]) -> list[list[Run]]:
    """Returns the runs of each configuration: they differ in nothing but the seed."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(repr(run.point), []).append(run)
    return list(groups.values())


def _mean(weights: Sequence[dict[str, float]]) -> dict[str, float]:
    """Returns the mean of each task's weight, to six digits."""
    return {task: float(f"{np.mean([w[task] for w in weights]):.6g}") for task in weights[0]}


def _losses(folder: StudyFolder, run: Run) -> list[float]:
    """Returns each task's validation loss; nothing if the run did not finish with numbers."""
    result = folder.result(run.hash)
    if result.get("status") != "finished":
        return []
    losses = [metrics["loss"] for metrics in result["validation"]["tasks"].values()]
    return losses if None not in losses else []
