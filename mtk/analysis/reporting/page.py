"""The report as one self-contained HTML page."""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from mtk.analysis import plain_text, run_table
from mtk.analysis.advice import advice
from mtk.analysis.comparison import better, selection, words
from mtk.analysis.reporting.contents import BUDGETS, WIDTHS, Contents, Section
from mtk.analysis.reporting.remarks import ends, left_out, remarks, templates
from mtk.analysis.reporting.spreadsheet import csv
from mtk.analysis.reporting.tables import CLOCK_HOURS, CPU_HOURS, against_single_tasks, ordered
from mtk.analysis.study_view import StudyView
from mtk.analysis.verdict import Verdict
from mtk.display import counted

# Longer tables and texts are truncated on the page; the CSV is complete.
_MOST_ROWS = 200
_LONGEST = 500
_LONG_NUMBER = re.compile(r"\b\d+\.\d{4,}(e[-+]?\d+)?")


def render(made: Contents) -> str:
    """Returns the page."""
    script, style = _asset("tables.js"), _asset("style.css")
    # The page is self-contained, so the browser may block all other content.
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}"
    )
    template = _templates().get_template("page.html")
    return template.render(
        made=made,
        studies=list(dict.fromkeys(made.table["study"])),
        runs=f"{counted(len(made.table), 'run')}: {ends(made.table)}",
        summaries=[Summary(s) for s in made.sections if s.view is not None],
        policy=policy,
        script=script,
        style=style,
    )


def _templates() -> jinja2.Environment:
    environment = templates()
    filters: dict[str, Callable[..., Any]] = {
        "cell": cell,
        "csv": lambda table: _address("text/csv", csv(table)),
        "png": lambda png: _address("image/png", png),
        # Long names of parameters and metrics may break, so that wide tables fit a printed page.
        "heading": lambda name: Markup("<wbr>").join(re.split(r"(?<=[./_])", cell(name))),
        "number": lambda value: pd.api.types.is_number(value) and not pd.api.types.is_bool(value),
        "what_was_run": what_was_run,
        "words": words,
    }
    environment.filters.update(filters)
    environment.globals.update(most_rows=_MOST_ROWS, cpu_hours=CPU_HOURS)
    return environment


def _address(kind: str, content: bytes) -> str:
    """Returns a data URL with the content."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _asset(name: str) -> Markup:
    """Returns a file of this package without escaping, since it is trusted."""
    folder = resources.files("mtk.analysis.reporting") / "templates"
    return Markup((folder / name).read_text(encoding="utf-8"))


def _hash(text: str) -> str:
    """Returns the hash of a text for the content security policy, which blocks all others."""
    digest = hashlib.sha256(str(text).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


class Summary:
    """The summary of a study on the first screen."""

    def __init__(self, section: Section):
        assert section.view is not None  # Checked by the caller.
        self.section, self.view = section, section.view
        self.answered = [q for q in section.questions if q.verdicts]
        self.advice = advice(section.view, better(self.answered))
        first = [q.space for q in self.answered] or [*section.view.spaces]
        self.against = against_single_tasks(section.view, first[0]) if first else ""
        self.budgets = section.tables.get(BUDGETS, pd.DataFrame())
        self.runs = int(self.budgets.filter(like="runs").to_numpy().sum())
        self.hours = {
            n: self.budgets[n].sum() for n in (CPU_HOURS, CLOCK_HOURS) if n in self.budgets
        }
        self.widths = section.tables.get(WIDTHS, pd.DataFrame({"compared": []}))
        self.selected = {q.space: selection(self.view, q.space) for q in self.answered}
        _, self.tasks_left_out = left_out(self.view)
        self.complete = all(own for _, own in self.methods) and not self.tasks_left_out
        self.warnings = remarks(self.view, section.questions)
        skipped = section.skipped.items()
        self.reasons = {reason: 0 for title, reason in skipped if title.startswith("Verdict")}

    @property
    def methods(self) -> Iterator[tuple[str, list[tuple[str, Verdict]]]]:
        """The verdicts on each method, with the titles of their questions."""
        for name in self.view.methods:
            own = [(q.title, q.verdicts[name]) for q in self.answered if name in q.verdicts]
            yield name, own


def sentences(made: Contents) -> Iterator[str]:
    """Yields a sentence on each study: its answers, and how much of it is not compared."""
    for own in (Summary(section) for section in made.sections if section.view is not None):
        answers = [
            f"{name} {verdicts[0][1].answer if verdicts else 'no verdict'}"
            for name, verdicts in own.methods
        ]
        runs = own.view.table
        lost = runs[runs["status"] != "finished"]
        said = f"{own.section.title}: {', '.join(answers) or 'no method to judge'}."
        if len(lost):
            said += f" {len(lost)} of {counted(len(runs), 'run')} do not count ({ends(lost)})."
        if own.tasks_left_out:
            said += f" Not compared: {', '.join(own.tasks_left_out)}."
        number = len(own.warnings)
        yield f"{said} The page has {counted(number, 'remark')} on reliability."


def what_was_run(view: StudyView) -> list[tuple[str, str]]:
    """Returns a description of the grids of each method, with its name."""
    sets = {method: view.of(method) for method in view.labels}
    single = view.found[view.found["role"] == "single"]
    found = []
    for name, own in [*sets.items(), *([("single-task runs", single)] if len(single) else [])]:
        numbers = dict.fromkeys(f"{n}" for n in (own["seeds"].min(), own["seeds"].max()))
        finished = f"finished {'seed' if [*numbers] == ['1'] else 'seeds'} each"
        seeds = f", {' to '.join(numbers)} {finished}" if len(own) else ""
        varied = [n for n in run_table.parameters(own) if own[n].nunique(dropna=False) > 1]
        values = own[varied].astype(object).fillna("None")
        grids = [
            f"{n.rpartition('.')[2]} {', '.join(map(cell, ordered(values[n])))}" for n in varied
        ]
        found.append((name, f"{counted(len(own), 'configuration')}{seeds}. {'; '.join(grids)}"))
    return found


def cell(value: object) -> str:
    """Returns a value formatted for a table."""
    if isinstance(value, (float, np.floating)):
        if np.isnan(value):
            return ""
        return f"{value:.0f}" if value.is_integer() else f"{value:.4g}"
    text = str(value)
    if text.startswith(("{", "[")):  # Numbers in a container, such as task weights.
        text = _LONG_NUMBER.sub(lambda found: f"{float(found[0]):.4g}", text)
    return plain_text.short(plain_text.printable(text), _LONGEST)
