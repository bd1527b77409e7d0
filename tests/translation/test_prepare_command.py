import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from parallel_text import lines, write
from pyarrow import parquet

from mtk import config, prepare
from mtk.data.translation import open_corpus

CONFIGS = Path(__file__).parents[2] / "configs"
NAMES = {"train": "train", "validation": "val", "test": "test_2016_flickr"}


@pytest.fixture(autouse=True)
def _no_configuration():
    yield
    config.parse()


@pytest.fixture
def text(tmp_path):
    """Small files with the names that the configuration of Multi30k expects."""
    folder = tmp_path / "text"
    folder.mkdir()
    for name in NAMES.values():
        for language in ("en", "de", "fr"):
            made = {"de": "zh"}.get(language, language)
            write(folder / f"{name}.{language}.gz", lines(made, 30, 0))
    return folder


def flags(text, *more):
    file = CONFIGS / "prepare_multi30k.gin"
    return ["translation", f"--gin_file={file}", f"--gin.data_dir={str(text)!r}", *more]


def test_help_is_complete_and_needs_no_tensorflow():
    code = (
        "import atexit, sys; atexit.register(lambda: print('tensorflow' in sys.modules));"
        "from mtk import prepare; prepare.main(['--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.endswith("False\n")
    for flag in ("translation", "--gin_file", "--gin_bindings", "--gin.NAME", "--out"):
        assert flag in done.stdout


def test_shipped_configuration_prepares(text, tmp_path, capsys):
    folder = tmp_path / "made" / "corpus"
    given = flags(text, f"--out={folder}", "--gin.preparation.prepare.vocabulary_size=500")
    for _ in range(2):  # The second time there is nothing to do.
        assert prepare.main(given) == 0
        table = capsys.readouterr().out
        assert table.startswith(f"{folder}\n")
        assert re.search(r"\nen-de +30 +30 +30 ", table)
    assert open_corpus(str(folder)).languages == ("de", "fr")


def test_folder_given_in_the_configuration(text, tmp_path, capsys):
    given = flags(text, f"--gin.folder={str(tmp_path / 'corpus')!r}")
    assert prepare.main(given) == 0
    assert "4,000 were requested" in capsys.readouterr().out
    assert (tmp_path / "corpus" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--gin.data_dir='/nowhere'"], "There is no file 'train.en.gz' in '/nowhere' for train"),
        (["--gin.preparation.prepare.vocabulary_size=9"], "vocabulary of 9 is too small"),
        (["--gin.preparation.prepare.vocabulary=9"], "Did you mean 'vocabulary_size'"),
        (["--gin.preparation.prepare.readers={}"], "at least one target language"),
        (["--gin_file=configs/none.gin"], "no config file"),
    ],
)
def test_bad_input_prints_one_message_without_traceback(text, tmp_path, capsys, more, message):
    assert prepare.main(flags(text, f"--out={tmp_path / 'corpus'}", *more)) == 2
    error = capsys.readouterr().err.splitlines()
    assert [line for line in error if line.startswith("error: ")]
    assert message in "\n".join(error)
    assert not (tmp_path / "corpus").exists()


def test_missing_configuration(capsys):
    assert prepare.main(["translation"]) == 2
    assert "does not set 'folder'" in capsys.readouterr().err


def test_unknown_data_set(capsys):
    with pytest.raises(SystemExit):
        prepare.main(["mnist"])
    assert "invalid choice: 'mnist'" in capsys.readouterr().err


# As a terminal does: all processes receive SIGINT, after the first chunk.
STOPPED = """
import os, signal
from mtk import flags, prepare
from mtk.data.translation.packing import Packers

pack = Packers.pack
signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell's background job ignores it.

def stopped(*arguments):
    for number in pack(*arguments):
        os.killpg(0, signal.SIGINT)
        yield number

Packers.pack = stopped
flags.exit_with(prepare.main)
"""


@pytest.mark.slow
def test_keyboard_interrupt(text, tmp_path):
    for language in ("en", "de", "fr"):
        write(text / f"train.{language}.gz", lines(language.replace("de", "zh"), 600, 0))
    given = flags(text, f"--out={tmp_path / 'corpus'}", "--gin.preparation.prepare.chunk_pairs=50")
    command = [sys.executable, "-c", STOPPED, *given]
    done = subprocess.run(command, capture_output=True, text=True, start_new_session=True)
    error = done.stderr
    assert done.returncode == 75
    assert list((tmp_path / "unfinished.corpus" / "train.de").glob("0*.npz"))
    assert error.endswith("stopped; run the same command again to continue\n")
    assert "Traceback" not in error
    assert prepare.main(given) == 0


def test_language_pairs_of_the_paper(tmp_path, capsys):
    """Files with the names that the configuration of WMT expects."""
    text = (CONFIGS / "prepare_wmt.gin").read_text()
    for name in re.findall(r"\['(.+\.parquet)'\]", text):
        path = tmp_path / name.replace("*", "00000-of-00001")
        path.parent.mkdir(parents=True, exist_ok=True)
        language = path.parent.name[:2]
        sides = zip(
            lines("en", 20, 0), lines("zh" if language == "zh" else "fr", 20, 0), strict=True
        )
        rows = [{"en": english.decode(), language: other.decode()} for english, other in sides]
        parquet.write_table(pa.table({"translation": pa.array(rows)}), path)
    file = CONFIGS / "prepare_wmt.gin"
    given = ["translation", f"--gin_file={file}", f"--gin.data_dir={str(tmp_path)!r}"]
    assert prepare.main([*given, f"--out={tmp_path / 'corpus'}"]) == 0
    assert "64,000 were requested" in capsys.readouterr().out
    assert open_corpus(str(tmp_path / "corpus")).languages == ("fr", "zh", "de", "ro")
