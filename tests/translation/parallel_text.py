"""Writes small parallel texts of made-up words."""

import gzip
import hashlib
import random
from pathlib import Path

from mtk.data.translation.readers import LineFiles

# Settings of a fast preparation.
SETTINGS = {"vocabulary_size": 400, "chunk_pairs": 40, "processes": 2}
LANGUAGES = ("fr", "zh")
_SYLLABLES = {
    "en": ["ba", "ke", "lo", "mi", "nu", "ra", "st", "el"],
    "fr": ["é", "çu", "ei", "ou", "ne", "la", "que", "rê"],
    "zh": ["的", "一", "是", "了", "我", "不", "在", "人"],
}


def sentence(generator: random.Random, language: str, number: int) -> str:
    syllables = _SYLLABLES[language]
    words = [
        "".join(generator.choices(syllables, k=generator.randint(1, 3))) for _ in range(number)
    ]
    return ("" if language == "zh" else " ").join(words)


def lines(language: str, number: int, seed: int) -> list[bytes]:
    """Returns sentences; line by line, those of two languages have the same number of words."""
    generator, words = random.Random(f"{language} {seed}"), random.Random(seed)
    sizes = [words.randint(3, 12) for _ in range(number)]
    return [sentence(generator, language, size).encode() for size in sizes]


def write(path: Path, content: list[bytes]) -> None:
    text = b"".join(line + b"\n" for line in content)
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def make(folder: Path, number: int = 300, seed: int = 0) -> dict[str, LineFiles]:
    """Writes `train.fr.en`, `train.fr.fr.gz` etc. and returns their readers."""
    folder.mkdir(exist_ok=True)
    for language in LANGUAGES:
        for split, size in (("train", number), ("validation", 12), ("test", 9)):
            own = seed + 10 * len(split)
            write(folder / f"{split}.{language}.en", lines("en", size, own))
            write(folder / f"{split}.{language}.{language}.gz", lines(language, size, own))
    return readers(folder)


def readers(folder: Path) -> dict[str, LineFiles]:
    return {
        language: LineFiles(
            *(
                [(f"{split}.{language}.en", f"{split}.{language}.{language}.gz")]
                for split in ("train", "validation", "test")
            ),
            str(folder),
        )
        for language in LANGUAGES
    }


def hashes(folder: Path) -> dict[str, str]:
    """Returns the hash of each file in a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
