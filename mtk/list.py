"""Lists what there is: combiners, workloads, the runs of a folder, its studies."""

import ast
import sys
from collections.abc import Sequence
from pathlib import Path

from mtk import extras, flags
from mtk.config import names

_EPILOG = """\
examples:
  mtk list combiners
  mtk list runs runs
  mtk list studies studies

Exit code: 0 listed, 2 bad input.
"""
_WHAT = ("combiners", "workloads", "runs", "studies")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the flags, lists, and returns the exit code."""
    parser = flags.Parser("mtk.list", __doc__, _EPILOG)
    parser.add_argument("what", choices=_WHAT, help="what to list")
    folder = "folder that holds run folders, or study folders; or a study"
    parser.add_argument("folder", nargs="?", type=flags.path, help=folder)
    given = parser.parse_args(arguments)
    if (given.what in ("runs", "studies")) != (given.folder is not None):
        needs = "needs a folder" if given.folder is None else "takes no folder"
        parser.error(f"argument what: {given.what} {needs}")
    if given.what in ("combiners", "workloads"):
        print(_table(["name", "what it is"], _classes(f"mtk.{given.what}")))
        return 0
    place = Path(given.folder)
    if not place.is_dir():
        print(f"error: {given.folder!r} is no folder. Name one that holds {given.what}.",
              file=sys.stderr)  # fmt: skip
        return 2
    try:
        from mtk.analysis import overview  # Takes a second or two.
    except ModuleNotFoundError as error:
        install = extras.command("analysis")
        print(f"error: Listing runs needs {error.name}. Install it by: {install}", file=sys.stderr)
        return 2
    heads, rows = getattr(overview, given.what)(place)
    if not rows:
        print(f"error: There are no {given.what} in {given.folder!r}.", file=sys.stderr)
        return 2
    print(_table(heads, rows))
    return 0


def _classes(package: str) -> list[list[str]]:
    """Returns name and first line of each class of a package, read off its sources."""
    found = []
    for name in names.children(package):
        spec = names.spec(f"{package}.{name}")
        if spec is None or spec.origin is None or name in ("__init__", "base"):
            continue
        tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
        exported = _exported(package)
        for node in tree.body:
            is_base = isinstance(node, ast.ClassDef) and node.name.endswith("Combiner")
            if isinstance(node, ast.ClassDef) and node.name in exported and not is_base:
                first = (ast.get_docstring(node) or "").split("\n\n")[0]
                found.append([node.name, " ".join(first.split())])
    return sorted(found)


def _exported(package: str) -> set[str]:
    spec = names.spec(package)
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    return {a.name for node in tree.body if isinstance(node, ast.ImportFrom) for a in node.names}


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    lines = [
        "  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip()
        for row in (heads, *rows)
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    flags.end_with(main)
