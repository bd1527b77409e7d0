"""Writes figures, tables and a verdict on every method of one or more studies."""

import argparse
import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mtk import errors, extras, flags, places, records, resources

_EPILOG = """\
example:
  python -m mtk.report --study_dir=studies/digits --out=report

Then open report/index.html, or: tensorboard --logdir report/tensorboard
Exit codes: 0 report written; 2 bad input; 75 the disk is full.
"""


def _cost(text: str) -> tuple[str, float]:
    method, _, number = text.rpartition("=")
    try:
        cost = float(number)
    except ValueError:
        cost = 0.0
    if not method or not 0 < cost < float("inf"):
        raise argparse.ArgumentTypeError(
            f"expected METHOD=X with a number X above 0, as in mgda=2.5. Received: {text!r}"
        )
    return method, cost


def _parse(given: Sequence[str]) -> argparse.Namespace:
    parser = flags.Parser("mtk.report", __doc__, _EPILOG)
    add = parser.add_argument
    study = "study folder; repeatable"
    add("--study_dir", metavar="PATH", type=flags.path, action="append", required=True, help=study)
    add("--out", metavar="PATH", type=flags.folder, required=True, help="output folder")
    add("--higher", metavar="METRIC", action="append", default=[],
        help="metric that is better when higher; repeatable")  # fmt: skip
    add("--lower", metavar="METRIC", action="append", default=[],
        help="metric that is better when lower; repeatable")  # fmt: skip
    cost = "cost of a step of METHOD, in steps of static weights (default: measured); repeatable"
    add("--cost", metavar="METHOD=X", type=_cost, action="append", default=[], help=cost)
    add("--delta", metavar="X", type=float, default=0.05,
        help="margins within X of the front's width count as none (default: 0.05)")  # fmt: skip
    add("--figure", metavar="MODULE:NAME", type=flags.importable, action="append", default=[],
        help="your own function that draws a figure of each study; repeatable")  # fmt: skip
    return parser.parse_args(given)


def _imported(text: str) -> Callable[..., Any]:
    module, _, name = text.partition(":")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        raise ValueError(f"--figure={text}: there is no module {error.name!r}.") from error
    if not callable(found):
        raise ValueError(f"--figure={text}: the module has no function {name!r}.")
    return found


def _check_named_once(studies: Sequence[str]) -> None:
    seen: dict[Path, str] = {}
    for study in studies:
        place = Path(study).resolve()
        if place in seen:
            raise ValueError(f"{seen[place]!r} and {study!r} are the same study. Give it once.")
        seen[place] = study


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the flags, writes the report, and returns the exit code."""
    asked = _parse(sys.argv[1:] if arguments is None else arguments)
    try:
        for study in asked.study_dir:
            if not Path(study).is_dir():
                raise ValueError(
                    f"The study folder {study!r} does not exist. Give a folder written by "
                    "mtk.sweep."
                )
            records.study_list(Path(study))
        _check_named_once(asked.study_dir)
        places.check_folder(asked.out)
        from mtk import analysis  # Takes seconds, so the folders are checked first.

        # With many tasks pandas advises how to store hundreds of columns; no reader can act on it.
        warnings.filterwarnings("ignore", "DataFrame is highly fragmented")
        drawn = [_imported(text) for text in asked.figure]
        about = (asked.higher, asked.lower, dict(asked.cost), asked.delta, drawn, print)
        page = analysis.report(asked.study_dir, asked.out, *about)
    except ModuleNotFoundError as error:
        print(
            f"error: A report needs {error.name}, which is not installed. Install it with: "
            f"{extras.command('analysis')}",
            file=sys.stderr,
        )
        return 2
    except (ValueError, OSError) as error:
        print(f"error: {errors.message(error)}", file=sys.stderr)
        return resources.exit_code(error)
    print(f"Report: {page}")
    return 0


if __name__ == "__main__":
    flags.exit_with(main)
