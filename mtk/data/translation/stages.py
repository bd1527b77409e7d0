"""The stages of a preparation: learn the vocabulary, tokenize in chunks, merge the chunks."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mtk.data.fingerprints import sha256
from mtk.data.translation import dropped
from mtk.data.translation.corpus import HELD_OUT, SPLITS, TRAIN
from mtk.data.translation.filters import Filters, TextPair
from mtk.data.translation.manifest import VOCABULARY, Manifest, in_words
from mtk.data.translation.packing import Packers
from mtk.data.translation.readers import RawPair, Reader
from mtk.data.translation.sampling import reservoir
from mtk.data.translation.token_files import SplitFiles, merge
from mtk.data.translation.vocabulary import Vocabulary, train_vocabulary
from mtk.display import Meter, stage

_SEED = 0  # of the lines for learning the vocabulary


class Stages(NamedTuple):
    """A preparation. After a kill, completed work of a stage is not repeated.

    Attributes:
        work: The working folder.
        readers: Reader of each target language's pairs.
        asked: Settings, for the manifest.
        filters: The filters of pairs.
    """

    work: Path
    readers: Mapping[str, Reader]
    asked: dict[str, Any]
    filters: Filters

    def learn(self) -> None:
        """Learns the vocabulary; this reads all text once, and thus detects damage.

        Raises:
            ValueError: If text cannot be read, a split is empty, too much would be skipped, or the
                vocabulary is too small.
        """
        path = self.work / VOCABULARY
        if path.exists():
            return
        texts: dict[str, list[str]] = {self.asked["source"]: []}
        for language in self.readers:
            for split in HELD_OUT:
                pairs = list(self.readers[language].pairs(split))
                _require(len(pairs), split, language)
                self._check_texts(pairs, split, language)
            kept = self._sample(language)
            # Each target has its own source lines: together they must not outweigh one target.
            texts[self.asked["source"]] += [source for source, _ in kept[:: len(self.readers)]]
            texts[language] = [target for _, target in kept]
        with stage("Learning the vocabulary"):
            size, source = self.asked["vocabulary_size"], self.asked["source"]
            vocabulary = train_vocabulary(texts, size, source)
        for language, reader in self.readers.items():
            skipped, number = dropped.sample(reader.pairs(TRAIN), self.filters, vocabulary)
            dropped.check(self._part(TRAIN, language), skipped, number, self.filters, vocabulary)
        vocabulary.save(path)

    def _sample(self, language: str) -> list[tuple[str, str]]:
        pairs = Meter("pairs", label=f"reading {language}").watch(
            self.readers[language].pairs(TRAIN)
        )
        drawn, number = reservoir(pairs, self.asked["vocabulary_lines"], _SEED)
        _require(number, TRAIN, language)
        return self._check_texts(drawn, TRAIN, language)

    def _check_texts(self, pairs: Sequence[RawPair], split: str, language: str) -> list[TextPair]:
        """Returns the pairs that are text; raises an error if there are too few."""
        skipped: Counter[str] = Counter()
        kept = self.filters.texts(pairs, skipped)
        dropped.check(self._part(split, language), skipped, len(pairs), self.filters)
        return kept

    def _part(self, split: str, language: str) -> dropped.Part:
        return dropped.Part(split, language, self.readers[language])

    def pack(self, size: int, processes: int | None) -> None:
        """Tokenizes all splits.

        Args:
            size: Number of pairs per chunk.
            processes: Number of processes; the number of cores by default.

        Raises:
            OSError: If a chunk cannot be written, or a process was lost.
        """
        with Packers(self.work / VOCABULARY, self.filters, processes) as packers:
            for split in SPLITS:
                for language, reader in self.readers.items():
                    meter = Meter("pairs", label=f"tokenizing {split} {language}")
                    folder = self._chunks(split, language)
                    folder.mkdir(exist_ok=True)
                    pairs = reader.pairs(split)
                    for number in packers.pack(pairs, folder, size, split in HELD_OUT):
                        meter.add(number)

    def merge(self, folder: Path) -> Manifest:
        """Writes the corpus.

        Raises:
            ValueError: If all pairs of a split were skipped, or too many for one reason.
            OSError: If a file cannot be written.
        """
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        splits: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
        vocabulary = Vocabulary.load(self.work / VOCABULARY)
        for split, by_language in splits.items():
            for language in self.readers:
                parts = sorted(self._chunks(split, language).glob("[0-9]*.npz"))
                files = SplitFiles(folder, split, language)
                counted = merge(files, parts, held_out=split in HELD_OUT)
                why = f": all {counted['read']:,} were left out ({in_words(counted['skipped'])})"
                _require(counted["kept"], split, language, why)
                skipped = Counter(counted["skipped"])
                part = self._part(split, language)
                dropped.check(
                    part, skipped, counted["read"], self.filters, vocabulary, dropped.DroppedError
                )
                by_language[language] = counted
        vocabulary.save(folder / VOCABULARY)
        described = {"size": len(vocabulary), "sha256": sha256(folder / VOCABULARY)}
        manifest = Manifest(self.asked, described, splits)
        manifest.save(folder)
        return manifest

    def _chunks(self, split: str, language: str) -> Path:
        return self.work / f"{split}.{language}"


def _require(number: int, split: str, language: str, why: str = "") -> None:
    if not number:
        raise ValueError(f"There is no pair in the {split} split of {language!r}{why}.")
