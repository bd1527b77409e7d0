"""Runs that depend on the results of others: the second stage, and replays."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from mtk import extras, monitor
from mtk.errors import StudyError
from mtk.study.folder import StudyFolder
from mtk.study.grid import Grid, Run, points
from mtk.study.spec import Study
from mtk.study.summary import by_point


def measured_again(grid: Grid, runs: Sequence[Run], folder: StudyFolder) -> list[Run]:
    """Returns the second stage: every model that validation selected, with each fresh seed.

    For static weights, the best other parameters are selected for each weighting, by the monitor's
    value by which the runs themselves were selected (see `mtk.monitor.compared`). For every other
    method, the best model by that value is selected, and models whose losses no other model of the
    method dominates, five at most. Whether a method is static is recorded by its runs. A model that
    did not finish with every seed of the first stage is not selected.

    Args:
        grid: The grid of the study.
        runs: The runs of the first stage, completed as far as possible.
        folder: The folder with its results.

    Raises:
        StudyError: If runs of one method were selected by different monitors.
    """
    study = grid.study
    found: list[Run] = []
    for method in study.methods if study.fresh_seeds else ():
        own = [run for run in runs if run.method == method]
        try:
            chosen = _selected(own, study, folder)
        except monitor.DifferentMonitorsError as error:
            raise StudyError(f"No model of {method} can be selected: {error}") from None
        found += [
            grid.run(method, run.point, seed) for run in chosen for seed in study.second_stage
        ]
    return found


def check_second_stage(study: Study) -> None:
    """Checks before any run that the second stage can select models.

    Args:
        study: The study.

    Raises:
        StudyError: If the packages that read results are not installed.
    """
    if study.fresh_seeds:
        _check_installed("The second stage (`fresh_seeds`)")


def _check_installed(what: str) -> None:
    extras.check(what, "analysis", ("pandas", "moocore"))


def most_measured(study: Study, methods: Sequence[str]) -> int:
    """Returns the largest possible number of second-stage runs of methods, before any run."""
    if not study.fresh_seeds:
        return 0
    from mtk.analysis.select import MOST_MODELS  # See `_selected`.

    models = 0
    for method in methods:
        every = list(points(study.grids(method)))
        weightings = {repr(point.get(study.weights)) for point in every}
        static = method == study.baseline
        models += len(weightings) if static else min(len(every), MOST_MODELS)
    return models * study.fresh_seeds


def _selected(own: Sequence[Run], study: Study, folder: StudyFolder) -> list[Run]:
    """Returns one run of each selected model of a method."""
    from mtk.analysis.select import best_of_each, spread_front  # Imports pandas.

    models = [each for each in by_point(own) if len(each) == len(study.seeds)]
    said = {run.hash: folder.selected(run.hash) for each in models for run in each}
    models = [each for each in models if all(said[run.hash] for run in each)]
    if not models:
        return []
    means = _means([[said[run.hash] for run in each] for each in models])  # type: ignore[misc]
    first = [each[0] for each in models]
    about = [folder.method(run.hash) for run in first]
    known = list(zip(first, about, strict=True))
    if all(each.get("static", run.method == study.baseline) for run, each in known):
        weights = [
            repr(each.get("task_weights") or run.point.get(study.weights)) for run, each in known
        ]
        return [first[number] for number in best_of_each(weights, means)]
    losses = np.array([np.mean([folder.losses(run.hash) for run in each], 0) for each in models])
    return [first[number] for number in spread_front(losses, means)]


def _means(models: Sequence[Sequence[monitor.Selected]]) -> np.ndarray:
    """Returns the validation value that selects, `(N,)`: the mean over each model's seeds.

    Lower is better among models that train the same tasks.
    """
    trained = [runs[0].trained for runs in models]
    means = np.empty(len(models))
    for kind in set(trained):
        own = [number for number, tasks in enumerate(trained) if tasks == kind]
        values = monitor.compared([run for number in own for run in models[number]])
        means[own] = np.reshape(values, (len(own), -1)).mean(1)
    return means


def check_replays(grid: Grid) -> None:
    """Checks replays as far as possible before any run.

    Args:
        grid: The grid of the study.

    Raises:
        StudyError: If there is no baseline, it does not take the weights, or the packages that read
            results are not installed.
    """
    study = grid.study
    if study.baseline is None:
        raise StudyError("A replay needs static weights. Set `baseline` of the study.")
    _check_installed("A replay")
    point = next(points(study.grids(study.baseline)))
    grid.run(study.baseline, {**point, study.weights: {}}, study.seeds[0])


def replays(grid: Grid, runs: Sequence[Run], folder: StudyFolder) -> tuple[list[Run], list[str]]:
    """Returns replays: runs with the mean weights of a method's runs as static weights.

    The gain of a method over its replay is due to the change of its weights during training. The
    models of the second stage are replayed; without a second stage, the configurations that no
    other of the method dominates in validation. Each is replayed with all its seeds, with the mean
    weights over them, and at its point of the grid that all methods share.

    Args:
        grid: The grid of the study, checked by `check_replays`.
        runs: The runs, completed as far as possible.
        folder: The folder with their results.

    Returns:
        The replays, and a sentence for each configuration that cannot be replayed.
    """
    from mtk import analysis  # Takes a second, and is needed only here.

    study = grid.study
    shared = {name for axis in study.grid for name in ([axis] if isinstance(axis, str) else axis)}
    found, left_out = [], []
    for method in study.methods:
        own = [run for run in runs if run.method == method != study.baseline]
        finished = by_point([run for run in own if _losses(folder, run)])
        if study.fresh_seeds:
            chosen = [any(run.seed in study.second_stage for run in each) for each in finished]
        else:
            losses = [np.mean([_losses(folder, run) for run in each], 0) for each in finished]
            chosen = analysis.non_dominated(np.array(losses)).tolist() if losses else []
        for each in itertools.compress(finished, chosen):
            try:
                means = [analysis.mean_weights(folder.run_dir(run.hash)) for run in each]
            except ValueError as error:
                left_out.append(f"{method} cannot be replayed: {error}")
                continue
            point = {name: value for name, value in each[0].point.items() if name in shared}
            found += [_replay(grid, run, point, _mean(means)) for run in each]
    return found, left_out


def _replay(grid: Grid, run: Run, point: dict[str, Any], weights: dict[str, float]) -> Run:
    study = grid.study
    assert study.baseline is not None  # Checked by `check_replays`.
    weighted = {**point, study.weights: weights}
    label = f"{run.method} (replayed)"
    return grid.run(study.baseline, weighted, run.seed, label, "replay")


def _mean(weights: Sequence[dict[str, float]]) -> dict[str, float]:
    """Returns the mean weight of each task, to six digits."""
    return {task: float(f"{np.mean([w[task] for w in weights]):.6g}") for task in weights[0]}


def _losses(folder: StudyFolder, run: Run) -> list[float]:
    """Returns each task's validation loss; empty if the run did not finish with finite losses."""
    losses = folder.losses(run.hash)
    return losses if np.isfinite(losses).all() else []
