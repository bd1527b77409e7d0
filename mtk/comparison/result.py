"""The result of a comparison."""

import json
import math
import statistics
import sys
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mtk import monitor
from mtk.comparison.given import given, workload
from mtk.comparison.plan import untrained_losses
from mtk.comparison.planning import FIRST_SEED, SINGLE, STATIC
from mtk.export import load
from mtk.study import StudyFolder
from mtk.trainer.batch import inputs_of

# Errors raised by a weights file that is truncated or corrupted.
_DAMAGE = (LookupError, OSError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)
_LEARNED = 0.9  # Share of the untrained loss below which tasks that learn usually fall.


class Comparison:
    """A finished comparison. Printing it shows which weights to use and whether a method helps.

    Args:
        path: The study folder.
        tasks: Names of the tasks.
        key: The value of `Given.key`, with which `best` builds networks as the runs did.
        methods: Labels of the requested methods; None for all.

    Attributes:
        path: The study folder.
    """

    def __init__(
        self,
        path: Path,
        tasks: Sequence[str],
        key: str | None = None,
        methods: Sequence[str] | None = None,
    ):
        self.path, self._key = path, key
        self._tasks, self._methods = list(tasks), methods
        folder = StudyFolder(path)
        listed = json.loads(folder.list.read_text(encoding="utf-8"))["runs"]
        self._runs = [
            {**entry, "result": json.loads(result.read_text(encoding="utf-8"))}
            for entry in listed
            if (result := folder.run_dir(entry["hash"]) / "result.json").exists()
        ]
        self._finished = [run for run in self._runs if run["result"]["status"] == "finished"]

    @property
    def verdict(self) -> Any:
        """A `pandas.DataFrame` with a row for each method and comparison; see `mtk.report`."""
        from mtk import analysis

        return analysis.verdicts(self._view())

    def report(self, out: str | Path | None = None) -> Path:
        """Writes the report page with figures and tables, and returns its path.

        Args:
            out: Folder to write; by default `report` in the study folder.
        """
        from mtk import analysis

        return analysis.report([self.path], self.path / "report" if out is None else out)

    def best(
        self, utility: Mapping[str, float] | None = None, limits: Mapping[str, float] | None = None
    ) -> keras.Model:
        """Returns the best trained network, of any method, on validation.

        If each seed holds out different examples, only the selecting runs are considered, since
        they have the same validation split.

        Args:
            utility: Weights of the tasks: the network with the smallest weighted sum of validation
                losses, each divided by the median loss of static weights, is returned. By default,
                the monitor of the runs decides.
            limits: The largest validation loss of a task that is acceptable.

        Raises:
            ValueError: If an argument is not a dict of numbers, a task is unknown, no run meets the
                limits, or the weights file of the run is damaged.
        """
        _check_numbers("utility", utility, 0.0, sys.float_info.max)
        _check_numbers("limits", limits, -math.inf, math.inf)
        unknown = sorted({*(utility or {}), *(limits or {})} - set(self._tasks))
        if unknown:
            raise ValueError(f"Unknown tasks: {unknown}. Tasks: {self._tasks}")
        runs = [run for run in self._finished if not run["method"].startswith(SINGLE)]
        if self._key is not None and given(self._key).draws_splits:
            runs = [run for run in runs if run.get("stage") == "select"]
        within = [
            run
            for run in runs
            if all(_losses(run)[task] <= limit for task, limit in (limits or {}).items())
        ]
        if not within:
            least = {task: min(_losses(run)[task] for run in runs) for task in limits or {}}
            raise ValueError(f"No run meets the limits {limits}. The smallest losses are {least}.")
        values = self._values(within) if utility is None else self._costs(within, utility)
        chosen = min(zip(values, within, strict=True), key=lambda pair: pair[0])[1]
        folder = StudyFolder(self.path).run_dir(chosen["hash"])
        file = folder / "model.keras"
        if not file.is_file():
            return load(folder / "saved_model")
        return load(file) if self._key is None else _with_weights(self._key, file)

    def _view(self) -> Any:
        from mtk import analysis

        (view,) = analysis.views(analysis.load([self.path]))
        return view

    def __str__(self) -> str:
        from mtk import analysis
        from mtk.analysis import metric_sets
        from mtk.analysis.comparison import better
        from mtk.analysis.reporting.remarks import edges

        view = self._view()
        asked = [question for question in analysis.comparisons(view) if question.verdicts]
        doubts = [*self._unlearned, *metric_sets.constant(view.table)]
        doubts += edges(view, asked[0].measured) if asked else []
        return "\n".join([analysis.advice(view, better(asked)), *doubts, *self._lines(view, asked)])

    @property
    def _unlearned(self) -> list[str]:
        # Other seeds may hold out other examples, with different initial losses.
        alike = [_losses(run) for run in self._finished if run["seed"] == FIRST_SEED]
        return unlearned(untrained_losses(self.path), alike)

    def _repr_html_(self) -> str:
        return f"<pre>{self}</pre>"

    def _lines(self, view: Any, asked: Sequence[Any]) -> list[str]:
        """Returns a line for each method: its answer to the first question on the monitor.

        Other answers on it are one word each: a method on the front may be far from the best mean.
        """
        from mtk import analysis

        if not asked:
            against = analysis.against_single_tasks(view, next(iter(view.spaces)))
            return ["No method was compared.", *_unjudged(view, ()), *filter(None, [against])]
        question = asked[0]
        table = analysis.verdict_table(view, question)
        width = max(len(name) for name in table["method"])
        others = [q for q in asked if q.space == question.space and q is not question]
        lines = []
        for row in table.to_dict("records"):
            told = "; ".join(f"{q.title}: {q.verdicts[row['method']].answer}" for q in others)
            more = f" {told[0].upper()}{told[1:]}." if told else ""
            lines.append(f"{row['method']:{width}}  {row['in words']}{more}")
        lines += _unjudged(view, question.verdicts)
        asked_for = self._methods or view.methods
        earlier = [name for name in question.verdicts if name not in asked_for]
        if earlier:
            lines.append(
                f"({', '.join(earlier)}: from an earlier call with this folder; counts as part "
                "of this comparison.)"
            )
        return [
            *lines,
            *filter(None, [analysis.against_single_tasks(view, question.space)]),
            f"(Compared on the {question.title}, on fresh seeds. For all comparisons see "
            "`verdict` and `report()`.)",
        ]

    def _values(self, runs: Sequence[Mapping[str, Any]]) -> list[float]:
        return monitor.compared([monitor.selected(run["result"]) for run in runs])

    def _costs(
        self, runs: Sequence[Mapping[str, Any]], utility: Mapping[str, float]
    ) -> list[float]:
        static = [_losses(run) for run in self._finished if run["method"] == STATIC]
        units = {task: statistics.median(losses[task] for losses in static) for task in utility}
        return [
            sum(
                share * _losses(run)[task] / (units[task] or 1.0) for task, share in utility.items()
            )
            for run in runs
        ]


