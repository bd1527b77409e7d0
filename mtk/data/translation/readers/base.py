"""Base classes of readers of parallel text, and of files."""

import abc
import codecs
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtk.data import bounded

# A source and its target, as bytes that should be UTF-8.
RawPair = tuple[bytes, bytes]
# Byte order marks; UTF-32 first, since its mark starts with that of UTF-16.
_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
_MARKS |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class Reader(abc.ABC):
    """Reads the sentence pairs of one target language, in the same order each time."""

    @abc.abstractmethod
    def pairs(self, split: str) -> Iterator[RawPair]:
        """Yields the unfiltered pairs of a split, including invalid ones.

        Args:
            split: "train", "validation" or "test".

        Raises:
            ValueError: If the data are damaged, or sources and targets differ in number.
        """

    @abc.abstractmethod
    def asked(self) -> dict[str, Any]:
        """Returns a description for the manifest; equal if and only if the pairs should be equal.

        Raises:
            ValueError: If there are no data.
        """

    def files(self) -> list[Path]:
        """Returns the input files, if any."""
        return []


class FileReader(Reader):
    """Reads files.

    Args:
        files: Files of each split, in a significant order.
    """

    def __init__(self, files: Mapping[str, list[Path]]):
        self._files = files

    def asked(self) -> dict[str, Any]:
        sizes = {
            split: [[path.name, path.stat().st_size] for path in paths]
            for split, paths in self._files.items()
        }
        return {"reader": type(self).__name__, "files": sizes}

    def files(self) -> list[Path]:
        return [path for paths in self._files.values() for path in paths]


class TableReader(FileReader):
    """Reads files that hold both sources and targets.

    Args:
        train: Names of the training split's files, in order; `*` matches any text.
        validation: The same for validation.
        test: The same for testing.
        folder: Folder of the files.

    Raises:
        ValueError: If a file is missing.
    """

    def __init__(
        self,
        train: Sequence[str],
        validation: Sequence[str],
        test: Sequence[str],
        folder: str = ".",
    ):
        root = Path(folder).expanduser()
        named = {"train": train, "validation": validation, "test": test}
        super().__init__({split: found(root, names, split) for split, names in named.items()})

    def pairs(self, split: str) -> Iterator[RawPair]:
        for path in self._files[split]:
            yield from self._pairs_of(path)

    @abc.abstractmethod
    def _pairs_of(self, path: Path) -> Iterator[RawPair]:
        """Yields the pairs of one file."""


def found(folder: Path, names: Sequence[str], split: str) -> list[Path]:
    """Returns the files with these names, those of a pattern in alphabetical order.

    Raises:
        ValueError: If there is none, for a name or in all.
    """
    paths: list[Path] = []
    for name in names:
        matches = sorted(folder.glob(name)) if "*" in name else [folder / name]
        if not matches or not all(path.is_file() for path in matches):
            raise ValueError(f"There is no file {name!r} in {str(folder)!r} for {split}.")
        paths += matches
    if not paths:
        raise ValueError(f"The split {split!r} needs at least one file.")
    return paths


def check_encoding(encoding: str) -> str:
    """Returns the standard name of an encoding.

    Raises:
        ValueError: If there is no such encoding.
    """
    try:
        return codecs.lookup(encoding).name
    except LookupError as error:
        raise ValueError(
            f"Unknown encoding {encoding!r}. Examples of encodings are 'utf-8', 'latin-1', "
            "'cp1252' and 'utf-16'."
        ) from error


def other_encoding(encoding: str) -> dict[str, str]:
    """Returns the encoding's entry of a manifest, empty for UTF-8."""
    return {} if encoding == "utf-8" else {"encoding": encoding}


def lines(path: Path, encoding: str = "utf-8") -> Iterator[bytes]:
    """Yields the lines of a file, plain or compressed by gzip (`.gz`), without line ends.

    Only a line feed ends a line: Unicode's other separators occur inside sentences.

    Args:
        path: The file.
        encoding: Encoding of the file, by its standard name. UTF-8 is not validated; others, and
            files that start with the mark of UTF-16 or UTF-32, are converted to UTF-8.

    Raises:
        ValueError: If it cannot be decompressed, is not in that encoding, or has a line too long
            for a sentence.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            if encoding == "utf-8":
                start = file.peek(4)
                encoding = next(
                    (_MARKS[mark] for mark in _MARKS if start.startswith(mark)), encoding
                )
            text = file if encoding == "utf-8" else io.TextIOWrapper(file, encoding, newline="\n")
            found = bounded.lines(text, path)
            yield from _without_ends(x if isinstance(x, bytes) else x.encode() for x in found)
    except UnicodeError as error:
        raise ValueError(
            f"{path} is not {encoding}: {error}. Set its encoding; if the files have different "
            "encodings, convert them to UTF-8."
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path} is damaged: it cannot be decompressed ({error}). Download the file again."
        ) from error


def _without_ends(found: Iterable[bytes]) -> Iterator[bytes]:
    for number, line in enumerate(found):
        text = line.rstrip(b"\r\n")
        yield text if number else text.removeprefix(codecs.BOM_UTF8)
