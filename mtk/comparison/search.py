"""Learning rate search: a grid that is widened until the best rate on validation is inside."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mtk import monitor
from mtk.comparison.planning import RATE, STATIC, around, widened
from mtk.study import StudyFolder

ROUNDS = 8  # A factor of three thousand in each direction.


def searched(
    sweep: Callable[[Mapping[str, Sequence[float]]], None],
    best: Callable[[str, Sequence[float]], float | None],
    labels: Sequence[str],
    first: Sequence[float],
    may_go_on: Callable[[], bool],
) -> dict[str, list[float]]:
    """Returns learning rates for each method, such that the best on validation is not at an end.

    Args:
        sweep: Trains with the learning rates given by label.
        best: Called with a label and learning rates; returns the best one on validation, or None if
            no run has finished.
        labels: Labels of static weights and of the methods.
        first: The initial learning rates.
        may_go_on: Called before the grid is widened; returns whether there is time.
    """
    rates = {label: sorted(first) for label in labels}
    for number in range(ROUNDS):
        sweep(rates)
        wider = {label: widened(own, best(label, own)) for label, own in rates.items()}
        if wider == rates or number + 1 == ROUNDS or not may_go_on():
            break
        rates = wider
    # All static weightings then use the same few learning rates.
    return rates | {STATIC: around(rates[STATIC], best(STATIC, rates[STATIC]))}


def best_of(out: Path, label: str, rates: Sequence[float]) -> float | None:
    """Returns the best learning rate on validation; None if no run has finished.

    Args:
        out: The study folder.
        label: Label of the method.
        rates: Learning rates to choose from.
    """
    found = _values(out, label, rates)
    return min(found, key=lambda rate: found[rate]) if found else None


def _values(out: Path, label: str, rates: Sequence[float]) -> dict[float, float]:
    """Returns the selection values of a method's runs by learning rate; lower is better."""
    folder = StudyFolder(out)
    if not folder.list.exists():
        return {}
    runs = json.loads(folder.list.read_text(encoding="utf-8"))["runs"]
    own = {
        float(run["bindings"][RATE]): said
        for run in runs
        if run["method"] == label and float(run["bindings"][RATE]) in rates
        if (said := folder.selected(run["hash"])) is not None
    }
    return dict(zip(own, monitor.compared(list(own.values())), strict=True)) if own else {}
