"""Manifest of a prepared corpus, with counts and hashes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mtk import atomic, records
from mtk.data.fingerprints import sha256
from mtk.data.translation.corpus import SPLITS, TEST, TRAIN, VALIDATION

VOCABULARY = "vocabulary.model"
_NAME = "manifest.json"
_FORMAT = 1
_FIX = "Remove the folder and prepare the corpus again."


class Manifest(NamedTuple):
    """The record of a preparation; equal for equal files and settings.

    Attributes:
        asked: The requested settings.
        vocabulary: Size and hash of the vocabulary.
        splits: Results of `token_files.merge` by split and language.
    """

    asked: dict[str, Any]
    vocabulary: dict[str, Any]
    splits: dict[str, dict[str, Any]]

    @property
    def languages(self) -> tuple[str, ...]:
        return tuple(self.splits[TRAIN])

    def save(self, folder: Path) -> None:
        """Writes `manifest.json`, which marks the folder as a corpus, as the last file."""
        atomic.write_json(folder / _NAME, {"format": _FORMAT, **self._asdict()})

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Returns whether a folder has a manifest; `load` checks that it is a corpus's."""
        return (folder / _NAME).is_file()

    @staticmethod
    def missing(folder: Path) -> ValueError:
        """Returns the error for a missing manifest."""
        return ValueError(
            f"There is no prepared corpus in {str(folder)!r}: it has no {_NAME}. Create one "
            "with: python -m mtk.prepare translation"
        )

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """Reads the manifest of a prepared corpus.

        Raises:
            ValueError: If there is none, or it is invalid or of another version.
        """
        path = folder / _NAME
        if not path.exists():
            raise cls.missing(folder)
        try:
            found = records.json_object(path)
        except ValueError as error:
            # Its owner is unknown, so that the user is not told to remove it.
            again = "Prepare the corpus again in another folder."
            raise ValueError(f"{path} is damaged ({error}). {again}") from error
        if not {"format", "vocabulary"} <= found.keys():
            raise ValueError(
                f"{str(folder)!r} is not a prepared corpus: its {_NAME} describes something "
                "else. Give a folder written by python -m mtk.prepare translation."
            )
        if found.pop("format") != _FORMAT:
            raise ValueError(f"{path} was written by another version. {_FIX}")
        return cls(**found)

    def check_vocabulary(self, folder: Path) -> None:
        """Checks that the vocabulary is the one used for the tokens.

        Raises:
            ValueError: If it is another one.
        """
        self._check(folder / VOCABULARY, self.vocabulary["sha256"])

    def check(self, folder: Path) -> None:
        """Checks every file by its hash.

        Raises:
            ValueError: If a file is missing or differs.
        """
        self.check_vocabulary(folder)
        for split in self.splits.values():
            for counted in split.values():
                for name, expected in counted["sha256"].items():
                    self._check(folder / name, expected)

    def _check(self, path: Path, expected: str) -> None:
        if not path.is_file():
            raise ValueError(f"{path} is missing. Remove the folder and prepare the corpus again.")
        if sha256(path) != expected:
            raise ValueError(
                f"{path} does not belong to this corpus: its hash differs from that in the "
                "manifest. Restore the right file, or remove the folder and prepare the corpus "
                "again."
            )

    def table(self) -> str:
        """Returns a table of the numbers of examples and tokens, and of skipped pairs by reason."""
        rows = [
            ("pair", TRAIN, VALIDATION, TEST, "tokens per example"),
            *map(self._row, self.languages),
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in rows
        ]
        asked, size = self.asked["vocabulary_size"], self.vocabulary["size"]
        fewer = f" ({asked:,} were requested, but this text has no more)" if size < asked else ""
        return "\n".join([*lines, f"vocabulary: {size:,} pieces{fewer}", *self._skips()])

    def _row(self, language: str) -> tuple[str, ...]:
        counted = [self.splits[split][language] for split in SPLITS]
        train = counted[0]
        means = [f"{number / train['kept']:.1f}" for number in train["tokens"].values()]
        numbers = [f"{split['kept']:,}" for split in counted]
        return (f"{self.asked['source']}-{language}", *numbers, " → ".join(means))

    def _skips(self) -> list[str]:
        return [
            f"left out of {language} {split}: {in_words(counted['skipped'])}"
            for split, by_language in self.splits.items()
            for language, counted in by_language.items()
            if counted["skipped"]
        ]


def in_words(skipped: Mapping[str, int]) -> str:
    """Returns a text with the number of skipped pairs by reason."""
    return ", ".join(f"{number:,} {reason}" for reason, number in skipped.items())
