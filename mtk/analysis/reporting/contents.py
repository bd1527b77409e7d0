"""What a report holds, in its order."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from mtk.analysis import comparison, metric_sets
from mtk.analysis.comparison import Comparison
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
VALIDATION = "Configurations in validation; the test is sealed"
_LEFT_OUT = "Metrics that are not compared, with the runs that have them"
_DPI, _PAGE_DPI = 150, 84


@dataclass(frozen=True)
class RenderedFigure:
    """A drawn figure.

    Attributes:
        name: Of its files.
        title: What it shows, and its number in the paper.
        caption: How to read it.
        png: As bytes.
        svg: As a text.
        width: In pixels of the page.
        narrow: As bytes of a PNG for narrow screens; None where the usual one does.
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
    """A part of the report: a study, or what concerns all.

    Attributes:
        title: Its heading.
        names: Makes the names of its files; one for the whole report.
        view: The study, or None.
        questions: Its verdicts.
        forest: All verdicts at a glance, or None.
        figures: Its other figures.
        tables: Its tables by title.
        skipped: What could not be drawn or tabled, with the reason.
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
        """What was skipped, by the reason."""
        found: dict[str, list[str]] = {}
        for title, reason in self.skipped.items():
            found.setdefault(reason, []).append(title)
        return found

    @property
    def every_figure(self) -> list[RenderedFigure]:
        return [*([self.forest] if self.forest else []), *self.figures]

    def draw(self, entry: Entry, *drawn_from: object) -> RenderedFigure | None:
        """Returns a figure; if there is none, keeps the reason."""
        try:
            with styled():
                narrow = entry.narrow and entry.narrow(*drawn_from)
                return render(self._file(entry.name), entry, entry.draw(*drawn_from), narrow)
        except UnavailableError as reason:
            self.skipped[entry.title] = str(reason)
            return None

    def tabulate(self, title: str, make: Callable[[], pd.DataFrame]) -> None:
        """Adds a table, or the reason why there is none."""
        try:
            self.tables[title] = make()
            self.files[title] = self._file(title) + ".csv"
        except UnavailableError as reason:
            self.skipped[title] = str(reason)

    def _file(self, title: str) -> str:
        words = f"{title} {self.title}".replace("×", "and").lower()
        return self.names.make(words)


@dataclass
class Contents:
    """The whole report.

    Attributes:
        table: All runs.
        sections: Its parts, the studies first.
    """

    table: pd.DataFrame
    sections: list[Section]

    def write(self, folder: Path) -> None:
        """Writes figures and tables as files."""
        for name in ("figures", "tables"):
            (folder / name).mkdir()
        for section in self.sections:
            for figure in section.every_figure:
                (folder / "figures" / f"{figure.name}.png").write_bytes(figure.png)
                (folder / "figures" / f"{figure.name}.svg").write_text(figure.svg, "utf-8")
            for title, table in section.tables.items():
                (folder / "tables" / section.files[title]).write_bytes(csv(table))
        (folder / "tables" / "runs.csv").write_bytes(csv(self.table))


def collect(table: pd.DataFrame, views: list[StudyView], delta: float = DELTA) -> Contents:
    """Makes everything that the studies allow.

    Args:
        table: As `load` makes it.
        views: Its studies and settings.
        delta: Margins that count as equivalent; see `mtk.analysis.judge`.
    """
    names = FileNames()
    names.make("runs")  # The table of all of them.
    studies = [_study(view, names, delta) for view in views]
    return Contents(table, [*studies, _all_studies(table, views, names)])


def _all_studies(table: pd.DataFrame, views: list[StudyView], names: FileNames) -> Section:
    section = Section("All studies", names)
    section.tabulate("Runs by outcome", partial(tables.runs_by_status, table))
    for title, make in (
        ("Runs that are not compared", tables.problems),
        ("Runs that saw different data", tables.other_data),
        ("Runs that branched from others", tables.lineages),
        (_LEFT_OUT, tables.left_out),
    ):
        if len(make(table)):
            section.tabulate(title, partial(make, table))
    section.tabulate("Table 1: data", partial(tables.sources, views))
    section.tabulate("Table 2: models and speed", partial(tables.models, views))
    drawn = [section.draw(entry, views) for entry in figure_list.OVER_STUDIES]
    section.figures = [figure for figure in drawn if figure]
    section.tabulate("Figure 1: points", figure_list.toy.table)
    return section


def _study(view: StudyView, names: FileNames, delta: float) -> Section:
    section = Section(view.title, names, view)
    if not (view.table["status"] == "finished").any():
        said = f"no run is finished ({ends(view.table)})"
        section.skipped["Verdicts, figures and tables"] = said
        return section
    if metric_sets.is_sealed(view.table):
        section.skipped["Verdicts and figures"] = (
            "the test is sealed, so validation alone is shown; mtk bench score measures"
        )
        section.tabulate(BUDGETS, partial(tables.budgets, view))
        section.tabulate(VALIDATION, partial(tables.configurations, view))
        return section
    section.questions = comparison.comparisons(view, delta)
    section.forest = section.draw(figure_list.FOREST, view, section.questions)
    drawn = [section.draw(entry, view, section.questions) for entry in figure_list.of_a_study(view)]
    section.figures = [figure for figure in drawn if figure]
    for question in section.questions:
        title = f"Verdict on the {question.title}"
        section.tabulate(title, partial(comparison.verdict_table, view, question))
        if question.kind == MEAN:
            better = f"Probability of improvement over equal weights, {question.space}"
            section.tabulate(better, partial(tables.improvement_table, view, question))
    section.tabulate(WIDTHS, partial(comparison.width_table, view, section.questions))
    for title, make in _tables(view):
        section.tabulate(title, make)
    return section


def _tables(view: StudyView) -> Iterator[tuple[str, Callable[[], pd.DataFrame]]]:
    yield BUDGETS, partial(tables.budgets, view)
    for space in view.spaces:
        sources = f"What moves results: variance of the mean {space}"
        yield sources, partial(tables.variance_table, view, space)
        yield f"Selected by validation, {space}", partial(comparison.selected, view, space)
        yield f"Indicators of {space}", partial(tables.indicator_table, view, space)
        yield f"At equal compute, {space}", partial(tables.equal_compute, view, space)
        single = f"Against single-task models, {space}"
        yield single, partial(tables.single_task_table, view, space)
    yield "Figure 6, left: grids and seeds", partial(figure_list.grid_table, view)
    yield "Figure 6, right: mean rank over all weightings", partial(figure_list.rank_table, view)
    yield "Table 3: mean over tasks", partial(tables.averages_of, view)
    yield "Table 4: what was fixed", partial(tables.settings, view)
    yield from figure_list.points_of(view)


def render(name: str, entry: Entry, drawn: Figure, narrow: Figure | None = None) -> RenderedFigure:
    """Returns a figure in both forms.

    Args:
        name: Of its files.
        entry: What is said of it.
        drawn: The figure.
        narrow: The same for narrow screens, if there is one.
    """
    svg = io.StringIO()
    # The layout is found once, for both.
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
