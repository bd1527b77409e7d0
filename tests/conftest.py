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
        # Compiled programs run once or twice here: optimizing them takes longer than it saves.
        os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")


def pytest_collection_modifyitems(items):
    """Moves tests of combiners and training to the front, so that one process runs them.

    Each pytest-xdist process gets half of the tests in order; the faster process then takes some
    from the end of the other half. A combiner that many tests trace is thus traced in one process.
    """
    first = ("tests/combiners/", "tests/trainer/")
    items.sort(key=lambda item: not item.nodeid.startswith(first))


def pytest_collection_finish(session):
    if _is_default(session.config) and "tensorflow" in sys.modules:
        _rewrite_graphs(False)
    _collect_garbage()
    # Tracing makes many long-lived objects; collecting after every 700 would take 5% of the time.
    gc.set_threshold(100_000, 50, 100)


def _is_default(config):
    return config.option.markexpr == "not slow"


@pytest.fixture(scope="module", autouse=True)
def _free_memory():
    """Frees graphs and models after each file; otherwise the process would grow to gigabytes."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].backend.clear_session()
        _collect_garbage()


@pytest.fixture
def rewritten_graphs():
    """Enables TensorFlow's graph rewriting (Grappler), which is on by default for users.

    It is also on in slow tests and in subprocesses. The default tests turn it off: for a few steps
    of a small graph it takes longer than it saves.
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
    """Collects garbage and freezes what remains (modules, caches): scanning it takes seconds."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def heard_hangups():
    """Restores the default handling of SIGHUP, which `nohup` ignores: a test would wait forever."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def read_events():
    """Returns a function that reads a folder of event files as `{tag: [(step, value)]}`."""
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
    """Returns a function that mounts a tmpfs, or skips the test where mounting is not allowed."""
    with contextlib.ExitStack() as stack:

        def mount(*options):
            place = tmp_path / "mounted"
            place.mkdir(exist_ok=True)
            _mount(stack, place, "-t", "tmpfs", "-o", ",".join(options), "none")
            return place

        yield mount


@pytest.fixture
def bind():
    """Returns a function that bind-mounts a file or a folder onto another one."""
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
