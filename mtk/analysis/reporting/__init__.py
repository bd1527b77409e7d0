"""Reports on studies as a page with figures, tables and verdicts."""

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
    say: Callable[[str], object] | None = None,
) -> Path:
    """Writes a report on studies: a page, figures as PNG and SVG, tables as CSV, and HParams.

    The folder is replaced atomically: it is written elsewhere and then moved.

    Args:
        study_dirs: Study folders.
        out: Output folder: new, empty, or an earlier report, which is replaced. If it is a symbolic
            link to a folder, the link stays and the folder is replaced.
        higher: Names of metrics for which higher is better, if the runs do not record it.
        lower: Names of metrics for which lower is better, if the runs do not record it.
        costs: Relative cost of a step by method, instead of the measured one.
        delta: Margins within ± delta, in widths of the static front, count as equivalent.
        figures: Functions that draw additional figures: each takes a study and returns a matplotlib
            Figure. The docstring gives title and caption. If a function raises an
            `UnavailableError`, the page shows the reason instead of the figure.
        say: Is called with a sentence on each study, such as `print`.

    Returns:
        The path of the page, `<out>/index.html`, which needs no other file.

    Raises:
        StudyError: If a folder is not a study, or has no runs.
        ValueError: If the output folder contains something else or cannot be moved, a cost is for
            an unknown method, a direction for an unknown metric, or delta is not between 0 and 1.
    """
    target = places.check_folder(out)
    if not 0 < delta < 1:
        raise ValueError(
            "`delta` must be a share of the front's width between 0 and 1 (exclusive). "
            f"Received: {delta}"
        )
    table = load(study_dirs)
    costs, higher, lower = dict(costs or {}), set(higher), set(lower)
    if unknown := costs.keys() - set(table["method"]):
        methods = ", ".join(sorted(set(table["method"])))
        raise ValueError(f"No run has the method {min(unknown)!r}. Available: {methods}")
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
    if say is not None:
        for sentence in page.sentences(made):
            say(sentence)
    return Path(out) / "index.html"


def _check_metrics(table: pd.DataFrame, higher: set[str], lower: set[str]) -> None:
    known = {name for names in metric_sets.by_task(table).values() for name in names}
    # Until a run has values, the names of metrics are unknown.
    if known and (unknown := (higher | lower) - known):
        names = ", ".join(sorted(known))
        raise ValueError(f"No run has the metric {min(unknown)!r}. Available: {names}")
    if both := higher & lower:
        raise ValueError(
            f"The metric {min(both)!r} is given as both higher-is-better and lower-is-better. "
            "Give it once."
        )
