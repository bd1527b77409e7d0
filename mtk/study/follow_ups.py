"""Runs that depend on the results of others: more seeds of the best, and replays."""

import importlib.util
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from mtk import extras, monitor
from mtk.study.description import StudyError
from mtk.study.expansion import Expansion, Run, points
from mtk.study.folder import StudyFolder


def best(expansion: Expansion, runs: Sequence[Run], folder: StudyFolder) -> list[Run]:
    """Returns the runs that repeat each method's best configuration with the further seeds.

    The best is so, with the first seed, by what the runs themselves were selected by: their
    monitor's value; see `mtk.monitor.compared`.

    Args:
        expansion: Of the study.
        runs: All others, completed as far as they can be.
        folder: Where their results are.

    Raises:
        StudyError: If runs of one method were selected by different monitors.
    """
    study = expansion.study
    found = []
    for method in study.methods if study.best_seeds else ():
        own = [run for run in runs if run.method == method and run.seed == study.seeds[0]]
        known = {run: each for run in own if (each := folder.selected(run.hash))}
        if known:
            try:
                values = monitor.compared(list(known.values()))
            except monitor.DifferentMonitorsError as error:
                raise StudyError(f"{method} has no best configuration to repeat: {error}") from None
            chosen = min(zip(values, known, strict=True), key=lambda pair: pair[0])[1]
            found += [expansion.run(method, chosen.point, seed) for seed in study.best_seeds]
    return found


def check_replays(expansion: Expansion) -> None:
    """Checks what can be known of replays before any run.

    Args:
        expansion: Of the study.

    Raises:
        StudyError: If there is no baseline, or it does not take the weights, or what reads results
            is not installed.
    """
    study = expansion.study
    if study.baseline is None:
        raise StudyError("A replay needs static weights: set the study's `baseline`.")
    if importlib.util.find_spec("pandas") is None:
        raise StudyError(f"A replay needs pandas: {extras.command('analysis')}")
    point = next(points(study.grids(study.baseline)))
    expansion.run(study.baseline, {**point, study.weights: {}}, study.seeds[0])


def replays(
    expansion: Expansion, runs: Sequence[Run], folder: StudyFolder
) -> tuple[list[Run], list[str]]:
    """Returns runs with the mean weights of a method's runs as static weights.

    What a method reaches beyond its replay is what its weights do by changing. The configurations
    that no other of the method dominates in validation are replayed, each with all its seeds, with
    the mean weights over them, and at its point of the grid that all methods share.

    Args:
        expansion: Of the study, checked by `check_replays`.
        runs: The runs, completed as far as they can be.
        folder: Where their results are.

    Returns:
        The replays, and a sentence for each configuration that cannot be replayed.
    """
    from mtk import analysis  # Takes a second, and is not needed for anything else.

    study = expansion.study
    shared = {name for axis in study.grid for name in ([axis] if isinstance(axis, str) else axis)}
    found, left_out = [], []
    for method in study.methods:
        own = [run for run in runs if run.method == method != study.baseline]
        finished = _by_point([run for run in own if _losses(folder, run)])
        losses = [np.mean([_losses(folder, run) for run in each], 0) for each in finished]
        chosen = analysis.non_dominated(np.array(losses)) if losses else ()
        for each in itertools.compress(finished, chosen):
            try:
                means = [analysis.mean_weights(folder.run_dir(run.hash)) for run in each]
            except ValueError as error:
                left_out.append(f"No replay of {method}: {error}")
                continue
            point = {name: value for name, value in each[0].point.items() if name in shared}
            found += [_replay(expansion, run, point, _mean(means)) for run in each]
    return found, left_out


def _replay(
    expansion: Expansion, run: Run, point: dict[str, Any], weights: dict[str, float]
) -> Run:
    study = expansion.study
    assert study.baseline is not None  # As `check_replays` has seen.
    weighted = {**point, study.weights: weights}
    label = f"{run.method} (replayed)"
    return expansion.run(study.baseline, weighted, run.seed, label, "replay")


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
    losses = folder.losses(run.hash)
    return losses if np.isfinite(losses).all() else []
