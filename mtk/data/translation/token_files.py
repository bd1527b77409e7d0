"""The files of a prepared corpus."""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from mtk import atomic
from mtk.data.fingerprints import sha256
from mtk.data.translation import chunks
from mtk.data.translation.chunks import SIDES
from mtk.data.translation.corpus import Pairs, Texts
from mtk.data.translation.sequences import Sequences

_AGAIN = "Remove the folder and prepare the corpus again."
_Content = TypeVar("_Content")


class SplitFiles(NamedTuple):
    """The files of one split of one language.

    Attributes:
        folder: Folder of the corpus.
        split: "train", "validation" or "test".
        language: The target language.
    """

    folder: Path
    split: str
    language: str

    def path(self, side: str, what: str) -> Path:
        """Returns a file's path; `what` is "tokens.npy", "starts.npy" or "txt"."""
        return self.folder / f"{self.split}.{self.language}.{side}.{what}"


def merge(files: SplitFiles, parts: list[Path], held_out: bool) -> dict[str, Any]:
    """Writes a split as files of tokens, of their starts and, if it is held out, of text.

    Args:
        files: Files to write.
        parts: Files of the split's chunks, in order.
        held_out: Whether to write the text.

    Returns:
        For the manifest: the numbers of pairs read, kept and skipped, the number of tokens, and the
        hash of every file.
    """
    read, skipped = 0, Counter[str]()
    for part in parts:
        more, reasons = chunks.counts(part)
        read, skipped = read + more, skipped + reasons
    kept = read - skipped.total()
    tokens: dict[str, int] = {}
    hashes: dict[str, str] = {}
    for side in SIDES:
        tokens[side] = sum(int(chunks.array(part, f"{side}.starts")[-1]) for part in parts)
        written = [_write_tokens(files, side, parts, tokens[side])]
        written.append(_write_starts(files, side, parts, kept))
        if held_out:
            written.append(_write_text(files, side, parts))
        hashes |= {path.name: sha256(path) for path in written}
    skips = dict(sorted(skipped.items()))
    return {"read": read, "kept": kept, "skipped": skips, "tokens": tokens, "sha256": hashes}


def _write_tokens(files: SplitFiles, side: str, parts: list[Path], size: int) -> Path:
    path = files.path(side, "tokens.npy")
    kind = chunks.array(parts[0], f"{side}.tokens").dtype
    _write(path, kind, size, (chunks.array(part, f"{side}.tokens") for part in parts))
    return path


def _write_starts(files: SplitFiles, side: str, parts: list[Path], kept: int) -> Path:
    def starts() -> Iterable[np.ndarray]:
        last = np.zeros(1, np.int64)
        yield last
        for part in parts:
            moved = chunks.array(part, f"{side}.starts") + last[-1]
            yield moved[1:]
            last = moved

    path = files.path(side, "starts.npy")
    _write(path, np.dtype(np.int64), kept + 1, starts())
    return path


def _write_text(files: SplitFiles, side: str, parts: list[Path]) -> Path:
    path = files.path(side, "txt")
    with atomic.replacing(path) as unfinished, unfinished.open("wb") as file:
        file.writelines(chunks.array(part, f"{side}.text").tobytes() for part in parts)
    return path


def _write(path: Path, kind: np.dtype, size: int, arrays: Iterable[np.ndarray]) -> None:
    """Writes an `.npy` file part by part, since the whole array may not fit into memory."""
    header = {"descr": kind.str, "fortran_order": False, "shape": (size,)}
    with atomic.replacing(path) as unfinished, unfinished.open("wb") as file:
        np.lib.format.write_array_header_2_0(file, header)
        file.writelines(array.tobytes() for array in arrays)


def open_pairs(files: SplitFiles, counted: dict[str, Any]) -> Pairs:
    """Opens the token files of a split, memory-mapped.

    Args:
        files: Files to open.
        counted: Their entry of the manifest.

    Raises:
        ValueError: If a file is missing, damaged, or of another size than counted.
    """
    sides = []
    for side in SIDES:
        tokens = _mapped(files.path(side, "tokens.npy"), counted["tokens"][side])
        sides.append(
            Sequences(tokens, _mapped(files.path(side, "starts.npy"), counted["kept"] + 1))
        )
    return Pairs(*sides)


def read_texts(files: SplitFiles) -> Texts:
    """Reads the text of a split.

    Raises:
        ValueError: If a file is missing or damaged.
    """
    return Texts(*(_checked(_lines, files.path(side, "txt")) for side in SIDES))


def _lines(path: Path) -> list[str]:
    # Only a line feed ends a line: Unicode's other separators occur inside sentences.
    return path.read_bytes().decode().removesuffix("\n").split("\n")


def _mapped(path: Path, size: int) -> np.ndarray:
    array: np.ndarray = _checked(lambda path: np.load(path, mmap_mode="r"), path)
    if array.shape != (size,):
        raise ValueError(f"{path} has {array.size} numbers, but the manifest says {size}. {_AGAIN}")
    return array


def _checked(read: Callable[[Path], _Content], path: Path) -> _Content:
    try:
        return read(path)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is missing or damaged ({error}). {_AGAIN}") from error
