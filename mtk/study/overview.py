"""The runs of a study as a table, before they are done."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mtk import duration
from mtk.study.description import Study
from mtk.study.estimate import Estimate
from mtk.study.expansion import Run
from mtk.study.folder import State
from mtk.text_table import aligned

DONE = (State.FINISHED, State.DIVERGED, State.FAILED, State.DAMAGED)


def table(runs: Sequence[Run], states: Mapping[str, State]) -> list[str]:
    """Returns the lines of a table, a row for each run: what differs, and what has become of it."""
    names = _varying(runs)
    rows = [["run", "method", "seed", *(name.rpartition(".")[2] for name in names), "state"]]
    for run in runs:
        values = [_short(run.point.get(name, "")) for name in names]
        rows.append([run.hash, run.method, str(run.seed), *values, states[run.hash].value])
    return aligned(rows)


def numbers(
    study: Study, runs: Sequence[Run], states: Mapping[str, State], later: int
) -> list[str]:
    """Returns how many runs there are, by method and in all, and what has become of them.

    Args:
        study: The study.
        runs: Those that are known.
        states: What has become of them, by hash.
        later: How many more there are at most, which depend on results still to come.
    """
    by_method = Counter(run.method for run in runs)
    lines = [f"  {label}: {number}" for label, number in by_method.items()]
    if later:
        lines.append(
            f"  then what validation selects, with {study.fresh_seeds} fresh seeds: at most {later}"
        )
    counts = Counter(states.values())
    known = ", ".join(f"{counts[state]} {state.value}" for state in State if counts[state])
    total = f"{len(runs)} runs" + (f" and at most {later} more" if later else "")
    return [f"{study.name}: {total} ({known})", *lines]


def time_left(todo: Sequence[Run], estimate: Estimate, slots: int) -> str:
    """Returns the estimated time in words, and where it comes from.

    Args:
        todo: The runs that are still to do.
        estimate: How long runs take.
        slots: Runs at a time.
    """
    total = estimate.total(todo, slots)
    if total is None:
        return (
            "estimated time: unknown until runs are finished. Give study.Study.run_minutes to "
            "reckon with so many minutes for each."
        )
    source = "what finished runs took" if estimate.measured else "the study's `run_minutes`"
    return f"estimated time: {duration.in_words(total)}, {slots} at a time, by {source}"


def repeated(again: Sequence[tuple[Run, Run]]) -> list[str]:
    """Returns what is said of runs that are equal to others."""
    if not again:
        return []
    lines = [f"  {run.method} {run.point} is {first.method} {first.point}" for run, first in again]
    shown = [*lines[:5], f"  and {len(lines) - 5} more"] if len(lines) > 6 else lines
    some = (
        f"{len(again)} runs are equal to others" if len(again) > 1 else "A run is equal to another"
    )
    return [f"{some} and done once:", *shown]


def _varying(runs: Sequence[Run]) -> list[str]:
    names = dict.fromkeys(name for run in runs for name in run.point)
    return [name for name in names if len({repr(run.point.get(name)) for run in runs}) > 1]


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        text = " ".join(f"{key} {_short(item)}" for key, item in value.items())
    elif isinstance(value, (list, tuple)):
        text = " ".join(map(_short, value))
    else:
        text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
