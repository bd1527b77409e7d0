"""Measures how fast parallel text is prepared, and whether memory grows with its size.

    python tools/prepare_speed.py
    python tools/prepare_speed.py --pairs 2000000 --vocabulary_lines 500000

The text consists of generated words, about as frequent and as long as those of a language, with 25
words per sentence. Each size is prepared in its own process.
"""

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mtk import resources

_WORDS = 200_000
_SENTENCE = 25  # words, on average
_BLOCK = 100_000  # sentences that are written at once
_SPLITS = ("train", "validation", "test")
_PAPER = 40_853_298  # pairs of English and French


def vocabulary(generator: np.random.Generator) -> np.ndarray:
    """Returns words of two to twelve letters; frequent ones are short."""
    letters = np.array(list("etaonihsrdlucmfwygpbvkjxqz"))
    weights = 1 / np.arange(2, 2 + letters.size)
    lengths = np.clip(generator.poisson(np.log2(np.arange(2, 2 + _WORDS)) / 2), 2, 12)
    drawn = generator.choice(letters, lengths.sum(), p=weights / weights.sum())
    return np.array(["".join(word) for word in np.split(drawn, np.cumsum(lengths)[:-1])])


def write(path: Path, sentences: int, seed: int) -> None:
    """Writes sentences, a line each."""
    generator = np.random.default_rng(seed)
    words = vocabulary(generator)
    chances = np.cumsum(1 / np.arange(1, 1 + _WORDS))
    lengths = np.clip(np.random.default_rng(0).poisson(_SENTENCE, sentences), 1, None)
    with path.open("w") as file:
        for first in range(0, sentences, _BLOCK):
            some = lengths[first : first + _BLOCK]
            places = np.searchsorted(chances, generator.random(some.sum()) * chances[-1])
            parts = np.split(words[places], np.cumsum(some)[:-1])
            file.writelines(" ".join(part) + "\n" for part in parts)


def prepare(args: argparse.Namespace) -> None:
    """Prepares the text in a folder."""
    from mtk.data.translation import preparation, readers

    train, validation, test = ([(f"{split}.en", f"{split}.fr")] for split in _SPLITS)
    reader = readers.LineFiles(train, validation, test, args.folder)
    folder = str(Path(args.folder) / "prepared")
    preparation.prepare(folder, {"fr": reader}, vocabulary_lines=args.vocabulary_lines)


def peaks(process: int) -> dict[int, float]:
    """Returns the largest resident set so far of a process and its children, in GiB."""
    found = {}
    tasks = Path(f"/proc/{process}/task")
    with contextlib.suppress(OSError):  # One that has just ended.
        names = [(task / "children").read_text() for task in tasks.iterdir()]
        for one in (process, *map(int, " ".join(names).split())):
            status = Path(f"/proc/{one}/status").read_text()
            peak = status.partition("VmHWM:")[2].split()
            if peak:  # Not of one that has ended, but is not yet forgotten.
                found[one] = int(peak[0]) / 2**20
    return found


def measure(folder: Path, pairs: int, args: argparse.Namespace) -> float:
    """Prepares some pairs and prints what it took; returns how many a minute are tokenized."""
    for split in _SPLITS:
        for seed, language in enumerate(("en", "fr")):
            write(folder / f"{split}.{language}", pairs if split == "train" else 3_000, seed)
    command = [sys.executable, __file__, "--folder", str(folder)]
    command += ["--vocabulary_lines", str(args.vocabulary_lines)]
    learned = folder / "unfinished.prepared" / "vocabulary.model"
    memory: dict[int, float] = {}
    started = middle = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        memory |= peaks(process.pid)
        if not learned.exists() and not (folder / "prepared").exists():
            middle = time.monotonic()
        time.sleep(0.2)
    if process.returncode:
        sys.exit(f"preparing failed with exit code {process.returncode}")
    rate = 60 * pairs / (time.monotonic() - middle)
    main = memory.pop(process.pid)
    disk = sum(path.stat().st_size for path in (folder / "prepared").iterdir()) / 2**30
    print(
        f"{pairs:>11,}{middle - started:>14.0f} s{rate:>16,.0f}{main:>14.2f}"
        f"{max(memory.values()):>14.2f}{disk:>12.2f}",
        flush=True,
    )
    return rate


def main() -> None:
    """Prints a line for each size, and what follows for the paper's largest corpus."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--pairs", type=int, nargs="+", default=[500_000, 1_000_000, 2_000_000])
    parser.add_argument("--vocabulary_lines", type=int, default=100_000)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.folder:
        prepare(args)
        return
    print(f"{resources.cpu_count()} cores; memory and disk in GiB")
    print("      pairs  vocabulary in    pairs a minute   main process  largest other  files")
    for pairs in args.pairs:
        folder = Path(tempfile.mkdtemp(prefix="prepare_speed"))
        try:
            rate = measure(folder, pairs, args)
        finally:
            shutil.rmtree(folder)
    print(f"At the last rate {_PAPER:,} pairs take {_PAPER / rate / 60:.1f} h.")


if __name__ == "__main__":
    main()
