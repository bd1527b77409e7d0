"""Every output of every command at a path that exists already: files of others are never lost."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import pytest
import tensorflow as tf

from mtk import callbacks, config, evaluate, export, places, prepare, report
from mtk.analysis import reporting
from mtk.data.translation.vocabulary import Vocabulary
from mtk.experiment import evaluation
from mtk.experiment.run_folder import RunFolder
from mtk.study import Study, StudyFolder
from mtk.study.grid import Run

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "vision"), str(ROOT / "tests" / "translation")]


class Doubler(tf.Module):
    def signatures(self):
        @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32)])
        def double(x):
            return {"y": 2.0 * x}

        return {"serving_default": double}


@pytest.fixture(scope="module")
def network():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Returns the inputs of commands: a study, CelebA files, parallel text."""
    import celeba_files
    import parallel_text

    from tests.analysis.synthetic import grid, write_study

    place = tmp_path_factory.mktemp("inputs")
    write_study(place / "study", grid(weights=(0.5,), rates=(0.1,)))
    celeba_files.write(place / "faces")
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(place / "a.keras")
    (place / "text").mkdir()
    for name in ("train", "val", "test_2016_flickr"):
        for language in ("en", "de", "fr"):
            known = {"de": "zh"}.get(language, language)
            path = place / "text" / f"{name}.{language}.gz"
            parallel_text.write(path, parallel_text.lines(known, 9, 0))
    return place


@pytest.fixture
def outputs(network, inputs, monkeypatch):
    """Returns functions that write each output to a path, and return an exit code or raise."""
    text = SimpleNamespace(
        write=lambda folder: (folder / "figures.txt").write_text("a figure"), sections=[]
    )
    monkeypatch.setattr(reporting, "collect", lambda *_: text)
    monkeypatch.setattr(reporting.page, "render", lambda made: "a page")
    monkeypatch.setattr(evaluation, "launch", lambda *_: {"loss": 1.0})
    monkeypatch.setattr(evaluation, "described", lambda figures: "")
    monkeypatch.setattr(evaluate.tf_logging, "start_tensorflow", lambda: None)
    faces = f"--gin_file={ROOT / 'configs/prepare_celeba.gin'}"
    pairs = f"--gin_file={ROOT / 'configs/prepare_multi30k.gin'}"
    small = ("vocabulary_size=420", "processes=1")
    own = [f"--gin.preparation.prepare.{value}" for value in small]
    own.append("--gin.preparation.prepare.chunk_pairs=9")

    def prepared(data_set, data, flags):
        given = [data_set, *flags, f"--gin.data_dir={str(inputs / data)!r}"]
        return lambda path: prepare.main([*given, f"--out={path}"])

    study = f"--study_dir={inputs / 'study'}"
    model, gin = f"--saved_model={inputs}/a.keras", f"--gin_file={ROOT}/configs/multi_digits.gin"
    return {
        "report --out": lambda path: report.main([study, f"--out={path}"]),
        "evaluate --json": lambda path: evaluate.main([model, gin, f"--json={path}"]),
        "prepare celeba --out": prepared("celeba", "faces", [faces]),
        "prepare translation --out": prepared("translation", "text", [pairs, *own]),
        "export": lambda path: export.export(network, path),
        "export_module": lambda path: export.export_module(Doubler(), path),
        "save_keras": lambda path: not export.save_keras(network, path),
        "selected weights": lambda path: select(network, path),
        "vocabulary": lambda path: Vocabulary.save(SimpleNamespace(proto=b"pieces"), path),
        "run_dir": lambda path: begin_run(path),
        "study_dir": lambda path: begin_study(path),
    }


def select(network, path):
    selection = callbacks.BestCheckpoint(path)
    selection.set_model(network)
    selection.begin()
    selection._keep({}, 0.0)


def begin_run(path):
    with RunFolder.claim(path, {}) as folder:
        folder.open("asked", "operative")


def begin_study(path):
    study = Study("small", ["a.gin"], {"method": "b.gin"})
    line = config.Line("text", "a.gin", 1)
    run = Run("0123456789abcdef", "method", 0, {}, {}, (line,))
    folder = StudyFolder(path)
    folder.listed(study)
    folder.add(study, [run])


FILES = ("evaluate --json", "save_keras", "selected weights", "vocabulary")
# These are written in place: a study ignores other files in its folder.
IN_PLACE = ("run_dir", "study_dir")
FOLDERS = (
    *("report --out", "prepare celeba --out", "prepare translation --out"),
    *("export", "export_module"),
)
ENDINGS = {"save_keras": ".keras", "selected weights": ".weights.h5"}


def nothing(path):
    pass


def file(path):
    path.write_text("of others")


def full_folder(path):
    (path / "inner").mkdir(parents=True)
    (path / "inner" / "precious").write_text("of others")


def empty_folder(path):
    path.mkdir()


def link_to(make):
    def link(path):
        target = path.with_name(f"target{path.suffix}")
        make(target)
        path.symlink_to(target)

    link.__name__ = f"link_to_{make.__name__}"
    return link


# What exists at the path, and the outputs that may be written there.
SITUATIONS = {
    nothing: (*FILES, *FOLDERS, *IN_PLACE),
    file: FILES,
    full_folder: ("study_dir",),
    empty_folder: (*FOLDERS, *IN_PLACE),
    link_to(nothing): (*FILES, *FOLDERS),
    link_to(file): FILES,
    link_to(full_folder): ("study_dir",),
    link_to(empty_folder): (*FOLDERS, *IN_PLACE),
}


