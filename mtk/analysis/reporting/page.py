"""The report as one page of HTML that needs nothing else."""

import base64
from html import escape

import numpy as np
import pandas as pd

from mtk.analysis import repeats, tables
from mtk.analysis.reporting.contents import Contents, Part
from mtk.analysis.view import STATIC, View

# Longer tables are cut on the page; the CSV is whole.
_MOST_ROWS = 40

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem;
       color: #1b1b1b; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 3rem; border-bottom: 2px solid #1b1b1b; }
table { border-collapse: collapse; font-size: 13px; } .wide { overflow-x: auto; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: left;
         vertical-align: top; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; height: auto; } figure { margin: 1.5rem 0; } .faint { color: #666; }
li.beyond strong { background: #fff2c9; }
"""

_METHOD = """
<p><b>How to read the verdict.</b> Validation alone selects: first each run's step, then each
method's models that no other configuration of it dominates. All distances are taken in test. A
method's <i>lead</i> is how much its best selected model must get worse in every task until some
selected model of the static weights is at least as good everywhere, in percent of the static
front's width in each task (for means over tasks: of what static weights reach). A model that is
better than all static ones in one task, but in all tasks than none, only <i>extends</i> the front:
a more extreme weighting may do the same, so it does not lead.</p>
<p>Static weights are a grid, so their front has gaps, and even another static weighting would lie a
little beyond it. Hence the <i>sparse grids</i>: each static weighting in turn is held out and
treated like a method with as many configurations as the method had; a lead counts only if it is
larger than all of theirs. <i>Seeds</i>: residuals of repeated configurations are resampled, and
selection starts anew each time; the interval is corrected for the optimism of a maximum, and its
confidence grows with the number of methods (Bonferroni); where it begins at <i>extending the front
only</i>, other seeds may leave no lead at all. Only a lead beyond both is called <i>beyond</i>.
Static weights usually had more configurations than a method; the table of indicators compares both
at equal budgets too.</p>
<p>Sparse grids of learning rates are another matter, and no verdict rests on them: where a study
has a dense grid and enough seeds, Figure 6 (left) and its table tell how far the choice of a sparse
one alone moves a method's result, there also in percent, which compares with leads on means over
tasks. A lead that is no larger should not be trusted if its method was tuned on such a grid.</p>
"""


def render(made: Contents) -> str:
    """Returns the page."""
    body = "".join(_part(part) for part in made.parts)
    studies = escape(", ".join(dict.fromkeys(made.table["study"])))
    download = _download("All runs, with their parameters and metrics", made.table, "runs.csv")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{studies}</title>'
        f"<style>{_STYLE}</style></head><body><h1>Report on {studies}</h1>"
        f"{_summary(made)}<p>{download}</p>{_METHOD}{body}</body></html>\n"
    )


def _summary(made: Contents) -> str:
    """Returns the verdicts on the fronts of all studies, first of all."""
    status = made.table["status"].value_counts()
    counts = ", ".join(f"{number} {name}" for name, number in status.items())
    lines = [f"<p>{len(made.table)} runs: {escape(counts)}.</p>"]
    for part in made.parts:
        if part.view is not None:
            lines.append(f"<h2>Verdict: {escape(part.title)}</h2>{_warnings(part.view)}")
            lines.append(_verdicts(part))
    return "".join(lines)


def _verdicts(part: Part) -> str:
    lines = []
    for question in part.questions:
        lines.append(f"<h3>On the {escape(question.title)}</h3><ul>")
        for name, verdict in question.verdicts.items():
            kind = "beyond" if verdict.conclusion == "beyond" else "other"
            words = escape(verdict.words)
            lines.append(f'<li class="{kind}"><strong>{escape(name)}</strong>: {words}</li>')
        lines.append("</ul>")
    return "".join(lines)


def _warnings(view: View) -> str:
    """Returns what the reader must know before he believes anything."""
    found = view.found
    said = []
    if not len(view.of(STATIC)):
        said.append("There are no static weights: no method can be judged.")
    if not view.methods:
        said.append("There is no method beside the static weights.")
    for method in [STATIC, *view.methods]:
        own = view.of(method)
        if len(own) and not own["comparable"].any():
            said.append(f"No run of {method} can be compared: {_ends(view.runs(method))}.")
        elif own["diverged"].any():
            number = int((own["diverged"] > 0).sum())
            said.append(f"{method}: {number} of {len(own)} configurations diverged.")
    incomplete = view.table[view.table["status"] == "incomplete"]
    if len(incomplete):
        reason = incomplete["reason"].iloc[0]
        said.append(
            f"{len(incomplete)} of {len(view.table)} runs lack values that others have, for "
            f"instance {reason}; they are not compared."
        )
    if (number := len(tables.other_data(view.table)["data"])) > 1:
        said.append(f"Its runs saw {number} different sets of data; the table below tells which.")
    if not (found["seeds"] > 1).any():
        said.append("No configuration was run with two seeds: the spread over seeds is unknown.")
    for metric in view.unknown:
        said.append(
            f"Whether more or less of the metric {metric!r} is better is unknown; it was left out. "
            "Name it with --higher or --lower."
        )
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in said) + "</ul>"


def _ends(runs: pd.DataFrame) -> str:
    return ", ".join(f"{number} {name}" for name, number in runs["status"].value_counts().items())


def _part(part: Part) -> str:
    lines = [f"<h2>{escape(part.title)}</h2>"]
    if part.view is not None:
        lines.append(_what_was_run(part.view))
    for picture in part.pictures:
        lines.append(
            f'<figure><h3>{escape(picture.title)}</h3><img src="{picture.source}" '
            f'alt="{escape(picture.title)}"></figure>'
        )
    for title, table in part.tables.items():
        link = _download("CSV", table, part.file(title))
        lines.append(f"<h3>{escape(title)}</h3>{_table(table)}<p>{link}</p>")
    if part.absent:
        items = "".join(f"<li>{escape(k)}: {escape(v)}</li>" for k, v in part.absent.items())
        lines.append(f"<h3>Not shown</h3><ul class='faint'>{items}</ul>")
    return "".join(lines)


def _what_was_run(view: View) -> str:
    """Returns the grids of each method."""
    sets = {method: view.of(method) for method in [STATIC, *view.methods]}
    single = view.found[view.found["role"] == "single"]
    if len(single):
        sets["single-task runs"] = single
    lines = []
    for name, own in sets.items():
        seeds = f", {own['seeds'].min()} to {own['seeds'].max()} finished seeds each"
        grids = "; ".join(f"{knob} {_values(own[knob])}" for knob in repeats.varying(own))
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
    return str(value)


def _download(title: str, table: pd.DataFrame, name: str) -> str:
    data = base64.b64encode(table.to_csv(index=False).encode()).decode()
    return f'<a download="{name}" href="data:text/csv;base64,{data}">{escape(title)}</a>'
