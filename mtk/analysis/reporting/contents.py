"""What a report holds, in its order."""

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from mtk.analysis import comparison, tables
from mtk.analysis.comparison import Comparison
from mtk.analysis.figures import forest, toy
from mtk.analysis.figures.style import styled
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.paired_margins import MEAN
from mtk.analysis.plain_text import FileNames
from mtk.analysis.reporting import catalogue
from mtk.analysis.reporting.spreadsheet import csv
from mtk.analysis.study_view import StudyView
from mtk.analysis.verdict import DELTA

_LEFT_OUT = "Metrics that are not compared, with the runs that have them"


@dataclass(frozen=True)
class Picture:
    """A drawn figure.

    Attributes:
        name: Of its files.
        title: What it shows, and its number in the paper.
        png: As bytes.
        svg: As a text.
    """

    name: str
    title: str
    png: bytes
    svg: str

    @property
    def source(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


@dataclass
class Part:
    """A chapter of the report: a study, or what concerns all.

    Attributes:
        title: Its heading.
        names: Makes the names of its files; one for the whole report.
        view: The study, or None.
        questions: Its verdicts.
        pictures: Its figures.
        tables: Its tables by title.
        absent: What could not be drawn or tabled, with the reason.
        files: Names of the tables' files by title.
    """

    title: str
    names: FileNames
    view: StudyView | None = None
    questions: list[Comparison] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def draw(self, name: str, title: str, make: Callable[[], Figure]) -> None:
        """Adds a figure, or the reason why there is none."""
        try:
            with styled():
                self.pictures.append(_picture(self._file(name), title, make()))
        except UnavailableError as reason:
            self.absent[title] = str(reason)

    def tabulate(self, title: str, make: Callable[[], pd.DataFrame]) -> None:
        """Adds a table, or the reason why there is none."""
        try:
            self.tables[title] = make()
            self.files[title] = self._file(title) + ".csv"
        except UnavailableError as reason:
            self.absent[title] = str(reason)

    def _file(self, title: str) -> str:
        words = f"{title} {self.title}".replace("×", "and").lower()
        return self.names.make(words)


@dataclass
class Contents:
    """The whole report.

    Attributes:
        table: All runs.
        parts: Its chapters; the first one concerns all studies.
    """

    table: pd.DataFrame
    parts: list[Part]

    def write(self, folder: Path) -> None:
        """Writes figures and tables as files."""
        for name in ("figures", "tables"):
            (folder / name).mkdir()
        for part in self.parts:
            for picture in part.pictures:
                (folder / "figures" / f"{picture.name}.png").write_bytes(picture.png)
                (folder / "figures" / f"{picture.name}.svg").write_text(picture.svg, "utf-8")
            for title, table in part.tables.items():
                (folder / "tables" / part.files[title]).write_bytes(csv(table))
        (folder / "tables" / "runs.csv").write_bytes(csv(self.table))


def collect(table: pd.DataFrame, views: list[StudyView], delta: float = DELTA) -> Contents:
    """Makes everything that the studies allow.

    Args:
        table: As `load` makes it.
        views: Its studies and settings.
        delta: Margins that are equivalent to none; see `mtk.analysis.judge`.
    """
    names = FileNames()
    names.make("runs")  # The table of all of them.
    everything = Part("All studies", names)
    everything.tabulate("Runs by outcome", partial(tables.runs_by_status, table))
    everything.tabulate("Runs that are not compared", partial(tables.problems, table))
    other_data = tables.other_data(table)
    if len(other_data):
        everything.tables["Runs that saw different data"] = other_data
    everything.tabulate(_LEFT_OUT, partial(tables.left_out, table))
    if table.attrs.get("remarks"):
        remarks = pd.DataFrame(table.attrs["remarks"], columns=["study", "remark"])
        everything.tabulate("What the sweeps say of their runs", lambda: remarks)
    everything.tabulate("Table 1: data", partial(tables.sources, views))
    everything.tabulate("Table 2: models and speed", partial(tables.models, views))
    everything.draw("figure 01", "Figure 1: what two tasks can reach (a convex problem)", toy.draw)
    everything.tabulate("Figure 1: points", toy.table)
    for name, title, draw_all in catalogue.OVER_STUDIES:
        everything.draw(name, title, partial(draw_all, views))
    return Contents(table, [everything, *(_study(view, names, delta) for view in views)])


def _study(view: StudyView, names: FileNames, delta: float) -> Part:
    part = Part(view.title, names, view)
    if not (view.table["status"] == "finished").any():
        ends = ", ".join(f"{n} {name}" for name, n in view.table["status"].value_counts().items())
        part.absent["Verdicts, figures and tables"] = f"no run is finished ({ends})"
        return part
    part.questions = comparison.comparisons(view, delta)
    part.draw("verdicts", "All verdicts", partial(forest.draw, view, part.questions))
    for question in part.questions:
        title = f"Verdict on the {question.title}"
        part.tabulate(title, partial(comparison.verdict_table, view, question))
        if question.kind == MEAN:
            better = f"Probability of improvement over equal weights, {question.space}"
            part.tabulate(better, partial(tables.improvement_table, view, question))
    for name, title, draw_one in catalogue.OF_A_STUDY:
        part.draw(name, title, partial(draw_one, view))
    for title, make in _tables(view):
        part.tabulate(title, make)
    return part


def _tables(view: StudyView) -> Iterator[tuple[str, Callable[[], pd.DataFrame]]]:
    yield "Budgets, tuning included", partial(tables.budgets, view)
    for space in view.spaces:
        sources = f"What moves results: variance of the mean {space}"
        yield sources, partial(tables.variance_table, view, space)
        yield f"Selected by validation, {space}", partial(comparison.selected, view, space)
        yield f"Indicators of {space}", partial(tables.indicator_table, view, space)
        yield f"At equal compute, {space}", partial(tables.equal_compute, view, space)
        single = f"Against single-task models, {space}"
        yield single, partial(tables.single_task_table, view, space)
    yield "Figure 6, left: grids and seeds", partial(catalogue.grid_table, view)
    yield "Figure 6, right: mean rank over all weightings", partial(catalogue.rank_table, view)
    yield "Table 3: mean over tasks", partial(tables.averages_of, view)
    yield "Table 4: what was fixed", partial(tables.settings, view)
    yield from catalogue.points_of(view)


def _picture(name: str, title: str, drawn: Figure) -> Picture:
    png, svg = io.BytesIO(), io.StringIO()
    # The layout is found once, for both.
    drawn.draw_without_rendering()
    drawn.set_layout_engine("none")
    drawn.savefig(png, format="png", dpi=130)
    drawn.savefig(svg, format="svg", metadata={"Date": None})
    return Picture(name, title, png.getvalue(), svg.getvalue())