def content(folder):
    """Returns the contents of all files below a folder, and the targets of its links."""
    return {
        path: path.readlink() if path.is_symlink() else path.is_file() and path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(autouse=True)
def _no_configuration():
    yield
    config.parse()


def code(write, path, capsys):
    """Returns the exit code and the error message."""
    try:
        status = int(write(path) or 0)
    except (ValueError, OSError) as error:
        return 2, str(error)
    except SystemExit as end:  # Raised by the parser of flags.
        status = end.code
    return status, capsys.readouterr().err


@pytest.mark.parametrize("make", SITUATIONS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", [*FILES, *FOLDERS, *IN_PLACE])
def test_output_at_a_path_that_exists(tmp_path, outputs, capsys, name, make):
    path = tmp_path / f"thing{ENDINGS.get(name, '')}"
    make(path)
    before = content(tmp_path)
    status, said = code(outputs[name], path, capsys)
    after = content(tmp_path)
    if name in SITUATIONS[make]:
        assert status == 0, said
        assert path.exists()
        assert path.is_file() == (name in FILES)
        assert path.is_symlink() == make.__name__.startswith("link")
        assert {p.relative_to(tmp_path).parts[0] for p in after} <= {
            path.name,
            f"target{path.suffix}",
        }
    else:
        assert status == 2
        assert "thing" in said or "File exists" in said
        assert "Traceback" not in said
        assert after == before
    for of_others in before:  # A file may only be replaced by an output of the same name.
        if of_others.name == "precious":
            assert after[of_others] == before[of_others]


@pytest.mark.parametrize("name", [*FILES, *FOLDERS])
def test_own_outputs_are_overwritten_unless_foreign_files_were_added(
    tmp_path, outputs, capsys, name
):
    path = tmp_path / f"thing{ENDINGS.get(name, '')}"
    for _ in range(2):
        assert code(outputs[name], path, capsys)[0] == 0
    if name in FILES:
        return
    (path / "precious").write_text("of others")
    before = content(tmp_path)
    status, said = code(outputs[name], path, capsys)
    assert content(tmp_path) == before
    if "prepare" not in name:  # Prepared data is checked, and never overwritten.
        assert status == 2
        assert "'precious'" in said


@pytest.mark.parametrize("name", [*FILES, *FOLDERS, *IN_PLACE])
def test_output_at_a_mount_point(tmp_path, outputs, capsys, mounted, name):
    place = mounted("size=4m")
    status, said = code(outputs[name], place, capsys)
    assert status == (0 if name in IN_PLACE else 2), said
    if status:
        assert "mounted" in said
        assert content(tmp_path) == {place: False}


@pytest.mark.parametrize("name", [*FILES, *FOLDERS, *IN_PLACE])
def test_output_at_the_working_directory(tmp_path, outputs, capsys, monkeypatch, name):
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    status, said = code(outputs[name], ".", capsys)
    assert status == (0 if name in IN_PLACE else 2), said
    if status:
        assert content(tmp_path) == {place: False}


INNER = ("saved_model", "saved_model_text", "model.keras", "manifest.json", "metrics.jsonl")


@pytest.mark.parametrize("inner", INNER)
def test_resuming_a_run_refuses_foreign_files_in_its_folder(tmp_path, inner):
    begin_run(tmp_path / "run")
    full_folder(tmp_path / "run" / inner)
    before = content(tmp_path)
    with pytest.raises(ValueError, match=inner):
        begin_run(tmp_path / "run")
    assert content(tmp_path) == before


@pytest.mark.parametrize("inner", ["config.gin", "operative_config.gin"])
def test_pipe_in_a_run_folder_raises_without_blocking(tmp_path, inner):
    begin_run(tmp_path / "run")
    (tmp_path / "run" / inner).unlink()
    os.mkfifo(tmp_path / "run" / inner)
    with pytest.raises(ValueError, match=f"{inner}' is a device or a pipe"):
        begin_run(tmp_path / "run")


@pytest.mark.parametrize("inner", ["tensorboard", "checkpoints"])
def test_new_run_does_not_write_through_symlinks(tmp_path, inner):
    (tmp_path / "of_others").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / inner).symlink_to(tmp_path / "of_others")
    with pytest.raises(ValueError, match="'.*run' is not empty"):
        begin_run(tmp_path / "run")
    assert not any((tmp_path / "of_others").iterdir())


@pytest.mark.parametrize("inner", ["study.json", "configs/0123456789abcdef.gin"])
def test_study_refuses_foreign_files_in_its_folder(tmp_path, inner):
    full_folder(tmp_path / "study" / inner)
    before = content(tmp_path)
    with pytest.raises(ValueError, match=inner):
        begin_study(tmp_path / "study")
    after = content(tmp_path)
    assert {path: after[path] for path in before} == before


@pytest.mark.parametrize("name", ["prepare translation --out"])
def test_folder_with_the_name_of_the_temporary_folder_is_kept(tmp_path, outputs, capsys, name):
    full_folder(tmp_path / "unfinished.thing")
    before = content(tmp_path)
    status, said = code(outputs[name], tmp_path / "thing", capsys)
    assert status == 2
    assert "unfinished.thing" in said
    assert content(tmp_path) == before


def test_export_adds_only_its_marker_to_a_saved_model(tmp_path, network):
    export.export(network, tmp_path / "made")
    names = {p.name for p in (tmp_path / "made").iterdir()}
    plain = {"saved_model.pb", "fingerprint.pb", "variables", "assets", "assets.extra"}
    assert names <= {*plain, places.MARKER}
    assert export.load(tmp_path / "made")(tf.ones((1, 2))).shape == (1, 1)
