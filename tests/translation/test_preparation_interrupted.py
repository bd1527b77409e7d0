"""Preparations that fail, are killed, or run concurrently."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from parallel_text import SETTINGS, hashes, make, readers

from mtk.data.translation import stages
from mtk.data.translation.preparation import prepare


def test_full_disk_raises_and_work_is_kept(text, prepared, tmp_path, monkeypatch):
    folder = tmp_path / "corpus"
    with monkeypatch.context() as patch:
        patch.setattr(stages, "merge", raise_disk_full)
        with pytest.raises(OSError, match="No space left"):
            prepare(str(folder), readers(text), **SETTINGS)
    assert not folder.exists()
    # The vocabulary is not trained again.
    monkeypatch.setattr(stages, "train_vocabulary", raise_disk_full)
    prepare(str(folder), readers(text), **SETTINGS)
    assert hashes(folder) == hashes(prepared)


def raise_disk_full(*args, **kwargs):
    raise OSError(28, "No space left on device")


def test_other_settings_restart_if_nothing_was_made(text, prepared, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(stages, "train_vocabulary", raise_disk_full)
        with pytest.raises(OSError, match="No space left"):
            prepare(str(tmp_path / "corpus"), readers(text), **{**SETTINGS, "vocabulary_size": 300})
    assert (tmp_path / "unfinished.corpus" / "plan.json").exists()
    prepare(str(tmp_path / "corpus"), readers(text), **SETTINGS)
    assert hashes(tmp_path / "corpus") == hashes(prepared)


def test_changed_text_does_not_continue(text, tmp_path, monkeypatch):
    made = make(tmp_path / "text")
    monkeypatch.setattr(stages, "merge", raise_disk_full)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            prepare(str(tmp_path / "corpus"), made, **SETTINGS)
    path = tmp_path / "text" / "train.fr.en"
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))
    with pytest.raises(ValueError, match=r"unfinished\.corpus' was prepared from") as caught:
        prepare(str(tmp_path / "corpus"), made, **{**SETTINGS, "vocabulary_lines": 900})
    assert str(caught.value).splitlines()[1:-1] == [
        "  vocabulary_lines: 500000 there, 900 now",
        f"  the file {path} has changed since then",
    ]
    path.write_bytes(path.read_bytes() + b"more\n")
    new = r"\n  languages\.fr\.files\.train: \[\['train\.fr\.en', .*now\n"
    with pytest.raises(ValueError, match=new):
        prepare(str(tmp_path / "corpus"), made, **SETTINGS)


_CODE = """
import os, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from parallel_text import readers
from mtk.data.translation import packing, stages
from mtk.data.translation.preparation import prepare

calls = 0
module, name, call = {at!r}
owner = {{"stages": stages, "packing": packing}}[module]
original = getattr(owner, name)

def killed(*arguments, **others):
    global calls
    calls += 1
    if calls == call:
        {end}
    return original(*arguments, **others)

setattr(owner, name, killed)
prepare({folder!r}, readers(Path({text!r})), **{settings!r})
"""
_KILL = "os.kill(os.getpid(), 9)"
_WAIT = "print(flush=True); sys.stdin.read()"


def start(text, folder, at, end=_KILL):
    """Starts a preparation that is killed or waits at the n-th call of a function."""
    values = {"tests": str(Path(__file__).parent), "text": str(text), "folder": str(folder)}
    code = _CODE.format(**values, settings=SETTINGS, at=at, end=end)
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
    )


# After these calls exist: a plan; a vocabulary; some chunks; more chunks; some corpus files.
MOMENTS = [
    ("stages", "train_vocabulary", 1),
    ("stages", "Packers", 1),
    ("packing", "_finished", 4),
    ("packing", "_finished", 2),
    ("stages", "merge", 3),
]


@pytest.mark.slow
def test_repeated_kills_do_not_change_the_corpus(text, prepared, tmp_path):
    folder = tmp_path / "corpus"
    for at in MOMENTS:
        process = start(text, folder, at)
        # The pipe closes when the last tokenizing process ends.
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not folder.exists()
    assert (tmp_path / "unfinished.corpus").exists()
    prepare(str(folder), readers(text), **SETTINGS)
    assert hashes(folder) == hashes(prepared)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_concurrent_preparation_raises(text, tmp_path):
    process = start(text, tmp_path / "corpus", MOMENTS[0], _WAIT)
    try:
        assert process.stdout.readline()
        with pytest.raises(ValueError, match="Another process is preparing"):
            prepare(str(tmp_path / "corpus"), readers(text), **SETTINGS)
    finally:
        process.kill()
        process.communicate()


def test_killed_worker_process_raises(text, tmp_path, monkeypatch):
    original = stages.Packers.pack
    monkeypatch.setattr(stages.Packers, "pack", lambda *args: kill_workers(original, *args))
    with pytest.raises(
        OSError, match="A tokenizing process ended unexpectedly.*the same command again"
    ):
        prepare(str(tmp_path / "corpus"), readers(text), **SETTINGS)
    monkeypatch.undo()
    prepare(str(tmp_path / "corpus"), readers(text), **SETTINGS)


def kill_workers(original, packers, *args):
    """Kills the processes of a pool after its first chunk."""
    for number in original(packers, *args):
        for process in packers._pool._processes.values():
            process.kill()
        yield number


def test_foreign_files_in_the_temporary_folder_are_kept(text, tmp_path, monkeypatch):
    def fail(*_, **__):
        (tmp_path / "unfinished.corpus" / "notes").write_text("mine")
        raise ValueError("bad text")

    with monkeypatch.context() as patch:
        patch.setattr(stages, "merge", fail)
        with pytest.raises(ValueError, match="bad text"):
            prepare(str(tmp_path / "corpus"), readers(text), **SETTINGS)
    assert hashes(tmp_path).keys() == {"unfinished.corpus/notes"}
    with pytest.raises(ValueError, match=r"unfinished\.corpus', which contains something else"):
        prepare(str(tmp_path / "corpus"), readers(text), **SETTINGS)
    assert hashes(tmp_path).keys() == {"unfinished.corpus/notes"}
