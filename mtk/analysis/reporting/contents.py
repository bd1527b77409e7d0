"""The contents of a report, in order."""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from mtk.analysis import comparison, metric_sets
from mtk.analysis.comparison import Comparison
from mtk.analysis.figures import hypervolume, search, seeds_and_grids, task_weights, utility
from mtk.analysis.figures.style import styled
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.paired_margins import MEAN
from mtk.analysis.plain_text import FileNames
from mtk.analysis.reporting import figure_list, tables
from mtk.analysis.reporting.figure_list import Entry
from mtk.analysis.reporting.remarks import ends
from mtk.analysis.reporting.spreadsheet import csv
from mtk.analysis.study_view import StudyView
from mtk.analysis.verdict import DELTA

BUDGETS = "Budgets, tuning included"
WIDTHS = "Width of the static front in test"
VALIDATION = "Configurations on validation (the test split is sealed)"
_LEFT_OUT = "Metrics that are not compared, with the runs that have them"
_DPI, _PAGE_DPI = 150, 84


class RenderedFigure(NamedTuple):
    """A drawn figure.

    Attributes:
        name: Name of its files.
        title: What it shows, and its number in the paper.
        caption: How to read it.
        png: Bytes of the PNG.
        svg: Text of the SVG.
        width: Width in pixels of the page.
        narrow: Bytes of a PNG for narrow screens; None if the usual one will do.
    """

    name: str
    title: str
    caption: str
    png: bytes
    svg: str
    width: int = 0
    narrow: bytes | None = None


@dataclass
class Section:
    """A section of the report: a study, or the part on all studies.

    Attributes:
        title: Its heading.
        names: Makes the names of its files; shared by the whole report.
        view: The study, or None.
        questions: Its verdicts.
        forest: The figure of all verdicts, or None.
        figures: Its other figures.
        tables: Its tables by title.
        skipped: Reasons for missing figures and tables, by title.
        files: Names of the tables' files by title.
    """

    title: str
    names: FileNames
    view: StudyView | None = None
    questions: list[Comparison] = field(default_factory=list)
    forest: RenderedFigure | None = None
    figures: list[RenderedFigure] = field(default_factory=list)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def not_shown(self) -> dict[str, list[str]]:
        """Titles of skipped figures and tables by reason."""
        found: dict[str, list[str]] = {}
        for title, reason in self.skipped.items():
            found.setdefault(reason, []).append(title)
        return found

    def draw(self, entries: Iterable[Entry], *drawn_from: object) -> list[RenderedFigure]:
        """Returns the rendered figures; the reasons for missing ones are kept."""
        found = []
        for entry in entries:
            try:
                with styled():
                    narrow = entry.narrow and entry.narrow(*drawn_from)
                    name = self._file(entry.name)
                    found.append(render(name, entry, entry.draw(*drawn_from), narrow))
            except UnavailableError as reason:
                self.skipped[entry.title] = str(reason)
        return found

    def tabulate(self, title: str, make: Callable[..., pd.DataFrame], *made_from: object) -> None:
        """Adds a table, or the reason why it is missing."""
        try:
            self.tables[title] = make(*made_from)
            self.files[title] = self._file(title) + ".csv"
        except UnavailableError as reason:
            self.skipped[title] = str(reason)

    def _file(self, title: str) -> str:
        return self.names.make(f"{title} {self.title}".replace("×", "and").lower())

    def write(self, folder: Path) -> None:
        """Writes figures and tables as files."""
        for figure in [*([self.forest] if self.forest else []), *self.figures]:
            (folder / "figures" / f"{figure.name}.png").write_bytes(figure.png)
            (folder / "figures" / f"{figure.name}.svg").write_text(figure.svg, "utf-8")
        for title, table in self.tables.items():
            (folder / "tables" / self.files[title]).write_bytes(csv(table))


class Contents(NamedTuple):
    """The whole report: the table of all runs, and its sections, studies first."""

    table: pd.DataFrame
    sections: list[Section]

    def write(self, folder: Path) -> None:
        """Writes figures and tables as files."""
        for name in ("figures", "tables"):
            (folder / name).mkdir()
        for section in self.sections:
            section.write(folder)
        (folder / "tables" / "runs.csv").write_bytes(csv(self.table))


