"""A study as a page: figures, tables, and the verdict."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from mtk import atomic, places
from mtk.analysis import metric_sets
from mtk.analysis.load import load
from mtk.analysis.reporting import method_names, page
from mtk.analysis.reporting.contents import collect
from mtk.analysis.reporting.hparams import write_hparams
from mtk.analysis.study_view import StudyView, views
from mtk.analysis.verdict import DELTA


def report(
    study_dirs: Sequence[str | Path],
    out: str | Path,
    higher: Iterable[str] = (),
    lower: Iterable[str] = (),
    costs: Mapping[str, float] | None = None,
    delta: float = DELTA,
    figures: Sequence[Callable[[StudyView], Figure]] = (),
) -> Path:
    """Writes the report on studies: a page, figures as PNG and SVG, tables as CSV, HParams.

    Nothing is there before everything is: the folder is written aside and then moved.

    Args:
        study_dirs: Study folders.
        out: Folder to write: new, empty, or an earlier report, which is replaced. A link to a
            folder stays, and the folder is replaced.
        higher: Names of metrics of which more is better, if the runs do not tell.
        lower: Names of metrics of which less is better, if the runs do not tell.
        costs: Relative cost of a step by method, in place of the measured one.
        delta: Margins within ± delta, in widths of the static front, count as equivalent.
        figures: Functions that draw further figures, each of a study as a matplotlib Figure. The
            docstring is title and caption. One that raises an `UnavailableError` is not drawn, and
            the page says why.

    Returns:
        The page, `<out>/index.html`: it needs no other file.

    Raises:
        StudyError: If a folder is no study, or has no runs.
        ValueError: If something else is in the folder to write, or it cannot be moved; a cost is of
            no method, a direction of no metric, or delta is not between 0 and 1.
    """
    target = places.check_folder(out)
    if not 0 < delta < 1:
        raise ValueError(f"delta is a share of the front's width, above 0 and below 1: {delta}")
    table = load(study_dirs)
    costs, higher, lower = dict(costs or {}), set(higher), set(lower)
    if unknown := costs.keys() - set(table["method"]):
        methods = ", ".join(sorted(set(table["method"])))
        raise ValueError(f"No run has the method {min(unknown)!r}. There are: {methods}")
    _check_metrics(table, higher, lower)
    names = method_names.written(table)
    shown = table.assign(method=table["method"].map(names))
    shown_costs = {names[method]: cost for method, cost in costs.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing_folder(target) as aside:
        made = collect(shown, views(shown, higher, lower, shown_costs), delta, figures)
        made.write(aside)
        write_hparams(table, aside / "tensorboard")
        (aside / "index.html").write_text(page.render(made), encoding="utf-8")
    return Path(out) / "index.html"


def _check_metrics(table: pd.DataFrame, higher: set[str], lower: set[str]) -> None:
    known = {name for names in metric_sets.by_task(table).values() for name in names}
    # While no run has values nobody knows their names.
    if known and (unknown := (higher | lower) - known):
        names = ", ".join(sorted(known))
        raise ValueError(f"No run has the metric {min(unknown)!r}. There are: {names}")
    if both := higher & lower:
        raise ValueError(f"More and less of {min(both)!r} cannot both be better. Name it once.")