def _unjudged(view: Any, judged: Collection[str]) -> Iterator[str]:
    """Yields a line for each method without a verdict, with the status of its runs."""
    from mtk.analysis.reporting.remarks import ends

    for name in view.methods:
        if name not in judged:
            ended = ends(view.runs(name))
            yield f"{name}  No verdict: none of its models has finished with every seed ({ended})."


def unlearned(untrained: Mapping[str, float], losses: Sequence[Mapping[str, float]]) -> list[str]:
    """Returns a line for each task whose loss hardly decreases.

    The loss alone does not show whether nothing was learned or the labels are noisy.

    Args:
        untrained: Validation losses of the untrained network, by task.
        losses: Validation losses of each run, by task.
    """
    least = {
        task: min((run[task] for run in losses), default=0.0) / loss
        for task, loss in untrained.items()
        if 0 < loss < math.inf
    }
    return [
        f"The loss of {task!r} hardly decreases: on validation, it reaches {share:.2f} of the "
        "untrained network's loss at best. If its labels are not that noisy, scale them, train "
        "longer, or check the data."
        for task, share in least.items()
        if share > _LEARNED
    ]


def _with_weights(key: str, file: Path) -> keras.Model:
    """Returns a network as built by the runs, of any class, with the weights of one run."""
    data = workload(key)
    network = data.network(0)
    if not network.built:
        (batch,) = data.validation(1).take(1)
        network(inputs_of(batch))
    try:
        network.load_weights(file)
    except _DAMAGE as error:
        raise ValueError(f"{str(file)!r} is damaged: {error}. Repeat the run.") from error
    return network


def _check_numbers(name: str, given: Any, least: float, most: float) -> None:
    found = {} if given is None else given
    if not isinstance(found, Mapping) or not all(
        isinstance(each, (int, float, np.number)) and least <= each <= most
        for each in found.values()
    ):
        raise ValueError(
            f"`{name}` must be a dict of numbers by task, {{task: number}}. Received: {given!r}"
        )


def _losses(run: Mapping[str, Any]) -> dict[str, float]:
    tasks = run["result"]["validation"]["tasks"]
    return {
        task: float("inf") if found["loss"] is None else float(found["loss"])
        for task, found in tasks.items()
    }
