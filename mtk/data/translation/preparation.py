"""Prepares a vocabulary and token files from parallel text, once."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mtk.data.translation.filters import Filters
from mtk.data.translation.manifest import VOCABULARY, Manifest
from mtk.data.translation.readers import Reader
from mtk.data.translation.stages import Stages
from mtk.data.translation.workspace import MODIFIED, check_same, remove, workspace
from mtk.places import destination
from mtk.ranges import check_count

_CODE = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")


def prepare(
    folder: str,
    readers: Mapping[str, Reader],
    source: str = "en",
    vocabulary_size: int = 64_000,
    vocabulary_lines: int = 500_000,
    filters: Filters | None = None,
    chunk_pairs: int = 50_000,
    processes: int | None = None,
) -> str:
    """Prepares a parallel corpus for `open_corpus`.

    Works next to `folder`, in `unfinished.<its name>`, and moves the result at the end, so that
    `folder` is complete or missing. If killed at any time, it resumes when called again with the
    same arguments, with a byte-identical result. Invalid input leaves nothing behind. Memory does
    not grow with the text.

    Args:
        folder: Folder to write.
        readers: Reader of the pairs, by target language.
        source: The source language.
        vocabulary_size: Size of the vocabulary for all languages together. Small corpora have less.
        vocabulary_lines: Number of lines of each language to learn it from, drawn at random, so
            that languages with much text do not outweigh those with little.
        filters: Filters of pairs; the defaults of `Filters` if not given.
        chunk_pairs: Number of pairs that a process takes at a time.
        processes: Number of processes; the number of cores by default.

    Returns:
        A table of the contents of the corpus.

    Raises:
        ValueError: If the text cannot be read, too much of it would be skipped, or the folder
            holds something else.
        OSError: If the folder cannot be written.
    """
    filters = filters or Filters()
    _check(source, readers)
    check_count(
        vocabulary_size=vocabulary_size,
        vocabulary_lines=vocabulary_lines,
        chunk_pairs=chunk_pairs,
        processes=1 if processes is None else processes,
    )
    asked = {
        "source": source,
        "languages": {language: reader.asked() for language, reader in readers.items()},
        "vocabulary_size": vocabulary_size,
        "vocabulary_lines": vocabulary_lines,
        "filters": {name: v for name, v in asdict(filters).items() if name != "max_dropped"},
    }
    final = destination(folder)
    work = final.with_name(f"unfinished.{final.name}")
    if final.exists() and any(final.iterdir()):
        manifest = _finished(final, asked)
    else:
        # Existing chunks must have the same size, and be from files that have not changed since.
        plan = {**asked, "chunk_pairs": chunk_pairs, MODIFIED: _modified(readers)}
        with workspace(work, plan, worth=VOCABULARY):
            stages = Stages(work, readers, asked, filters)
            stages.learn()
            stages.pack(chunk_pairs, processes)
            manifest = stages.merge(work / "corpus")
            (work / "corpus").replace(final)
    remove(work)
    return f"{Path(folder).expanduser()}\n{manifest.table()}"


def _check(source: str, readers: Mapping[str, Reader]) -> None:
    if not readers:
        raise ValueError("A corpus needs `readers` for at least one target language.")
    wrong = [name for name in readers if name == source or not _CODE.fullmatch(name)]
    if wrong:
        raise ValueError(
            "The name of a target language must consist of letters, digits and hyphens, such "
            f"as 'pt-BR', and differ from the source {source!r}. Received: {wrong[0]!r}"
        )


def _finished(folder: Path, asked: Mapping[str, Any]) -> Manifest:
    """Checks an existing corpus."""
    if not Manifest.is_in(folder):
        raise ValueError(
            f"The folder {str(folder)!r} contains something other than a prepared corpus. "
            "Nothing was changed. Give a new or an empty folder."
        )
    manifest = Manifest.load(folder)
    check_same(manifest.asked, asked, folder)
    manifest.check(folder)
    return manifest


def _modified(readers: Mapping[str, Reader]) -> dict[str, int]:
    return {
        str(path): path.stat().st_mtime_ns for reader in readers.values() for path in reader.files()
    }
