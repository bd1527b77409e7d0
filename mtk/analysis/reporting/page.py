"""The report as one page of HTML that needs nothing else."""

import base64
from collections.abc import Sequence
from html import escape

import numpy as np
import pandas as pd

from mtk.analysis import plain_text, run_table
from mtk.analysis.comparison import words
from mtk.analysis.remarks import remarks
from mtk.analysis.reporting.contents import Contents, Part, Picture
from mtk.analysis.reporting.spreadsheet import csv
from mtk.analysis.select import STATIC
from mtk.analysis.study_view import StudyView

# Longer tables and texts are cut on the page; the CSV is whole.
_MOST_ROWS = 40
_LONGEST = 500
# The page needs nothing else, so a browser may refuse it everything else.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem;
       color: #1b1b1b; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 3rem; border-bottom: 2px solid #1b1b1b; }
table { border-collapse: collapse; font-size: 13px; } .wide { overflow-x: auto; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: left;
         vertical-align: top; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; height: auto; } figure { margin: 1.5rem 0; } .faint { color: #666; }
li.better strong { background: #cfe6f5; }
"""

_METHOD = """
<p><b>How to read the verdict.</b> Validation alone selects: each run's step, then for every static
weighting its best other parameters, and for every method its models that none of its others
dominates, five at most. The selected models are run again with fresh seeds, and only these runs, in
test, make the verdict. A seed fixes initial weights, order and dropout, so models are compared seed
by seed, and what a seed does to all of them cancels.</p>
<p>A method's <i>margin</i> is by how much its best model must get worse in every task until static
weights do as well, in percent of the static front's width in each task. The front is a curve: with
two tasks and known weights, each task's value as a monotone function of the logit of the weight;
else the chords between static models. Beyond its outermost models it is continued in a straight
line, and the margin is marked as <i>extrapolated</i>. From four tasks on, the mean over tasks, the
worst task and the expected utility (R2 with weighted sums) take the front's place.</p>
<p>There are four answers. <i>Better</i>: the interval of the margin lies above zero, and above the
largest margin that a static weighting has when it is held out and treated like a method (less what
noise explains; where few can be held out, at least twice the band that follows).
<i>Equivalent</i>: the interval lies within the band that is as good as none.
<i>Worse</i>: it lies below zero. Else <i>undecided</i>, with the number of further seeds that would
decide if the margin stays. Intervals are Student's, over seeds, with a deviation pooled over all
models but noisier ones; their error is divided by the number of methods and questions.</p>
"""


def render(made: Contents) -> str:
    """Returns the page."""
    body = "".join(_part(part) for part in made.parts)
    studies = escape(", ".join(dict.fromkeys(made.table["study"])))
    download = _download("All runs, with their parameters and metrics", made.table, "runs.csv")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><title>{studies}</title>'
        f"<style>{_STYLE}</style></head><body><h1>Report on {studies}</h1>"
        f"{_summary(made)}<p>{download}</p>{_METHOD}{body}</body></html>\n"
    )


def _summary(made: Contents) -> str:
    """Returns the verdicts on the fronts of all studies, first of all."""
    status = made.table["status"].value_counts()
    counts = ", ".join(f"{number} {name}" for name, number in status.items())
    lines = [f"<p>{len(made.table)} runs: {escape(counts)}.</p>"]
    lines.append(_list([f"{study}: {said}" for study, said in made.table.attrs["remarks"]]))
    for part in made.parts:
        if part.view is not None:
            said = _list(remarks(part.view, part.questions))
            lines.append(f"<h2>Verdict: {escape(part.title)}</h2>{said}")
            lines.append(_verdicts(part))
    return "".join(lines)


def _verdicts(part: Part) -> str:
    lines = [_figure(picture) for picture in part.pictures[: _at_top(part)]]
    for question in (each for each in part.questions if each.verdicts):
        lines.append(f"<h3>On the {escape(question.title)}</h3><ul>")
        for name, verdict in question.verdicts.items():
            said = escape(words(verdict))
            lines.append(
                f'<li class="{verdict.answer}"><strong>{escape(name)}</strong>: {said}</li>'
            )
        lines.append("</ul>")
    return "".join(lines)


def _at_top(part: Part) -> int:
    """Returns how many of the figures stand at the top of the page: that of the verdicts."""
    return int(any(question.verdicts for question in part.questions))


def _figure(picture: Picture) -> str:
    title = escape(picture.title)
    return f'<figure><h3>{title}</h3><img src="{picture.source}" alt="{title}"></figure>'


def _list(texts: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>" if texts else ""


def _part(part: Part) -> str:
    lines = [f"<h2>{escape(part.title)}</h2>"]
    if part.view is not None:
        lines.append(_what_was_run(part.view))
    lines += [_figure(picture) for picture in part.pictures[_at_top(part) :]]
    for title, table in part.tables.items():
        link = _download("CSV", table, part.files[title])
        lines.append(f"<h3>{escape(title)}</h3>{_table(table)}<p>{link}</p>")
    if part.absent:
        items = "".join(f"<li>{escape(k)}: {escape(v)}</li>" for k, v in part.absent.items())
        lines.append(f"<h3>Not shown</h3><ul class='faint'>{items}</ul>")
    return "".join(lines)


def _what_was_run(view: StudyView) -> str:
    """Returns the grids of each method."""
    sets = {method: view.of(method) for method in [STATIC, *view.methods]}
    single = view.found[view.found["role"] == "single"]
    if len(single):
        sets["single-task runs"] = single
    lines = []
    for name, own in sets.items():
        seeds = f", {own['seeds'].min()} to {own['seeds'].max()} finished seeds each"
        grids = "; ".join(f"{knob} {_values(own[knob])}" for knob in run_table.varying(own))
        said = f"{len(own)} configurations{seeds if len(own) else ''}. {grids}"
        lines.append(f"<li><b>{escape(name)}</b>: {escape(said)}</li>")
    return f"<p>What was run:</p><ul>{''.join(lines)}</ul>"


def _values(column: pd.Series) -> str:
    """Returns the values of a parameter in their order: numbers by size, then texts."""
    known = column.dropna().unique()
    numbers = sorted(value for value in known if not isinstance(value, str))
    texts = sorted(value for value in known if isinstance(value, str))
    return ", ".join(map(_cell, numbers + texts))


def _table(table: pd.DataFrame) -> str:
    if table.empty:
        return "<p>None.</p>"
    head = "".join(f"<th>{escape(str(name))}</th>" for name in table)
    rows = "".join(
        "<tr>" + "".join(_column(value) for value in row) + "</tr>"
        for row in table.head(_MOST_ROWS).itertuples(index=False)
    )
    more = len(table) - _MOST_ROWS
    whole = f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>'
    if more <= 0:
        return whole
    said = f"the first {_MOST_ROWS} of {len(table)} rows; all are in the CSV"
    return f"<details><summary>{said}</summary>{whole}</details>"


def _column(value: object) -> str:
    kind = ' class="number"' if isinstance(value, (int, float, np.number)) else ""
    return f"<td{kind}>{escape(_cell(value))}</td>"


def _cell(value: object) -> str:
    if isinstance(value, (float, np.floating)):
        if np.isnan(value):
            return ""
        return f"{value:.0f}" if value.is_integer() else f"{value:.4g}"
    return plain_text.short(plain_text.printable(str(value)), _LONGEST)


def _download(title: str, table: pd.DataFrame, name: str) -> str:
    data = base64.b64encode(csv(table)).decode()
    return f'<a download="{escape(name)}" href="data:text/csv;base64,{data}">{escape(title)}</a>'
