"""The text of a configuration: files and bindings as one text that remembers where it came from."""

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

DYNAMIC = "from __gin__ import dynamic_registration"
COMMAND_LINE = "command line"
_INCLUDE = re.compile(r"""include\s+(["'])(?P<path>.+)\1\s*(#.*)?$""")


class ConfigError(ValueError):
    """The configuration asks for something that does not exist or cannot be."""


class Line(NamedTuple):
    """A line of the whole text.

    Attributes:
        text: The line, without its end.
        origin: The file, or in words what else it is.
        number: Number of the line in the file, from 1.
    """

    text: str
    origin: str
    number: int

    @property
    def where(self) -> str:
        # Others may have written it: what is no glyph would command the reader's terminal.
        shown = (each if each.isprintable() else repr(each)[1:-1] for each in self.text.strip())
        return f"{self.origin}, line {self.number}: {''.join(shown)}"


def read(files: Sequence[str | Path]) -> list[Line]:
    """Reads files into one text, the later overlaying the earlier.

    Includes are replaced by what they include, so that the text stands alone. Gin wants dynamic
    registration to be enabled once, before every import, hence it becomes the first line.

    Args:
        files: Paths of gin files; an `include` is relative to the file that has it, or else to the
            working directory.

    Returns:
        The lines of the whole text.

    Raises:
        ConfigError: If a file is missing, or includes itself.
    """
    lines = [Line(DYNAMIC, "(always)", 1)]
    for file in files:
        lines += _read_file(Path(file), asked_by="", parents=())
    return lines


def statements(bindings: Sequence[str], origin: str = COMMAND_LINE) -> list[Line]:
    """Returns the lines of statements that stand in no file.

    Args:
        bindings: Statements such as `experiment.run.epochs = 3`.
        origin: Where they come from.
    """
    return [
        Line(text, origin, number)
        for binding in bindings
        for number, text in enumerate(binding.splitlines(), start=1)
    ]


def as_text(lines: Iterable[Line]) -> str:
    """Returns the lines as a text that can be read again, each part headed by its origin."""
    parts, last = [], ""
    for line in lines:
        if line.origin not in (last, "(always)"):
            parts.append(f"\n# --- {line.origin}")
        last = line.origin
        parts.append(line.text)
    return "\n".join(parts) + "\n"


def chunks(lines: Sequence[Line]) -> list[list[Line]]:
    """Splits the text where its origin changes: no statement runs across such a place."""
    groups: list[list[Line]] = []
    for line in lines:
        follows = groups and groups[-1][-1]._replace(text="") == line._replace(
            text="", number=line.number - 1
        )
        if follows:
            groups[-1].append(line)
        else:
            groups.append([line])
    return groups


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Returns a suggestion in words, empty if nothing is similar."""
    close = difflib.get_close_matches(name, sorted(set(candidates)), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def _read_file(path: Path, asked_by: str, parents: tuple[Path, ...]) -> list[Line]:
    if not path.is_file():
        near = [file.name for file in path.parent.glob("*.gin")] if path.parent.is_dir() else []
        raise ConfigError(
            f"There is no config file {str(path)!r}{asked_by}.{did_you_mean(path.name, near)}"
        )
    if path in parents:
        raise ConfigError(f"{path} includes itself{asked_by}. Remove one of the includes.")
    lines: list[Line] = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        include = _INCLUDE.match(text)
        if include:
            lines += _included(path, include["path"], Line(text, str(path), number), parents)
        elif text.split("#")[0].split() == DYNAMIC.split():
            lines.append(Line("", str(path), number))
        else:
            lines.append(Line(text, str(path), number))
    return lines


def _included(path: Path, name: str, line: Line, parents: tuple[Path, ...]) -> list[Line]:
    beside = path.parent / name
    target = beside if beside.is_file() or not Path(name).is_file() else Path(name)
    return _read_file(target, f", asked for by {line.where}", (*parents, path))
