"""The text of a configuration: files and bindings as one text, with the origin of each line."""

import codecs
import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

DYNAMIC = "from __gin__ import dynamic_registration"
COMMAND_LINE = "command line"
_LONGEST = 300  # characters of a line that a message shows
_LARGEST = 1 << 20  # bytes of a file: reading a data set that was named by mistake would take hours
_DEEPEST = 50  # files that include one another
# Next to the modules: in the repository, a link to its configs; in a wheel, files.
SHIPPED = Path(__file__).parents[1] / "configs"
_INCLUDE = re.compile(r"""include\s+(["'])(?P<path>.+)\1\s*(#.*)?$""")


class ConfigError(ValueError):
    """The configuration requests something that does not exist or is not possible."""


class Line(NamedTuple):
    """A line of the whole text.

    Attributes:
        text: The line, without its end.
        origin: The file, or a description of another origin.
        number: Number of the line in the file, from 1.
    """

    text: str
    origin: str
    number: int

    @property
    def where(self) -> str:
        # Others may have written it: control characters would affect the reader's terminal.
        shown = (each if each.isprintable() else repr(each)[1:-1] for each in self.text.strip())
        text = "".join(shown)
        more = " …" * (len(text) > _LONGEST)
        return f"{self.origin}, line {self.number}: {text[:_LONGEST]}{more}"


def read(files: Sequence[str | Path]) -> list[Line]:
    """Reads files into one text; later files override earlier ones.

    Includes are replaced by the included text, so that the text is self-contained. Gin requires
    dynamic registration to be enabled once, before any import, so this becomes the first line.

    Args:
        files: Files, as for `find`; an `include` is relative to the including file, or else as for
            `find`.

    Returns:
        The lines of the whole text.

    Raises:
        ConfigError: If a file is missing, or includes itself.
    """
    lines = [Line(DYNAMIC, "(always)", 1)]
    for file in files:
        lines += _read_file(find(file), asked_by="", parents=())
    return lines


def find(file: str | Path) -> Path:
    """Returns the path of a config: the file itself, or else the one that mtk ships.

    Args:
        file: A path, or the name of a shipped config, such as `multi_digits.gin`,
            `combiners/pcgrad.gin` or, as in a clone, `configs/multi_digits.gin`.
    """
    if not Path(file).exists() and ".." not in Path(file).parts:
        for path in (SHIPPED / file, SHIPPED.parent / file):
            if SHIPPED in path.parents and path.is_file():
                return path
    return Path(file)


def folders(lines: Iterable[Line]) -> list[Path]:
    """Returns the folders of the files that a text comes from, including included files."""
    origins = dict.fromkeys(line.origin for line in lines)
    return list(dict.fromkeys(Path(each).parent for each in origins if Path(each).is_file()))


def statements(bindings: Sequence[str], origin: str = COMMAND_LINE) -> list[Line]:
    """Returns the lines of statements that are not in a file.

    Args:
        bindings: Statements such as `experiment.Training.epochs = 3`.
        origin: Their origin.
    """
    return [
        Line(text, origin, number)
        for binding in bindings
        for number, text in enumerate(binding.splitlines(), start=1)
    ]


def as_text(lines: Iterable[Line]) -> str:
    """Returns the lines as a text that can be read again, with a header for each origin."""
    parts, last = [], ""
    for line in lines:
        if line.origin not in (last, "(always)"):
            parts.append(f"\n# --- {line.origin}")
        last = line.origin
        parts.append(line.text)
    return "\n".join(parts) + "\n"


def chunks(lines: Sequence[Line]) -> list[list[Line]]:
    """Splits the text where its origin changes, which no statement may cross."""
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
    """Returns a suggestion in words, empty if nothing is similar; case is ignored."""
    folded = {each.lower(): each for each in sorted(set(candidates), reverse=True)}
    close = difflib.get_close_matches(name.lower(), sorted(folded), n=1, cutoff=0.6)
    return f" Did you mean {folded[close[0]]!r}?" if close else ""


def _read_file(path: Path, asked_by: str, parents: tuple[Path, ...]) -> list[Line]:
    if path.is_dir():
        raise ConfigError(
            f"The config file {str(path)!r}{asked_by} is a folder. Give a file in it."
        )
    if path.exists() and not path.is_file():
        raise ConfigError(f"The config file {str(path)!r}{asked_by} is a device or a pipe.")
    if path.is_symlink() and not path.exists():
        raise ConfigError(f"The config file {str(path)!r}{asked_by} is a broken symbolic link.")
    if not path.is_file():
        beside = (path.parent, *(root / path.parent for root in (SHIPPED, SHIPPED.parent)))
        near = [file.name for folder in beside for file in folder.glob("*.gin")]
        raise ConfigError(
            f"There is no config file {str(path)!r}{asked_by}.{did_you_mean(path.name, near)}"
        )
    if path in parents:
        raise ConfigError(f"{path} includes itself{asked_by}. Remove one of the includes.")
    if len(parents) > _DEEPEST:
        raise ConfigError(
            f"{path} is included through {len(parents)} other files{asked_by}. Reduce the depth "
            "of the includes."
        )
    lines: list[Line] = []
    for number, text in enumerate(_text(path, asked_by).splitlines(), start=1):
        include = _INCLUDE.match(text)
        if include:
            lines += _included(path, include["path"], Line(text, str(path), number), parents)
        elif text.split("#")[0].split() == DYNAMIC.split():
            lines.append(Line("", str(path), number))
        else:
            lines.append(Line(text, str(path), number))
    return lines


def _text(path: Path, asked_by: str) -> str:
    size = path.stat().st_size
    if size > _LARGEST:
        raise ConfigError(
            f"The file {str(path)!r}{asked_by} has {size:,} bytes; a config can have at most "
            f"{_LARGEST:,}."
        )
    content = path.read_bytes()
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"The config file {str(path)!r}{asked_by} is not UTF-8: line {line} has the byte "
            f"0x{content[error.start]:02x}. Save it as a UTF-8 text file."
        ) from error


def _included(path: Path, name: str, line: Line, parents: tuple[Path, ...]) -> list[Line]:
    beside = path.parent / name
    target = find(name)
    target = beside if beside.is_file() or not target.is_file() else target
    return _read_file(target, f", included by {line.where}", (*parents, path))
