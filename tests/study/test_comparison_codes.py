"""Serialization of a comparison for other processes, and the key of its code."""

import functools
import importlib
import subprocess
import sys
import textwrap
from types import ModuleType

import keras
import numpy as np
import pytest

import mtk
from mtk.comparison import given, sent
from mtk.study.engines import Here, Local, Ray
from tests.study.compared import X, Y, build


@pytest.mark.slow
def test_script_with_closures_runs_in_forked_processes(tmp_path):
    """The script itself computes nothing with TensorFlow, so that runs are forked from it."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import numpy as np, keras, mtk
            from mtk.comparison import planning
            planning.SIZES = planning.SIZES[-1:]
            x = np.random.default_rng(0).normal(size=(90, 4)).astype("float32")
            y = {"a": x[:, :1], "b": x[:, 1:2]}
            def maker(units):
                def build():
                    i = keras.Input((4,)); h = keras.layers.Dense(units)(i)
                    o = {n: keras.layers.Dense(1, name=n)(h) for n in "ab"}
                    m = keras.Model(i, o); m.compile("adam", {"a": "mse", "b": "mse"}); return m
                return build
            study = mtk.compare(maker(5), (x, y), methods=["MGDA"], epochs=1, out="s")
            print(study)
            """
        )
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "at a time" in done.stdout
    assert "Use loss_weights=" in done.stdout


def test_function_and_data_are_loaded_in_other_processes(tmp_path, monkeypatch):
    elsewhere = Local(workers=1, gpus=0, share_import=False)
    assert sent.is_needed(elsewhere)
    assert not sent.is_needed(Here())
    sent.write(tmp_path, "k", sent.packed(build, elsewhere), ((X, Y), 0.2, 0.3))
    monkeypatch.setenv("MTK_STUDY_DIR", str(tmp_path))
    monkeypatch.setattr("multiprocessing.spawn.prepare", lambda data: None)
    found = given.given("k")
    assert found.build is build
    np.testing.assert_array_equal(found.train[0], X)
    assert (found.validation, found.test) == (0.2, 0.3)


TRAVELS = """import other
from travels.inner import layers
def build():
    return other.NUMBER + layers.NUMBER
"""


@pytest.fixture
def imported_package(tmp_path, monkeypatch):
    """A module with a function in a package, which imports another module beside the package."""
    inner = tmp_path / "travels" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        (folder / "__init__.py").touch()
    (inner / "layers.py").write_text("NUMBER = 2")
    (tmp_path / "other.py").write_text("NUMBER = 40")
    (inner.parent / "model.py").write_text(TRAVELS)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield importlib.import_module("travels.model")
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_imported_local_modules_are_sent_to_ray(imported_package):
    names = {module.__name__ for module in sent._own_modules(imported_package)}
    inner = {"travels", "travels.inner", "travels.inner.layers", "travels.model"}
    assert names == {"other", *inner}
    assert sent._own_modules(keras.models) == sent._own_modules(mtk.tasks) == []


def test_pickled_function_runs_without_its_modules(imported_package, tmp_path):
    pytest.importorskip("ray")
    packed = sent.packed(imported_package.build, object.__new__(Ray))
    (tmp_path / "packed").write_bytes(packed)
    code = f"import pickle; print(pickle.load(open({str(tmp_path / 'packed')!r}, 'rb'))())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "42"


@pytest.mark.parametrize("function", [lambda: build(), functools.partial(lambda: None)])
def test_functions_that_cannot_be_imported_raise(function):
    with pytest.raises(ValueError, match=r"lambda.*Define it with `def`"):
        sent.packed(function, Local(workers=1, gpus=0, share_import=False))


