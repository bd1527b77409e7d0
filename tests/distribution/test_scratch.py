import subprocess
import sys
import tempfile

import pytest

from mtk.experiment.scratch import temporary_folder

KILLED = """
import os, sys, tempfile
tempfile.tempdir = sys.argv[1]
from mtk.experiment.scratch import temporary_folder
with temporary_folder("test-") as folder:
    (folder / "file").write_text("content")
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_removed_whatever_happens_inside(place):
    def fail():
        with temporary_folder("test-") as folder:
            (folder / "file").write_text("content")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not list(place.iterdir())


def test_only_folders_of_killed_processes_are_removed(place):
    done = subprocess.run([sys.executable, "-c", KILLED, str(place)], stderr=subprocess.PIPE)
    assert done.returncode == -9, done.stderr
    (left,) = place.iterdir()
    (place / "test-of-others").mkdir()
    with temporary_folder("test-") as first, temporary_folder("test-") as second:
        assert first != second
        assert not left.exists()
        assert first.exists()
        assert (place / "test-of-others").exists()
