"""Files and folders are written completely or not at all, and no other files are lost."""

import contextlib
import json
import os
import subprocess
import sys
import threading

import pytest

from mtk import atomic, places
from mtk.atomic import replacing, replacing_folder, write_json
from mtk.places import MARKER, check_file, check_folder


def names(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def write_file(path, text):
    with replacing(path) as new:
        assert new.name == path.name
        new.write_text(text)


def write_folder(path, text):
    with replacing_folder(path) as new:
        assert new.name == path.name
        (new / "inner").mkdir()
        (new / "inner" / "file").write_text(text)


def read(path):
    return (path / "inner" / "file" if path.is_dir() else path).read_text()


WRITE = {"file": write_file, "folder": write_folder}


@pytest.fixture(params=WRITE)
def write(request):
    return WRITE[request.param]


def test_new_content_replaces_old_and_leaves_no_other_files(tmp_path, write):
    path = tmp_path / "some.file.h5"
    for text in ("one", "two"):
        write(path, text)
        assert read(path) == text
        assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("replace", [replacing, replacing_folder])
def test_failure_keeps_the_old_content(tmp_path, replace):
    path = tmp_path / "thing"
    WRITE["file" if replace is replacing else "folder"](path, "good")
    with contextlib.suppress(KeyboardInterrupt), replace(path) as new:
        (new if replace is replacing else new / "half").write_text("half")
        assert read(path) == "good"
        raise KeyboardInterrupt
    assert read(path) == "good"
    assert [p.name for p in tmp_path.iterdir()] == ["thing"]


KILLED = """
import os, sys
from pathlib import Path
from mtk import atomic
real, moment = Path.rename, sys.argv[2]
def rename(self, target):
    if moment == "before" and "replaced." in str(target): os.kill(os.getpid(), 9)
    made = real(self, target)
    if moment == "between" and "replaced." in str(target): os.kill(os.getpid(), 9)
    if moment == "after" and "replaced." not in str(target): os.kill(os.getpid(), 9)
    return made
Path.rename = rename
with atomic.replacing_folder(sys.argv[1]) as new:
    (new / "inner").mkdir()
    (new / "inner" / "file").write_text("new")
"""


@pytest.mark.parametrize("moment", ["before", "between", "after"])
def test_kill_at_any_moment_loses_nothing(tmp_path, moment):
    path = tmp_path / "thing"
    write_folder(path, "old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), moment])
    assert done.returncode == -9
    assert any(entry.name != "thing" for entry in tmp_path.iterdir())
    with contextlib.suppress(ZeroDivisionError), replacing_folder(path):
        assert read(path) == (
            "new" if moment == "after" else "old"
        )  # Restored if it had been moved.
        raise ZeroDivisionError
    assert [p.name for p in tmp_path.iterdir()] == ["thing"]


def test_unfinished_file_of_another_writer_is_kept(tmp_path):
    with replacing(tmp_path / "thing") as first:
        first.write_text("first")
        write_file(tmp_path / "thing", "second")
        assert first.read_text() == "first"
    assert read(tmp_path / "thing") == "first"
    assert names(tmp_path) == ["thing"]


def test_user_folders_with_names_of_temporary_ones_are_kept(tmp_path):
    own = tmp_path / f"{atomic._own()}01234567"
    own.mkdir()
    (own / "precious").write_text("mine")
    write_file(tmp_path / "thing", "text")
    assert (own / "precious").read_text() == "mine"


def test_concurrent_writers_of_one_folder(tmp_path):
    errors = []

    def work(name):
        try:
            for number in range(50):
                write_folder(tmp_path / "thing", f"{name}{number}")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert read(tmp_path / "thing")[1:] == "49"
    assert [p.name for p in tmp_path.iterdir()] == ["thing"]


def test_nothing_written_is_an_error(tmp_path):
    (tmp_path / "thing").write_text("old")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "thing"):
        pass
    assert (tmp_path / "thing").read_text() == "old"


def test_missing_parent_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone"), replacing(tmp_path / "gone" / "thing"):
        raise AssertionError("nothing can be written there")
    assert names(tmp_path) == []


def other_files(path):
    (path / "inner").mkdir(parents=True)
    (path / "inner" / "precious").write_text("mine")


def one_more_file(path):
    write_folder(path, "ours")
    (path / "inner" / "precious").write_text("mine")


def one_more_link(path):
    write_folder(path, "ours")
    (path / "precious").symlink_to(path.parent)


def damaged_list(path):
    write_folder(path, "ours")
    (path / MARKER).write_text('{"precious": 1}')


def list_that_is_too_deep(path):
    write_folder(path, "ours")
    (path / MARKER).write_text("[" * 100_000)


def list_that_leads_outside(path):
    (path.parent / "precious").write_text("mine")
    path.mkdir()
    (path / MARKER).write_text(json.dumps({"files": ["../precious"]}))
    (path / "precious").write_text("mine")


@pytest.mark.parametrize(
    "make",
    [
        other_files,
        one_more_file,
        one_more_link,
        damaged_list,
        list_that_is_too_deep,
        list_that_leads_outside,
    ],
)
def test_folder_with_other_files_is_refused(tmp_path, make):
    path = tmp_path / "thing"
    make(path)
    before = names(tmp_path)
    culprit = MARKER if make in (damaged_list, list_that_is_too_deep) else "precious"
    for write in (check_folder, check_file, lambda p: write_folder(p, "new")):
        with pytest.raises(ValueError, match=rf"thing' .*({culprit}|is a folder)"):
            write(path)
    assert names(tmp_path) == before


def test_files_listed_outside_of_the_folder_are_kept(tmp_path):
    path = tmp_path / "thing"
    (tmp_path / "precious").write_text("mine")
    path.mkdir()
    (path / MARKER).write_text(json.dumps({"files": ["../precious", "/etc/hostname"]}))
    write_folder(path, "new")
    assert (tmp_path / "precious").read_text() == "mine"
    assert read(path) == "new"


def test_files_added_during_the_replacement_are_kept(tmp_path, monkeypatch):
    path = tmp_path / "thing"
    write_folder(path, "old")
    real = places.folder_target

    def too_late(target):
        found = real(target)
        (path / "inner" / "precious").write_text("mine")
        return found

    def write():
        with replacing_folder(path) as new:
            (new / "file").write_text("new")
            monkeypatch.setattr(places, "folder_target", too_late)

    with pytest.warns(UserWarning, match="kept"):
        write()
    assert names(path) == ["file", MARKER]
    (kept,) = tmp_path.rglob("precious")
    assert kept.read_text() == "mine"


def fifo(path):
    os.mkfifo(path)


def link_to_itself(path):
    path.symlink_to(path)


@pytest.mark.parametrize("make", [fifo, link_to_itself, lambda path: path.write_text("a file")])
def test_folder_replaces_only_folders(tmp_path, make):
    make(tmp_path / "thing")
    for write in (check_folder, lambda p: write_folder(p, "new")):
        with pytest.raises(ValueError, match="thing"):
            write(tmp_path / "thing")
    assert names(tmp_path) == ["thing"]


@pytest.mark.parametrize("make", [fifo, link_to_itself, lambda path: path.mkdir()])
def test_file_replaces_only_files(tmp_path, make):
    make(tmp_path / "thing")
    for write in (check_file, lambda p: write_file(p, "new")):
        with pytest.raises(ValueError, match="thing"):
            write(tmp_path / "thing")
    assert names(tmp_path) == ["thing"]


@pytest.mark.parametrize("there", [True, False])
def test_symbolic_link_is_kept_and_its_target_is_written(tmp_path, write, there):
    target = tmp_path / "elsewhere" / "target"
    target.parent.mkdir()
    if there:
        write(target, "old")
    link = tmp_path / "link"
    link.symlink_to(target)
    (check_file if write is write_file else check_folder)(link)
    with contextlib.ExitStack() as stack:
        if write is write_file:
            stack.enter_context(replacing(link)).write_text("new")
        else:
            new = stack.enter_context(replacing_folder(link))
            (new / "inner").mkdir()
            (new / "inner" / "file").write_text("new")
    assert link.is_symlink()
    assert read(target) == "new"
    assert [p.name for p in target.parent.iterdir()] == ["target"]


@pytest.mark.parametrize("above", [False, True])
def test_working_directory_is_not_replaced(tmp_path, monkeypatch, above):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "thing"
    write_folder(path, "old")
    monkeypatch.chdir(path / "inner" if above else path)
    for name in ("..", path) if above else (".", path, "../thing"):
        with pytest.raises(ValueError, match="working directory"):
            check_folder(name)
    assert read(path) == "old"


def test_mount_point_is_refused(tmp_path, write, mounted):
    place = mounted("size=1m")
    with pytest.raises(ValueError, match="is a mount point" if write is write_folder else "folder"):
        write(place, "new")
    with pytest.raises(ValueError, match="mounted"):
        (check_folder if write is write_folder else check_file)(place)
    write(place / "inside", "new")
    assert read(place / "inside") == "new"


def test_bind_mounts_are_refused(tmp_path, bind):
    for write in (write_file, write_folder):
        path, other = tmp_path / f"on {write.__name__}", tmp_path / f"other {write.__name__}"
        write(path, "old")
        write(other, "other")
        bind(other, path)
        with pytest.raises(ValueError, match="is a mount point"):
            write(path, "new")
        assert read(path) == "other"


@pytest.mark.parametrize("check", [check_file, check_folder])
@pytest.mark.parametrize("name", ["a" * 300, "file/thing", "file/a/b", "circle/thing"])
def test_checks_refuse_paths_that_cannot_be_written(tmp_path, check, name):
    (tmp_path / "file").write_text("")
    link_to_itself(tmp_path / "circle")
    with pytest.raises((ValueError, OSError), match=f"{name[:4]}|not a folder"):
        check(tmp_path / name)
    assert names(tmp_path) == ["circle", "file"]


def test_checks_refuse_read_only_folders(mounted):
    place = mounted("ro")
    for check in (check_file, check_folder):
        for name in ("thing", "new/folders/thing"):
            with pytest.raises(ValueError, match="Read-only"):
                check(place / name)


def test_json_round_trip_and_nan_is_refused(tmp_path):
    path = tmp_path / "some.json"
    write_json(path, {"a": [1, None, 0.1 + 0.2]})
    assert json.loads(path.read_text()) == {"a": [1, None, 0.1 + 0.2]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text())["a"][0] == 1


@pytest.mark.parametrize("spelling", ["out/../out", "out/inner/../../out", "../{here}/out/../out"])
def test_path_through_the_folder_that_it_replaces(tmp_path, monkeypatch, spelling):
    monkeypatch.chdir(tmp_path)
    for path, content in (("out", "first"), (spelling.format(here=tmp_path.name), "second")):
        with atomic.replacing_folder(path) as new:
            (new / "inner").mkdir()
            (new / "inner" / "file").write_text(content)
    assert (tmp_path / "out" / "inner" / "file").read_text() == "second"
    assert [*tmp_path.iterdir()] == [tmp_path / "out"]
