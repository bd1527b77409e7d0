"""The report as one page of HTML that needs nothing else."""

import base64
import hashlib
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any, NamedTuple

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from mtk.analysis import plain_text, run_table
from mtk.analysis.comparison import words
from mtk.analysis.reporting.contents import BUDGETS, WIDTHS, Contents, Section
from mtk.analysis.reporting.remarks import ends, remarks
from mtk.analysis.reporting.spreadsheet import csv
from mtk.analysis.reporting.tables import CLOCK_HOURS, CPU_HOURS, ordered
from mtk.analysis.select import STATIC
from mtk.analysis.study_view import StudyView

# Longer tables and texts are cut on the page; the CSV is whole.
_MOST_ROWS = 200
_LONGEST = 500
_MOST_NAMES = 6


def render(made: Contents) -> str:
    """Returns the page."""
    script, style = _asset("tables.js"), _asset("style.css")
    # The page needs nothing else, so a browser may refuse it everything else.
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}"
    )
    return (
        _templates()
        .get_template("page.html")
        .render(
            made=made,
            studies=list(dict.fromkeys(made.table["study"])),
            runs=f"{len(made.table)} runs: {ends(made.table)}",
            summaries=[Summary(s) for s in made.sections if s.view is not None],
            policy=policy,
            script=script,
            style=style,
        )
    )


def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mtk.analysis.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "cell": cell,
        "csv": lambda table: _address("text/csv", csv(table)),
        "png": lambda png: _address("image/png", png),
        "number": lambda value: isinstance(value, (int, float, np.number)),
        "what_was_run": what_was_run,
        "words": words,
    }
    environment.filters.update(filters)
    environment.globals["most_rows"] = _MOST_ROWS
    return environment


def _address(kind: str, content: bytes) -> str:
    """Returns an address that holds the content."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _asset(name: str) -> Markup:
    """Returns a file of ours as it is: it is no text of a study."""
    folder = resources.files("mtk.analysis.reporting") / "templates"
    return Markup((folder / name).read_text(encoding="utf-8"))


def _hash(text: str) -> str:
    """Returns a text as a policy names it: the browser refuses every other one."""
    digest = hashlib.sha256(str(text).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


class MethodSummary(NamedTuple):
    """What is said of one method first: the first comparison, and the answers of the others."""

    name: str
    answer: str
    sentence: str
    others: list[tuple[str, str]]


class Summary:
    """What the first screen says of a study."""

    def __init__(self, section: Section):
        assert section.view is not None  # As the caller has seen.
        self.section, self.view = section, section.view
        self.answered = [q for q in section.questions if q.verdicts]
        self.budgets = section.tables.get(BUDGETS, pd.DataFrame())
        self.warnings = remarks(self.view, section.questions)

    @property
    def unanswered(self) -> str:
        """Why there is no verdict, in a sentence."""
        skipped = self.section.skipped.items()
        reasons = {reason: None for title, reason in skipped if title.startswith("Verdict")}
        return f"No verdict: {'; '.join(reasons) or 'the remarks say why'}."

    @property
    def compared(self) -> str:
        """What was compared, in a sentence."""
        view = self.view
        tasks = f"{len(view.tasks)} tasks"
        if len(view.tasks) <= _MOST_NAMES:
            tasks = "the tasks " + ", ".join(view.tasks)
        said = f"{_many(len(view.methods), 'method')} against static weights on {tasks}"
        if not self.answered:
            return f"{said}: {_many(len(view.found), 'configuration')}."
        measured = self.answered[0].measured
        number = sum(map(len, measured.configurations.values()))
        static = len(measured.configurations[STATIC])
        return (
            f"{said}: validation selected {_many(number, 'model')} of "
            f"{_many(len(view.found), 'configuration')}, {static} of them static weightings; the "
            f"verdict is from {_many(len(measured.seeds), 'seed')} in test."
        )

    @property
    def widths(self) -> str:
        """What a margin of 100 % is, in a sentence; nothing of many tasks, which have a table."""
        if WIDTHS not in self.section.tables or len(self.view.tasks) > _MOST_NAMES:
            return ""
        parts = [
            f"{space} "
            + ", ".join(f"{t} {w:.3g}" for t, w in zip(own["task"], own["width"], strict=True))
            for space, own in self.section.tables[WIDTHS].groupby("compared", sort=False)
        ]
        return f"100 % of a margin, the width of the static front: {'; '.join(parts)}."

    @property
    def cost(self) -> str:
        """What it cost, in a sentence."""
        if self.budgets.empty:
            return ""
        runs = int(self.budgets.filter(like="runs").to_numpy().sum())
        title = next((name for name in (CPU_HOURS, CLOCK_HOURS) if name in self.budgets), None)
        if title is None:
            return f"{_many(runs, 'run')}; their time was not recorded."
        hours = self.budgets[title].sum()
        time = f"{hours:,.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"
        of = {
            CPU_HOURS: "CPU time",
            CLOCK_HOURS: "training by the clock (CPU time was not recorded)",
        }
        return f"{_many(runs, 'run')}, {time} of {of[title]}."

    @property
    def methods(self) -> Iterator[MethodSummary]:
        """What is said of each method."""
        for name in self.view.methods:
            known = [(q.title, q.verdicts[name]) for q in self.answered if name in q.verdicts]
            if not known:
                said = "It was not measured together with static weights: see the remarks."
                yield MethodSummary(name, "no verdict", said, [])
                continue
            (title, verdict), *others = known
            rest = [(other, own.answer) for other, own in others]
            yield MethodSummary(name, verdict.answer, f"On the {title}. {words(verdict)}", rest)


def _many(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def what_was_run(view: StudyView) -> list[tuple[str, str]]:
    """Returns the grids of each method in words, by its name."""
    sets = {method: view.of(method) for method in [STATIC, *view.methods]}
    single = view.found[view.found["role"] == "single"]
    if len(single):
        sets["single-task runs"] = single
    found = []
    for name, own in sets.items():
        ends = dict.fromkeys([own["seeds"].min(), own["seeds"].max()])
        seeds = (
            f", {' to '.join(map(str, ends))} finished {'seed' if [*ends] == [1] else 'seeds'} each"
        )
        grids = [
            f"{n.rpartition('.')[2]} {', '.join(map(cell, ordered(own[n])))}"
            for n in run_table.varying(own)
        ]
        counted = _many(len(own), "configuration") + (seeds if len(own) else "")
        found.append((name, f"{counted}. {'; '.join(grids)}"))
    return found


def cell(value: object) -> str:
    """Returns a value as a table shows it."""
    if isinstance(value, (float, np.floating)):
        if np.isnan(value):
            return ""
        return f"{value:.0f}" if value.is_integer() else f"{value:.4g}"
    return plain_text.short(plain_text.printable(str(value)), _LONGEST)
