"""Compares Hugging Face `datasets` with `mtk.prepare`: speed and memory of tokenizing pairs.

    pip install datasets
    python tools/datasets_speed.py --pairs 100000 400000

Both read the same generated text (see `prepare_speed.py`), tokenize it with the same vocabulary and
one process per core, drop pairs that are empty or too long, and write the ids. Learning the
vocabulary is not measured. The two run one after the other, each in its own process.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from prepare_speed import measure, peaks

from mtk import resources

_LONGEST = 256  # Ids of a sequence.


def tokenize(folder: Path) -> None:
    """Tokenizes a folder's text by `datasets`, and writes it there."""
    import datasets
    import sentencepiece

    datasets.disable_progress_bars()
    vocabulary = str(folder / "vocabulary.model")
    sides = [
        datasets.load_dataset(
            "text", data_files=str(folder / f"train.{language}"), cache_dir=str(folder / "cache")
        )["train"].rename_column("text", language)
        for language in ("en", "fr")
    ]
    pairs = datasets.concatenate_datasets(sides, axis=1)

    def ids(batch: dict[str, Any]) -> dict[str, Any]:
        processor = sentencepiece.SentencePieceProcessor(model_file=vocabulary)
        both = (processor.encode(batch[side]) for side in ("en", "fr"))
        fit = [pair for pair in zip(*both, strict=True) if all(0 < len(p) < _LONGEST for p in pair)]
        return {"source": [pair[0] for pair in fit], "target": [pair[1] for pair in fit]}

    types = datasets.Features(
        dict.fromkeys(("source", "target"), datasets.List(datasets.Value("int32")))
    )
    pairs.map(
        ids,
        batched=True,
        num_proc=resources.cpu_count(),
        remove_columns=["en", "fr"],
        features=types,
    ).save_to_disk(folder / "tokenized")


def timed(folder: Path) -> tuple[float, float, float]:
    """Returns the seconds that it takes, and the peaks of the main process and of any other."""
    command = [sys.executable, __file__, "--folder", str(folder)]
    environment = {**os.environ, "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "home")}
    memory: dict[int, float] = {}
    start = time.monotonic()
    process = subprocess.Popen(command, env=environment)
    while process.poll() is None:
        memory |= peaks(process.pid)
        time.sleep(0.2)
    if process.returncode:
        sys.exit(f"`datasets` failed with exit code {process.returncode}")
    return time.monotonic() - start, memory.pop(process.pid), max(memory.values(), default=0.0)


def learn(folder: Path) -> None:
    """Learns a vocabulary from the beginning of the text."""
    import sentencepiece

    lines = (
        line
        for language in ("en", "fr")
        for line in itertools.islice((folder / f"train.{language}").open(), 20_000)
    )
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_prefix=str(folder / "vocabulary"),
        vocab_size=32_000,
        hard_vocab_limit=False,
        minloglevel=2,
    )


def main() -> None:
    """Prints two lines for each size."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--pairs", type=int, nargs="+", default=[100_000, 400_000])
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.folder:
        tokenize(args.folder)
        return
    own = argparse.Namespace(vocabulary_lines=20_000)
    print(f"{resources.cpu_count()} cores; memory and disk in GiB; first mtk, then `datasets`")
    print("      pairs  vocabulary in    pairs a minute   main process  largest other  files")
    for pairs in args.pairs:
        with tempfile.TemporaryDirectory(prefix="datasets_speed") as name:
            folder = Path(name)
            measure(folder, pairs, own)
            learn(folder)
            seconds, main_process, other = timed(folder)
            disk = sum(p.stat().st_size for p in (folder / "tokenized").iterdir()) / 2**30
        rate = 60 * pairs / seconds
        print(f"{pairs:>11,}{'':>16}{rate:>16,.0f}{main_process:>14.2f}{other:>14.2f}{disk:>12.2f}")


if __name__ == "__main__":
    main()
