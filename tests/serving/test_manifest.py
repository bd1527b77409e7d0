import json
import subprocess
import sys

import pytest

from mtk.experiment import manifest


@pytest.fixture
def path(tmp_path):
    return tmp_path / "manifest.json"


def test_first_session(path):
    manifest.begin(path, seed=7)
    found = json.loads(path.read_text())
    assert found["seed"] == 7
    assert found["command"] == sys.orig_argv
    assert found["versions"]["python"].split(".")[0] == "3"
    assert None not in found["versions"].values()
    assert {"cores", "memory_bytes", "devices", "gpus", "processor"} <= set(found["host"])
    assert found["host"]["devices"] == ["/device:CPU:0"]
    (session,) = found["sessions"]
    assert session["first_step"] == 0
    assert session["command"] == sys.orig_argv


def test_resumed_session_records_only_changes(path):
    manifest.begin(path, seed=7)
    manifest.begin(path, seed=7, first_step=120)
    first = json.loads(path.read_text())
    assert [set(s) for s in first["sessions"]] == [{"first_step", "started", "command"}] * 2
    older = {**first, "versions": {**first["versions"], "keras": "1.0"}}
    path.write_text(json.dumps(older))
    manifest.begin(path, seed=7, first_step=240)
    found = json.loads(path.read_text())
    assert found["versions"]["keras"] == "1.0"
    assert [s["first_step"] for s in found["sessions"]] == [0, 120, 240]
    assert found["sessions"][2]["versions"] == first["versions"]
    assert "host" not in found["sessions"][2]


def test_throughput_is_recorded_in_the_last_session(path):
    manifest.begin(path, seed=0)
    manifest.begin(path, seed=0, first_step=5)
    manifest.end(path, {"steps_per_second": 2.5})
    first, last = json.loads(path.read_text())["sessions"]
    assert "throughput" not in first
    assert last["throughput"] == {"steps_per_second": 2.5}


@pytest.mark.parametrize("content", ['{"seed": ', "", "[]", "{}", '{"sessions": []}', "3"])
def test_damaged_manifest_is_renamed(path, content):
    path.write_text(content)
    for use in (lambda: manifest.end(path, {}), lambda: manifest.speed(path)):
        with pytest.warns(UserWarning, match=r"manifest\.json' is damaged"):
            assert not use()
        assert path.read_text() == content
    with pytest.warns(UserWarning, match=r"manifest\.json' is damaged"):
        manifest.begin(path, seed=0, first_step=3)
    assert json.loads(path.read_text())["sessions"][0]["first_step"] == 3
    assert path.with_name("damaged.manifest.json").read_text() == content


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """The folder of the package in a fake git checkout, and a function that runs git there."""
    package = tmp_path / "mtk"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(manifest.mtk, "__file__", str(package / "__init__.py"))

    def git(*command):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        done = ["git", "-C", str(tmp_path), *identity, *command]
        return subprocess.run(done, check=True, capture_output=True, text=True).stdout.strip()

    return package, git


def test_commit_and_changes_of_the_sources(checkout, path):
    package, git = checkout
    manifest.begin(path, seed=0)
    found = json.loads(path.read_text())
    assert (found["commit"], found["uncommitted_changes"]) == (None, None)
    path.unlink()
    git("init", "-q")
    git("add", "mtk")
    git("commit", "-qm", "one")
    for text, dirty in [("", False), ("x = 1\n", True)]:
        (package / "__init__.py").write_text(text)
        manifest.begin(path, seed=0)
        found = json.loads(path.read_text())
        assert (found["commit"], found["uncommitted_changes"]) == (git("rev-parse", "HEAD"), dirty)
        path.unlink()
