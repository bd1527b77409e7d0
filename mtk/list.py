"""Lists combiners, workloads, or the runs or studies in a folder."""

import ast
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mtk import errors, extras, flags, records
from mtk.config import names
from mtk.display import aligned

_EPILOG = """\
examples:
  mtk list combiners
  mtk list runs runs
  mtk list studies studies

Exit codes: 0 done; 2 bad input.
"""
_WHAT = ("combiners", "workloads", "runs", "studies")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the flags, lists, and returns the exit code."""
    parser = flags.Parser("mtk.list", __doc__, _EPILOG)
    parser.add_argument("what", choices=_WHAT, help="what to list")
    folder = "folder with runs or studies, or a single run or study"
    parser.add_argument("folder", nargs="?", type=flags.path, help=folder)
    given = parser.parse_args(arguments)
    if (given.what in ("runs", "studies")) != (given.folder is not None):
        needs = "needs a folder" if given.folder is None else "takes no folder"
        parser.error(f"argument what: {given.what} {needs}")
    if given.what in ("combiners", "workloads"):
        rows = [["name", "what it is"], *_classes(f"mtk.{given.what}")]
    else:
        try:
            rows = _in_folder(given.what, Path(given.folder))
        except (ValueError, OSError) as error:
            print(f"error: {errors.message(error)}", file=sys.stderr)
            return 2
    print("\n".join(aligned(rows)))
    return 0


def _in_folder(what: str, place: Path) -> list[list[str]]:
    """Returns the rows of runs or studies."""
    if not place.is_dir():
        raise ValueError(f"{str(place)!r} is not a folder. Give one that contains {what}.")
    files = records.RUN_FILES if what == "runs" else ("study.json",)
    if os.path.lexists(place / "study.json"):
        records.study_list(place)
    elif not records.holding(place, files):
        raise ValueError(f"There are no {what} in {str(place)!r}.")
    try:
        from mtk.analysis import overview  # Takes a second or two to import.
    except ModuleNotFoundError as error:
        install = extras.command("analysis")
        raise ValueError(f"This needs {error.name}. Install it with: {install}") from error
    rows = overview.runs(place) if what == "runs" else overview.studies(place)
    if len(rows) == 1:
        raise ValueError(f"There are no {what} in {str(place)!r}.")
    return rows


def _classes(package: str) -> list[list[str]]:
    """Returns the name and first docstring line of each class in a package, from its sources."""
    imports = [node for node in _body(package) if isinstance(node, ast.ImportFrom)]
    exported = {alias.name for node in imports for alias in node.names}
    found = []
    for module in sorted({node.module for node in imports if node.module} - {f"{package}.base"}):
        for node in _body(module):
            if isinstance(node, ast.ClassDef) and node.name in exported:
                first = (ast.get_docstring(node) or "").split("\n\n")[0]
                found.append([node.name, " ".join(first.split())])
    return sorted(row for row in found if not row[0].endswith("Combiner"))


def _body(module: str) -> list[ast.stmt]:
    spec = names.spec(module)
    assert spec is not None
    assert spec.origin is not None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body


if __name__ == "__main__":
    flags.exit_with(main)