def collect(
    table: pd.DataFrame,
    views: list[StudyView],
    delta: float = DELTA,
    others: Sequence[Callable[[StudyView], Figure]] = (),
) -> Contents:
    """Makes all figures and tables that the studies allow; `others` draw additional figures."""
    names = FileNames()
    names.make("runs")  # The table of all runs.
    entries = [figure_list.of_others(draw) for draw in others]
    studies = [_study(view, names, delta, entries) for view in views]
    section = Section("All studies", names)
    section.tabulate("Runs by outcome", tables.runs_by_status, table)
    for title, make in (
        ("Runs that are not compared", tables.problems),
        ("Runs with different data", tables.other_data),
        ("Runs that branched from other runs", tables.lineages),
        (_LEFT_OUT, tables.left_out),
    ):
        if len(found := make(table)):
            section.tabulate(title, found.copy)
    section.tabulate("Data", tables.sources, views)
    section.tabulate("Models and speed", tables.models, views)
    section.figures = section.draw(figure_list.OVER_STUDIES, views)
    return Contents(table, [*studies, section])


def _study(
    view: StudyView, names: FileNames, delta: float, others: Sequence[Entry] = ()
) -> Section:
    section = Section(view.title, names, view)
    if metric_sets.finished(view.table).empty:
        said = f"no run can be compared ({ends(view.table)})"
        section.skipped["Verdicts, figures and tables"] = said
        return section
    if metric_sets.is_sealed(view.table):
        section.skipped["Verdicts and figures"] = (
            "the test split is sealed, so only validation is shown; mtk bench score measures test"
        )
        section.tabulate(BUDGETS, tables.budgets, view)
        section.tabulate(VALIDATION, tables.configurations, view)
        return section
    asked = section.questions = comparison.comparisons(view, delta)
    section.forest = next(iter(section.draw([figure_list.FOREST], view, asked)), None)
    section.figures = section.draw([*figure_list.of_a_study(view), *others], view, asked)
    for question in asked:
        title = f"Verdict on the {question.title}"
        section.tabulate(title, comparison.verdict_table, view, question)
        if question.kind == MEAN:
            better = f"Probability of improvement over equal weights, {question.space}"
            section.tabulate(better, tables.improvement_table, view, question)
    section.tabulate(WIDTHS, comparison.width_table, view, asked)
    for title, make in _tables(view, asked):
        section.tabulate(title, make, view)
    return section


def _tables(
    view: StudyView, asked: Sequence[Comparison]
) -> Iterator[tuple[str, Callable[[StudyView], pd.DataFrame]]]:
    yield BUDGETS, tables.budgets
    for space in view.spaces:
        for title, make in (
            ("Sources of variance of the mean {}", tables.variance_table),
            ("Selected on validation, {}", comparison.selected),
            ("Indicators of {}", partial(tables.indicator_table, compared=asked)),
            ("At equal compute, {}", tables.equal_compute),
            ("Against single-task models, {}", tables.single_task_table),
        ):
            yield title.replace("{}", space), partial(make, space=space)
    yield "Sparse grids and seeds", seeds_and_grids.grid_table
    yield "Mean rank over all weightings", utility.rank_table
    yield "Mean over tasks", tables.averages_of
    yield "Fixed parameters", tables.settings
    # The data of the figures, besides tables that interpret them.
    yield "Task weights over time", task_weights.table
    yield "Sparse grids and seeds: points", seeds_and_grids.table
    yield "Ranking by evaluation weighting: curves", utility.table
    if hypervolume.is_search(view):
        yield "Progress of the search: points", hypervolume.table
    yield "Search result by cost: curves", search.table
    yield "All configurations", tables.configurations


def render(name: str, entry: Entry, drawn: Figure, narrow: Figure | None = None) -> RenderedFigure:
    """Returns a figure as PNG and SVG, with a variant for narrow screens if given."""
    svg = io.StringIO()
    # The layout is computed once for both.
    drawn.draw_without_rendering()
    drawn.set_layout_engine("none")
    drawn.savefig(svg, format="svg", metadata={"Date": None})
    small = _png(narrow) if narrow else None
    width = round(_PAGE_DPI * drawn.get_figwidth())
    return RenderedFigure(
        name, entry.title, entry.caption, _png(drawn), svg.getvalue(), width, small
    )


def _png(drawn: Figure) -> bytes:
    png = io.BytesIO()
    drawn.savefig(png, format="png", dpi=_DPI)
    return png.getvalue()