def test_script_without_main_guard_raises(tmp_path, monkeypatch):
    program = tmp_path / "mine.py"
    main = ModuleType("__main__")
    main.__file__ = str(program)
    monkeypatch.setitem(sys.modules, "__main__", main)
    elsewhere = Local(workers=1, gpus=0, share_import=False)
    program.write_text("mtk.compare(build)")
    with pytest.raises(ValueError, match=r"'mine\.py'.*again.*if __name__"):
        sent.packed(build, elsewhere)
    program.write_text('if __name__ == "__main__":\n    mtk.compare(build)')
    assert sent.packed(build, elsewhere)


def test_key_depends_on_function_and_data():
    one = given.Given(build, (X, Y), 0.2, 0.2).key()
    assert given.Given(build, (X.copy(), Y), 0.2, 0.2).key() == one
    others = [
        given.Given(build, (X + 1.0, Y), 0.2, 0.2).key(),
        given.Given(build, (X, Y), 0.3, 0.2).key(),
        given.Given(lambda: build(), (X, Y), 0.2, 0.2).key(),
    ]
    assert len({one, *others}) == 4


SCRIPT = {
    "model_of_mine": """
        import argparse, functools
        import keras, numpy as np
        import parts_of_mine
        from parts_of_mine import Block, head
        WIDTH = 2; DEPTH = 3; HEADS = 3
        CONFIG = {"activation": keras.activations.relu, "units": [1, 2]}
        FLAGS = argparse.Namespace(rate=0.1, out="a")
        MEANS = np.arange(3)

        def logged(function):
            @functools.wraps(function)
            def call(*given):
                return function(*given)
            return call

        @logged
        def build():
            # A comment.
            made = [head(WIDTH, DEPTH, HEADS), Block(), CONFIG["units"], FLAGS.rate, MEANS]
            return made, (lambda: parts_of_mine.tail(parts_of_mine.SCALE))()

        def unrelated():
            return 1
        """,
    "parts_of_mine": """
        SCALE = 5; UNUSED = 6
        def tail(x): return x
        def inner(): return 1
        def head(*given): return inner()
        class Base:
            def call(self): return 1
        class Block(Base):
            units = 3
            @property
            def width(self): return 4
            @staticmethod
            def made(): return 7
        """,
}


MATTERS = (
    ("WIDTH = 2; DEPTH = 3", "WIDTH = 3; DEPTH = 3"),
    ("WIDTH = 2; DEPTH = 3", "WIDTH = 2; DEPTH = 2"),
    ("activations.relu", "activations.tanh"),
    ("[1, 2]", "[1, 3]"),
    ("rate=0.1", "rate=0.2"),
    ("np.arange(3)", "np.arange(4)"),
    ("return function(*given)", "return function(*given) or 1"),
    ("parts_of_mine.tail(", "print("),
    ("SCALE = 5", "SCALE = 6"),
    ("return x", "return x + 1"),
    ("def inner(): return 1", "def inner(): return 2"),
    ("def call(self): return 1", "def call(self): return 2"),
    ("units = 3", "units = 4"),
    ("return 4", "return 5"),
    ("return 7", "return 8"),
)


DOES_NOT = (
    ("# A comment.", "# Another\n            # one."),
    ('out="a"', 'out="b"'),
    ("UNUSED = 6", "UNUSED = 7"),
    ("def unrelated():\n            return 1", "def unrelated():\n            return 2"),
)


@pytest.fixture
def key_of_script(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def key(before="", after=""):
        assert any(before in text for text in SCRIPT.values())
        for name, text in SCRIPT.items():
            content = textwrap.dedent(text.replace(before, after) if before else text)
            (tmp_path / f"{name}.py").write_text(content)
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return given.Given(importlib.import_module("model_of_mine").build, (X, Y), 0.2, 0.2).key()

    yield key
    for name in SCRIPT:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("edit", MATTERS, ids=lambda edit: edit[1])
def test_relevant_edits_change_the_key(key_of_script, edit):
    assert key_of_script(*edit) != key_of_script()


@pytest.mark.parametrize("edit", DOES_NOT, ids=lambda edit: edit[1])
def test_irrelevant_edits_keep_the_key(key_of_script, edit):
    assert key_of_script(*edit) == key_of_script()
