import contextlib
import json

import pytest

from mtk.atomic import replacing, write_json


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_file(path, text):
    path.write_text(text)


def write_folder(path, text):
    (path / "inner").mkdir(parents=True)
    (path / "inner" / "file").write_text(text)


def read(path):
    return (path / "inner" / "file" if path.is_dir() else path).read_text()


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_new_content_replaces_old_and_leaves_nothing_beside(tmp_path, write):
    path = tmp_path / "some.file.h5"
    for text in ("one", "two"):
        with replacing(path) as unfinished:
            assert unfinished.parent == path.parent
            assert unfinished.name.endswith(path.name)
            write(unfinished, text)
            assert not path.exists() if text == "one" else read(path) == "one"
        assert read(path) == text
        assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_failure_keeps_the_old_content(tmp_path, write):
    path = tmp_path / "thing"
    with replacing(path) as unfinished:
        write(unfinished, "good")
    with contextlib.suppress(KeyboardInterrupt), replacing(path) as unfinished:
        write(unfinished, "half")
        raise KeyboardInterrupt
    assert read(path) == "good"
    assert names(tmp_path) == ["thing"]


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_what_a_killed_process_left_is_removed(tmp_path, write):
    write(tmp_path / "unfinished.thing", "half")
    with replacing(tmp_path / "thing") as unfinished:
        assert not unfinished.exists()
        write(unfinished, "whole")
    assert names(tmp_path) == ["thing"]
    assert read(tmp_path / "thing") == "whole"


def test_nothing_written_is_an_error(tmp_path):
    (tmp_path / "thing").write_text("old")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "thing"):
        pass
    assert (tmp_path / "thing").read_text() == "old"


def test_json_is_read_back_and_nan_refused(tmp_path):
    path = tmp_path / "some.json"
    write_json(path, {"a": [1, None, 0.1 + 0.2]})
    assert json.loads(path.read_text()) == {"a": [1, None, 0.1 + 0.2]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text())["a"][0] == 1
