"""Turns parallel text into a vocabulary and token files, once."""

import re
import shutil
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mtk.data.translation.corpus import HELD_OUT, SPLITS, TRAIN
from mtk.data.translation.filters import Filters
from mtk.data.translation.manifest import VOCABULARY, Manifest
from mtk.data.translation.meter import Meter
from mtk.data.translation.packing import Packers
from mtk.data.translation.readers import Reader
from mtk.data.translation.sampling import reservoir
from mtk.data.translation.token_files import SplitFiles, merge, sha256
from mtk.data.translation.vocabulary import Vocabulary, train_vocabulary
from mtk.data.translation.workspace import check_same, workspace

_CODE = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")
_SEED = 0  # of the lines that the vocabulary is learned from


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

    Works beside `folder`, in `unfinished.<its name>`, and moves what is done there at the end: so
    `folder` is whole or not there. Killed at any time, it goes on when called again with the same
    arguments, and comes to the same bytes. Memory does not grow with the text.

    Args:
        folder: Folder to write.
        readers: Where each target language's pairs come from.
        source: The source language.
        vocabulary_size: Pieces to learn, over all languages together. Small corpora have fewer.
        vocabulary_lines: Lines of each language to learn them from, drawn at random: languages
            with much text don't outweigh those with little.
        filters: Which pairs to leave out; the defaults of `Filters` if not given.
        chunk_pairs: Pairs that a process takes at a time.
        processes: How many; as many as there are cores by default.

    Returns:
        A table of what the corpus holds.

    Raises:
        ValueError: If the text cannot be read, or the folder holds something else.
        OSError: If the folder cannot be written.
    """
    filters = filters or Filters()
    _check(source, readers, min(vocabulary_lines, chunk_pairs, processes or 1))
    asked = {
        "source": source,
        "languages": {language: reader.asked() for language, reader in readers.items()},
        "vocabulary_size": vocabulary_size,
        "vocabulary_lines": vocabulary_lines,
        "filters": asdict(filters),
    }
    final = Path(folder).expanduser()
    work = final.with_name(f"unfinished.{final.name}")
    if final.exists() and (not final.is_dir() or any(final.iterdir())):
        manifest = _finished(final, asked)
    else:
        modified = {
            language: [path.stat().st_mtime_ns for path in reader.files()]
            for language, reader in readers.items()
        }
        plan = {**asked, "chunk_pairs": chunk_pairs, "modified": modified}
        with workspace(work, plan):
            vocabulary = _vocabulary(work, readers, asked, filters)
            with Packers(work / VOCABULARY, filters, processes) as packers:
                _pack(work, readers, packers, chunk_pairs)
            manifest = _merged(work, readers, asked, vocabulary)
            (work / "corpus").replace(final)
    shutil.rmtree(work, ignore_errors=True)
    return f"{final}\n{manifest.table()}"


def _check(source: str, readers: Mapping[str, Reader], smallest: int) -> None:
    if not readers or smallest < 1:
        raise ValueError(
            "A corpus needs readers of one target language or more, and `vocabulary_lines`, "
            "`chunk_pairs` and `processes` of 1 or more."
        )
    wrong = [name for name in readers if name == source or not _CODE.fullmatch(name)]
    if wrong:
        raise ValueError(
            "A target language is named by letters, digits and hyphens, such as 'pt-BR', and "
            f"differs from the source {source!r}. Received: {wrong[0]!r}"
        )


def _finished(folder: Path, asked: Mapping[str, Any]) -> Manifest:
    """Checks a corpus that is there already."""
    manifest = Manifest.load(folder)
    check_same(manifest.asked, asked, folder)
    manifest.check(folder)
    return manifest


def _vocabulary(
    work: Path, readers: Mapping[str, Reader], asked: Mapping[str, Any], filters: Filters
) -> Vocabulary:
    """Learns the vocabulary, and so reads all text once: what is damaged is found here."""
    path = work / VOCABULARY
    if path.exists():
        return Vocabulary.load(path)
    source = asked["source"]
    texts: dict[str, list[str]] = {source: []}
    for language, reader in readers.items():
        for split in HELD_OUT:
            _require(sum(1 for _ in reader.pairs(split)), split, language)
        pairs = Meter(f"reading {language}").watch(reader.pairs(TRAIN))
        drawn, number = reservoir(pairs, asked["vocabulary_lines"], _SEED)
        _require(number, TRAIN, language)
        kept = filters.texts(drawn, Counter())
        # Every target has the same English: together it must not count more than one of them.
        texts[source] += [text for text, _ in kept[:: len(readers)]]
        texts[language] = [text for _, text in kept]
    print("learning the vocabulary", file=sys.stderr)
    vocabulary = train_vocabulary(texts, asked["vocabulary_size"], source)
    vocabulary.save(path)
    return vocabulary


def _pack(work: Path, readers: Mapping[str, Reader], packers: Packers, size: int) -> None:
    for split in SPLITS:
        for language, reader in readers.items():
            meter = Meter(f"tokenizing {split} {language}")
            folder = _chunks(work, split, language)
            folder.mkdir(parents=True, exist_ok=True)
            for number in packers.pack(reader.pairs(split), folder, size, split in HELD_OUT):
                meter.add(number)


def _merged(
    work: Path, readers: Mapping[str, Reader], asked: dict[str, Any], vocabulary: Vocabulary
) -> Manifest:
    """Writes the corpus from its chunks."""
    folder = work / "corpus"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    splits: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
    for split, by_language in splits.items():
        for language in readers:
            parts = sorted(_chunks(work, split, language).glob("[0-9]*.npz"))
            files = SplitFiles(folder, split, language)
            by_language[language] = merge(files, parts, held_out=split in HELD_OUT)
            _require(by_language[language]["kept"], split, language, by_language[language])
    vocabulary.save(folder / VOCABULARY)
    described = {"size": len(vocabulary), "sha256": sha256(folder / VOCABULARY)}
    manifest = Manifest(asked, described, splits)
    manifest.save(folder)
    return manifest


def _chunks(work: Path, split: str, language: str) -> Path:
    return work / f"{split}.{language}"


def _require(
    number: int, split: str, language: str, counted: Mapping[str, Any] | None = None
) -> None:
    if not number:
        why = f": {counted['skipped']} of {counted['read']} were left out" if counted else ""
        raise ValueError(f"There is no pair in the {split} split of {language!r}{why}.")
