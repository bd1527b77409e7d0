import contextlib
import gc
import os
import signal
import subprocess
import sys

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def pytest_configure(config):
    if _is_default(config):
        # XLA's programs run once or twice here: to optimize them takes longer than that.
        os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")


def pytest_collection_modifyitems(items):
    """Tests of methods and of training come first, so that one process takes them together.

    Each process gets half of all tests in a row; then the faster one takes some from the end. A
    method that is traced once for many tests is so traced in one process.
    """
    first = ("tests/combiners/", "tests/trainer/")
    items.sort(key=lambda item: not item.nodeid.startswith(first))


def pytest_collection_finish(session):
    if _is_default(session.config) and "tensorflow" in sys.modules:
        _rewrite_graphs(False)
    _collect_garbage()
    # Tracing makes many objects that live on; looking for cycles after each 700 takes a twentieth.
    gc.set_threshold(100_000, 50, 100)


def _is_default(config):
    return config.option.markexpr == "not slow"


@pytest.fixture(scope="module", autouse=True)
def _free_memory():
    """Frees graphs and models after each file: a process would grow to gigabytes, and slow down."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].backend.clear_session()
        _collect_garbage()


@pytest.fixture
def rewritten_graphs():
    """TensorFlow rewrites each graph before it runs it, as it does for users.

    So it does in all slow tests and in every program of its own. By default it is left out: on a
    few steps of a small graph it takes longer than it saves.
    """
    import tensorflow as tf

    before = tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False)
    _rewrite_graphs(True)
    yield
    _rewrite_graphs(not before)


def _rewrite_graphs(wanted):
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not wanted})


def _collect_garbage():
    """What is left (modules, caches) is not looked through again: that would take seconds."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def heard_hangups():
    """Hears SIGHUP as in a terminal: `nohup` ignores it, and a test would wait for it in vain."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def read_events():
    """A function that reads a folder of event files: `{tag: [(step, value)]}`."""
    import numpy as np
    import tensorflow as tf
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    def read(folder):
        found = {}
        for path in sorted(folder.glob("events.*")):
            for event in EventFileLoader(str(path)).Load():
                for value in event.summary.value:
                    plugin = value.metadata.plugin_data.plugin_name
                    array = tf.make_ndarray(value.tensor)
                    content = float(array) if plugin == "scalars" else np.ravel(array)
                    found.setdefault(value.tag, []).append((event.step, content))
        return found

    return read


@pytest.fixture
def mounted(tmp_path):
    """A function that mounts a small file system in memory; who may not mount skips the test."""
    with contextlib.ExitStack() as stack:

        def mount(*options):
            place = tmp_path / "mounted"
            place.mkdir(exist_ok=True)
            _mount(stack, place, "-t", "tmpfs", "-o", ",".join(options), "none")
            return place

        yield mount


@pytest.fixture
def bind():
    """A function that mounts a file or a folder on another one."""
    with contextlib.ExitStack() as stack:
        yield lambda what, place: _mount(stack, place, "--bind", str(what))


def _mount(stack, place, *options):
    try:
        done = subprocess.run(["mount", *options, str(place)], capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no command to mount")
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    stack.callback(subprocess.run, ["umount", "-l", str(place)], check=True)
