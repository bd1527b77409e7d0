"""Tables and texts about the runs of a study."""

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from mtk import monitor
from mtk.display import aligned, counted, format_duration
from mtk.study.folder import State
from mtk.study.grid import Run
from mtk.study.run_log import Estimate
from mtk.study.spec import Study

DONE = (State.FINISHED, State.DIVERGED, State.FAILED, State.DAMAGED)


def table(runs: Sequence[Run], states: Mapping[str, State]) -> list[str]:
    """Returns the lines of a table with one row per run: its varying parameters and its state."""
    names = varying(runs)
    rows = [["run", "method", "seed", *(name.rpartition(".")[2] for name in names), "state"]]
    for run in runs:
        values = [_short(run.point.get(name, "")) for name in names]
        rows.append([run.hash, run.method, str(run.seed), *values, states[run.hash].value])
    return aligned(rows)


def numbers(
    study: Study, runs: Sequence[Run], states: Mapping[str, State], later: int
) -> list[str]:
    """Returns the number of runs, by method and in total, and their states.

    Args:
        study: The study.
        runs: The known runs.
        states: Their states, by hash.
        later: Maximum number of further runs, which depend on results still to come.
    """
    by_method = Counter(run.method for run in runs)
    lines = [f"  {label}: {number:,}" for label, number in by_method.items()]
    if later:
        lines.append(
            f"  then the models selected on validation, with {study.fresh_seeds} fresh seeds: "
            f"at most {later:,}"
        )
    counts = Counter(states.values())
    known = ", ".join(f"{counts[state]:,} {state.value}" for state in State if counts[state])
    total = counted(len(runs), "run") + (f" and at most {later:,} more" if later else "")
    return [f"{study.name}: {total} ({known})", *lines]


def time_left(pending: Sequence[Run], estimate: Estimate, slots: int) -> str:
    """Returns the estimated time in words, and its basis.

    Args:
        pending: The runs that are not done.
        estimate: Estimated durations of runs.
        slots: Runs at a time.
    """
    total = estimate.total(pending, slots)
    if total is None:
        return (
            "estimated time: unknown until runs have finished. To get an estimate now, set "
            "study.Study.run_minutes."
        )
    source = "the time of finished runs" if estimate.measured else "the `run_minutes` of the study"
    return (
        f"estimated time: {format_duration(total)} with {counted(slots, 'run')} at a time, "
        f"based on {source}"
    )


def repeated(again: Sequence[tuple[Run, Run]]) -> list[str]:
    """Returns the messages about runs that are equal to others."""
    if not again:
        return []
    lines = [
        f"  {run.method} {run.point} equals {first.method} {first.point}" for run, first in again
    ]
    shown = [*lines[:5], f"  and {len(lines) - 5} more"] if len(lines) > 6 else lines
    some = (
        f"{len(again)} runs are equal to other runs"
        if len(again) > 1
        else "1 run is equal to another one"
    )
    return [f"{some} and will be run only once:", *shown]


def best(runs: Sequence[Run], selected: Mapping[str, monitor.Selected]) -> list[list[str]]:
    """Returns a table of the best configuration of each method, by its runs' selection value.

    Args:
        runs: Runs of a study.
        selected: The values that selected the finished runs, by hash.

    Returns:
        A header and a row for each method with a finished run: its name, the number of its finished
        runs, the mean over the configuration's seeds, and its varying parameters. In a study of two
        stages, the first one decides which is best. Methods whose runs cannot be compared are left
        out; empty if no method remains.
    """
    names, rows, shown = varying(runs), [], monitor.shown(selected)
    for method in dict.fromkeys(run.method for run in runs):
        own = [run for run in runs if run.method == method and run.hash in selected]
        selecting = [run for run in own if run.selects]
        with contextlib.suppress(monitor.DifferentMonitorsError):
            found = monitor.compared([selected[run.hash] for run in selecting])
            values = dict(zip(selecting, found, strict=True))
            if values:
                chosen = min(
                    by_point(selecting), key=lambda group: fmean(values[run] for run in group)
                )
                first = [run for run in own if run.point == chosen[0].point]
                mean = fmean(shown[run.hash] for run in first)
                name = monitor.short(selected[first[0].hash].of_trained().monitor)
                measured = f"{name} {mean:.4g}"
                seeds = f"{len(first)} seeds" if len(first) > 1 else f"seed {first[0].seed}"
                told = ", ".join([*parameters(first[0], names), seeds])
                rows.append([method, str(len(own)), measured, told])
    return [["method", "finished", "best", "with"], *rows] if rows else []


def by_point(runs: Sequence[Run]) -> list[list[Run]]:
    """Returns the runs of each configuration, which differ only in the seed."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(repr(run.point), []).append(run)
    return list(groups.values())


def parameters(run: Run, names: Sequence[str]) -> list[str]:
    """Returns the values of a run's parameters, such as `learning_rate 0.1`."""
    known = [name for name in names if name in run.point]
    return [f"{name.rpartition('.')[2]} {_short(run.point[name])}" for name in known]


def varying(runs: Sequence[Run]) -> list[str]:
    """Returns the names of the parameters that are not the same in all runs."""
    names = dict.fromkeys(name for run in runs for name in run.point)
    return [name for name in names if len({repr(run.point.get(name)) for run in runs}) > 1]


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        each = (
            (key, f"{v:.3g}" if isinstance(v, float) else _short(v)) for key, v in value.items()
        )
        text = " ".join(f"{key} {item}" for key, item in each)
    elif isinstance(value, (list, tuple)):
        text = " ".join(map(_short, value))
    else:
        text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
