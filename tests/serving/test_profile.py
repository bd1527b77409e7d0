import re

import keras
import pytest
import tensorflow as tf

import mtk
from mtk.callbacks import Profile
from tests.networks import NETWORKS, batch, tasks
from tests.quick import some

BATCHES = tf.data.Dataset.from_tensors(batch("dense")).repeat()


@pytest.fixture
def model():
    made = mtk.MultiTaskModel(NETWORKS["dense"](), tasks())
    made.compile(keras.optimizers.SGD(0.01))
    return made


@pytest.fixture
def profiler_calls(monkeypatch):
    """The calls to a fake profiler, in order."""
    found = []

    class Trace:
        def __init__(self, name, step_num, _r):
            self.step = step_num

        def __enter__(self):
            found.append(self.step)

        def __exit__(self, *_):
            found.append(-self.step)

    profiler = tf.profiler.experimental
    monkeypatch.setattr(profiler, "start", lambda folder: found.append("start"))
    monkeypatch.setattr(profiler, "stop", lambda: found.append("stop"))
    monkeypatch.setattr(profiler, "Trace", Trace)
    return found


def fit(model, callback, epochs=2, **options):
    settings = {"steps_per_epoch": 3, "epochs": epochs, "verbose": 0, **options}
    model.fit(BATCHES, validation_data=BATCHES.take(1), callbacks=[callback], **settings)


STEPS = [(1, 1), (2, 3), (3, 4), (1, 6), (6, 6)]


@pytest.mark.parametrize(("first", "last"), some(STEPS, [(3, 4)]))
def test_profiles_exactly_the_given_steps(model, profiler_calls, tmp_path, first, last):
    fit(model, Profile(tmp_path, first, last))
    marks = [mark for step in range(first, last + 1) for mark in (step, -step)]
    assert profiler_calls == ["start", *marks, "stop"]


def test_training_that_ends_inside_the_window_stops_the_profiler(model, profiler_calls, tmp_path):
    fit(model, Profile(tmp_path, 5, 100))
    assert profiler_calls == ["start", 5, -5, 6, -6, "stop"]


@pytest.mark.slow
def test_training_that_continues_inside_the_window_profiles_the_rest(
    model, profiler_calls, tmp_path
):
    fit(model, Profile(tmp_path, 1, 1))
    profiler_calls.clear()
    fit(model, Profile(tmp_path, 2, 8), epochs=1)
    assert profiler_calls == ["start", 7, -7, 8, -8, "stop"]


def test_window_outside_of_the_training_profiles_nothing(model, profiler_calls, tmp_path):
    fit(model, Profile(tmp_path, 7, 9))
    assert profiler_calls == []


@pytest.mark.parametrize(("first", "last"), [(0, 3), (4, 3), (-1, -1)])
def test_steps_out_of_order_are_refused(tmp_path, first, last):
    with pytest.raises(ValueError, match=re.escape(f"profile_steps={(first, last)}")):
        Profile(tmp_path, first, last)


def test_profile_can_be_read_by_the_plugin(model, tmp_path):
    fit(model, Profile(tmp_path, 2, 3), epochs=1)
    (record,) = tmp_path.glob("plugins/profile/*/*.xplane.pb")
    content = record.read_bytes()
    assert content.count(b"step_num") >= 1
    assert b"train" in content
