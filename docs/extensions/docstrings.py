"""Docstrings have Markdown's code blocks, as in Keras: this makes them what Sphinx reads."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# Code is left alone; what means something else to reStructuredText than to a reader is escaped.
_CODE = re.compile(r"(`+[^`]*`+)")
_SPECIAL = re.compile(r"(\||(?<=\w)_(?!\w)|\*\*?(?=\s)|(?<=\w)\*(?=\w))")


def to_restructured_text(lines: list[str]) -> list[str]:
    """Returns the lines of a docstring with code blocks as directives and odd characters escaped.

    Args:
        lines: Of the docstring, without its indentation.
    """
    return list(_converted(lines))


def _converted(lines: list[str]) -> Iterator[str]:
    indent: str | None = None  # Of the code block that is open.
    for line in lines:
        fence = re.match(r"(\s*)```(\w*)\s*$", line)
        if fence and indent is None:
            indent = fence[1]
            yield from ("", f"{indent}.. code-block:: {fence[2] or 'text'}", "")
        elif fence:
            indent = None
            yield ""
        elif indent is not None:
            yield f"   {line}" if line.strip() else ""
        elif re.match(r"\s*>>> ", line):
            yield line
        elif line.strip() in ("Example:", "Examples:"):
            yield from ("", f"{line[: len(line) - len(line.lstrip())]}.. rubric:: Example", "")
        else:
            parts = _CODE.split(line)
            yield "".join(p if p.startswith("`") else _SPECIAL.sub(r"\\\1", p) for p in parts)


def _process(app: "Sphinx", what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    del app, what, name, obj, options
    lines[:] = to_restructured_text(lines)


def setup(app: "Sphinx") -> dict[str, Any]:
    """Converts docstrings before napoleon reads them."""
    app.connect("autodoc-process-docstring", _process, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
