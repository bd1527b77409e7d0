"""Texts that have crashed programs, random texts, and a study full of them."""

import json
import random
from pathlib import Path

from tests.analysis.synthetic import Run, record, write_run

TEXTS = {
    "mathematics": r"$\frac{1}{$",
    "one dollar": "$",
    "TeX": r"\textbf{x} %_^{}~# \input{x}",
    "a lone surrogate": "\ud800",
    "two, the wrong way round": "\udc00\ud800",
    "NUL": "\0",
    "control characters": "\a\b\t\n\v\f\r\x1b[2J\x7f\x85",
    "ends of lines": "a\u2028b\u2029c\x1cd",
    "no characters": "\ufffe\uffff\U0001ffff",
    "turned around": "\u202egnp.exe\u2066",
    "marks upon marks": "z" + "\u0300" * 300,
    "right to left": "مهمة",
    "an emoji": "👩‍👩‍👧",
    "Chinese": "左边的任务",
    "300 characters": "t" * 300,
    "300 wide ones": "任" * 300,
    "5,000 characters": "long " * 1000,
    "HTML": "<script>alert(1)",
    "an attribute": "\" onerror='alert(1)' x=\"",
    "an entity": "&lt;b&gt;&#0;",
    "the end of XML": "]]>--><!--",
    "a formula": '=HYPERLINK("http:","b")',
    "plus": "+1+cmd|' -C calc'!A0",
    "minus": "-2+3",
    "at": "@SUM(1)",
    "a tab before": "\t=1+1",
    "a path": "../../outside",
    "an absolute path": "/outside",
    "a device": "con",
    "this folder": ".",
    "the folder above": "..",
    "hidden": "_hidden",
    "spaces": "   ",
    "a quotation mark": "'",
    "a column of a table": "step",
    "another": "method",
    "a third": "seeds",
    "an index": "weight of the first task",
    "a format": "{0.__class__} %s %n",
    "digits": "1" * 5000,
}

_ALPHABETS = (
    [chr(n) for n in range(0x250)],
    [chr(n) for n in (*range(0x2000, 0x2070), *range(0xD7F0, 0xE010), *range(0xFFF0, 0x10010))],
    list("$\\{}_^%&<>\"'=+-@\t\r\n\0|/.()[]#~`;:,"),
)


def random_texts(number: int, seed: int = 0) -> list[str]:
    generator = random.Random(seed)
    sizes = (1, 3, 20, 120)
    return [
        "".join(generator.choices(generator.choice(_ALPHABETS), k=generator.choice(sizes)))
        for _ in range(number)
    ]


EVERY = [*TEXTS.values(), *random_texts(200)]


def write_odd_study(folder: Path, text: str) -> Path:
    """Writes a study of ten runs of three methods, with the text wherever a text may occur."""
    tasks = (f"{text}left", "right")
    fast = {"parameters": 9, "steps_per_second": 5.0}
    runs = [Run(weight=w, rate=r, tasks=tasks) for w in (0.3, 0.5, 0.7) for r in (0.1, 1.0)]
    runs += [Run(text, "PCGrad", rate=rate, tasks=tasks) for rate in (0.1, 1.0)]
    runs += [Run(f"{text}'", "MGDA", rate=rate, tasks=tasks) for rate in (0.1, 1.0)]
    for run in runs:
        run.extra = fast
        write_run(folder / "runs" / run.hash, run, evaluations=3)
        _write_into(folder / "runs" / run.hash, text, run.rate)
    failed = [Run("failed", rate=0.2), Run(text, rate=0.3)]
    for run in failed:
        write_failed(folder / "runs" / run.hash, text)
    listed = [entry(run, {f"f.{text}": text, f"f.{text}.b": run.rate}) for run in [*runs, *failed]]
    write_list(folder, listed, name=text, remarks=[text])
    return folder


def _write_into(folder: Path, text: str, number: float) -> None:
    """Adds a metric and parameters that are named by the text."""
    result = json.loads((folder / "result.json").read_text())
    for split in ("train", "validation", "test"):
        for metrics in result[split]["tasks"].values():
            metrics[f"{text}error"] = 1 - metrics["accuracy"]
    (folder / "result.json").write_text(json.dumps(result))
    record(folder, **{"f.other": repr(number), "f.text": repr(text), "f.raw": text})


def write_failed(folder: Path, reason: str) -> None:
    folder.mkdir(parents=True)
    (folder / "failed.json").write_text(json.dumps({"reason": reason}))


def entry(run: Run, bindings: dict) -> dict:
    return {"hash": run.hash, "method": run.method, "seed": run.seed, "bindings": bindings}


def write_list(folder: Path, runs: list[dict], **more) -> None:
    content = {"name": "synthetic", "baseline": "static_weights", "runs": runs, **more}
    (folder / "study.json").write_text(json.dumps(content))
