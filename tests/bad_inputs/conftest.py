import codecs
import json
import os
import random
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mtk import config, records, train

CONFIGS = Path(__file__).parents[2] / "configs"
_TINY = """
include '{configs}/multi_digits.gin'
multi_digits.MultiDigits.partners = 1
multi_digits.MultiDigits.channels = (4, 4)
multi_digits.MultiDigits.units = 8
experiment.Optimization.batch_size = 64
experiment.Training.epochs = None
experiment.Training.steps = 4
evaluate_every = 2
"""
_STUDY = """
from __gin__ import dynamic_registration
from mtk import study

study.Study:
    name = 'small'
    configs = ('tiny.gin',)
    methods = {'static_weights': 'combiners/static_weights.gin'}
    grid = {'experiment.Optimization.learning_rate': (0.1,)}
    baseline = 'static_weights'
"""
_SEARCH = """
from __gin__ import dynamic_registration
from mtk import search

search.Search:
    name = 'small'
    configs = ('tiny.gin',)
    runs = 2
search.Space:
    tasks = ('left', 'right')
    log_uniform = {'experiment.Optimization.learning_rate': (0.01, 1.0)}
"""
_CARD = """
from __gin__ import dynamic_registration
from mtk import bench

bench.Card:
    name = 'small'
    configs = ('tiny.gin',)
    metrics = {'left': 'accuracy', 'right': 'accuracy'}
"""
_TEXT = """
from __gin__ import dynamic_registration
from mtk.data.translation import filters
from mtk.data.translation import preparation
from mtk.data.translation import readers

data_dir = 'text'
preparation.prepare:
    readers = {'fr': @readers.LineFiles()}
    vocabulary_size = 300
    filters = @filters.Filters()
    processes = 1
filters.Filters.max_tokens = 126
readers.LineFiles:
    folder = %data_dir
    train = [('train.en', 'train.fr')]
    validation = [('held.en', 'held.fr')]
    test = [('held.en', 'held.fr')]
"""


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """A folder with configs, a finished run, text, and many invalid files."""
    root = tmp_path_factory.mktemp("world")
    for name in ("combiners", "engines"):
        shutil.copytree(CONFIGS / name, root / name)
    folders = ("empty", "full", "study", "unfinished", "damaged", "searched", "benched")
    folders += ("spoiled", "blocked", "chain", "foreign/checkpoints")
    for name in folders:
        (root / name).mkdir(parents=True)
    tiny = _TINY.format(configs=CONFIGS)
    for name, text in {
        "tiny.gin": tiny,
        "study.gin": _STUDY,
        "search.gin": _SEARCH,
        "card.gin": _CARD,
        "searched/search.json": json.dumps(records.with_digest({"search": {}, "rounds": []})),
        "spoiled/bench.json": "[]",
        "blocked/configs": "",
        "benched/bench.json": '{"card": "another", "hash": "0"}',
        "text.gin": _TEXT,
        "mnist.gin": f"include '{CONFIGS}/multi_mnist.gin'\n",
        "faces.gin": f"include '{CONFIGS}/prepare_celeba.gin'\n",
        "required.gin": f"include '{CONFIGS}/multi_mnist.gin'\n",
        "circle.gin": "include 'circle.gin'\n",
        "includes.gin": "include 'absent.gin'\n",
        "open.gin": "include 'tiny.gin'\n\nexperiment.Sharing.shared = ['a',\n",
        "indented.gin": "include 'tiny.gin'\n  seed = 3\n seed = 4\n",
        "placed.gin": "from mtk import experiment\nexperiment.run.run_dir = 'other'\n",
        "huge.gin": "# A line\n".ljust(2_000_000),
        "raises.py": "raise KeyError('culprit')\n",
        "leaves.py": "raise SystemExit(0)\n",
        "foreign/checkpoints/mine.txt": "Mine: of value to me.\n",
        "notes.txt": "Mine: of value to me.\n",
        "full/mine.txt": "Mine: of value to me.\n",
        "text.keras": "No archive.\n",
        "none.keras": "",
        "study/study.json": '{"name": "another", "runs": []}',
        "unfinished/config.gin": tiny,
        "damaged/saved_model.pb": "damaged",
    }.items():
        (root / name).write_text(text)
    (root / "to_nothing").symlink_to("absent")
    (root / "to_itself").symlink_to("to_itself")
    (root / "to_study").symlink_to("study")
    os.mkfifo(root / "fifo.gin")
    (root / "bom.gin").write_bytes(
        codecs.BOM_UTF8 + b"include 'tiny.gin'\nexperiment.Training.steps = 1.5\n"
    )
    for number in range(60):
        (root / "chain" / f"{number}.gin").write_text(f"include '{number + 1}.gin'\n")
    (root / "latin1.gin").write_bytes(b"seed = 1\n# caf\xe9\n")
    (root / "image.png").write_bytes(bytes(range(256)))
    (root / "cut.npz").write_bytes(b"PK\x03\x04 and no more")
    np.savez(root / "other.npz", x=np.zeros(3))
    _write_texts(root)
    flags = [f"--gin_file={root / 'tiny.gin'}", "--gin.experiment.Training.steps=2"]
    assert train.main([*flags, f"--run_dir={root / 'run'}"]) == 0
    config.parse()
    shutil.copytree(root / "run" / "saved_model", root / "alone")
    whole = (root / "run" / "model.keras").read_bytes()
    (root / "cut.keras").write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(root / "zip.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    return root


def _write_texts(root: Path) -> None:
    """Writes parallel text, some of it invalid."""
    generator = random.Random(0)
    words = ["ba", "ke", "lo", "mi", "nu", "ra", "sti", "el", "du", "fa"]

    def sentences(number: int, prefix: str = "") -> list[str]:
        return [prefix + " ".join(generator.choices(words, k=8)) for _ in range(number)]

    good = sentences(100)
    faulty = {
        "text": (good, good),
        "latin1": (good, [f"café {line}" if i % 3 else line for i, line in enumerate(good)]),
        "gaps": (good, [line if i % 3 else "" for i, line in enumerate(good)]),
        "long": ([line * 40 for line in good], [line * 40 for line in good]),
        "unlike": (good, [line if i % 3 else "b" for i, line in enumerate(good)]),
        "shifted": (good, good[1:]),
        "nothing": ([], []),
    }
    for name, (english, french) in faulty.items():
        folder = root / name
        folder.mkdir()
        encoding = "latin-1" if name == "latin1" else "utf-8"
        for language, lines in (("en", english), ("fr", french)):
            text = "".join(f"{line}\n" for line in lines)
            (folder / f"train.{language}").write_text(text, encoding=encoding)
            (folder / f"held.{language}").write_text("ba ke lo mi nu ra\n")
