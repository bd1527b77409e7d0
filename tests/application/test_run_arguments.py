import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from application_runs import describe, start
from sklearn.datasets import load_digits

import mtk
from mtk import combiners
from mtk.experiment import peak_memory, step_timing
from mtk.workloads import Workload
from tests.quick import slow


def test_used_run_folder_raises_before_the_workload_is_built(tmp_path):
    (tmp_path / "notes.txt").write_text("precious")

    def workload():
        raise AssertionError("The data must not be loaded.")

    with pytest.raises(ValueError, match="is not empty"):
        start(workload, tmp_path)
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(ValueError, match="contains a finished run"):
        start(workload, tmp_path)
    with pytest.raises(ValueError, match="is not empty"):
        start(workload, tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "precious"


@pytest.mark.parametrize("below", ["run", "deep/run"])
def test_run_folder_below_a_file_raises(tiny, tmp_path, below):
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(
        ValueError, match=r"cannot be created: '.*notes\.txt' is not a writable folder"
    ):
        start(tiny, tmp_path / "notes.txt" / below)


def test_run_folder_that_cannot_be_created_raises_before_the_workload_is_built():
    def workload():
        raise AssertionError("The data must not be loaded.")

    # Even root cannot create a folder there.
    with pytest.raises(ValueError, match=r"'/proc/x' cannot be created: '/proc' .*--run_dir"):
        start(workload, "/proc/x")


@pytest.mark.slow
@pytest.mark.parametrize("static", [True, False])
def test_corrected_command_works_after_a_refused_one(tiny, tmp_path, static):
    combiner = combiners.StaticWeights if static else combiners.PCGrad
    with pytest.raises(ValueError, match="share"):
        start(tiny, tmp_path / "run", combiner=combiner, gradients="share", measure_every=1)
    start(tiny, tmp_path / "run", combiner=combiner, measure_every=1, steps=1)


def test_run_without_folder_raises(tiny):
    with pytest.raises(ValueError, match="--run_dir"):
        start(tiny, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": None}, "either `epochs` or `steps`"),
        ({"epochs": 3}, "either `epochs` or `steps`"),
        ({"steps": 0}, "steps=0"),
        ({"evaluate_every": 0}, "evaluate_every=0"),
        ({"patience": 0}, "patience"),
        ({"log_every": 0}, "log_every=0"),
        ({"keep": 0}, "keep=0"),
        ({"every": -1.0}, "every=-1.0"),
        ({"measure_every": -1}, "^`measure_every` "),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"batch_size": 10_000}, "batch size"),
        ({"gradients": "fast"}, "'fast'"),
        ({"gradients": "share"}, "share"),
        ({"combiner": lambda: combiners.PCGrad(at="nolayer")}, "'nolayer'"),
        slow(({"combiner": lambda: combiners.NashMTL(at="nolayer")}, "'nolayer'")),
        (
            {
                "combiner": lambda: combiners.MGDA(at="representation"),
                "representation": "nolayer",
            },
            "'nolayer'",
        ),
        ({"combiner": lambda: combiners.StaticWeights({"left": 1, "up": 1})}, "'up'"),
        ({"learning_rate": -0.1}, r"learning_rate=-0\.1"),
        ({"learning_rate": 0.0}, "must be a finite number above 0"),
        ({"learning_rate": float("nan")}, "must be a finite number above 0"),
    ],
)
def test_invalid_arguments_raise(tiny, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        start(tiny, tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


def test_network_that_does_not_match_its_tasks_raises_and_leaves_no_folder(tiny, tmp_path):
    def workload():
        data = tiny()
        network = data.network(0)
        outputs = {"left": network.outputs[0], "wrong": network.outputs[1]}
        data.network = lambda seed: keras.Model(network.inputs, outputs)
        return data

    with pytest.raises(ValueError, match=r"(?s)outputs.*left.*right"):
        start(workload, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def text(tiny):
    """The text of a dry run."""
    return describe(tiny, steps=34, monitor="left_accuracy")


def test_dry_run_describes(tiny, text):
    network = tiny().network(0)
    assert f"{network.count_params():,}" in text
    assert "34 (2.125 epochs of 16), 64 examples each" in text
    assert "unrolled, at parameters" in text
    assert "tasks               left, right" in text
    assert "ms with 64 examples (the first, " in text
    head = 8 * 8 + 8 + 8 * 10 + 10  # Dense 8, then Dense 10.
    assert f"head left         {head:,} in 4 variables" in text
    assert "selected by         validation's left_accuracy (best: max)" in text


def test_dry_run_measures_the_memory(text):
    found = re.search(r"memory +peak (.*) (.)iB with 64 .*, (.*) (.)iB before", text)
    most, before = (float(found[i]) * {"M": 1, "G": 1024}[found[i + 1]] for i in (1, 3))
    assert 100 < before <= most < 16 * 1024  # TensorFlow alone uses some hundred MiB.


def test_peak_memory_is_measured_from_its_creation():
    peak = peak_memory.Peak()
    held = np.ones(32 * 2**20)  # 256 MiB
    del held
    most, before = peak.read()
    assert 250 < (most - before) / 2**20 < 280
    most, before = peak_memory.Peak().read()
    assert (most - before) / 2**20 < 50


@pytest.mark.slow
def test_dry_run_times_another_batch_size(tiny):
    text = describe(tiny, timed=16)
    assert "ms with 16 examples" in text
    assert "without evaluations, assuming time proportional to examples" in text


@pytest.mark.parametrize(("room", "size"), [(85_334, 64), (85_333, 32), (6_000, 4)])
def test_dry_run_reduces_the_batch_to_the_free_memory(tiny, monkeypatch, room, size):
    def steps(model, data, plan, size):
        return step_timing.Timed(size, 0.1, 0.1, (5000 + 1000 * size, 5000), "here")

    monkeypatch.setattr(step_timing, "steps", steps)
    monkeypatch.setattr(step_timing, "_free", lambda: room)
    monkeypatch.setattr(step_timing, "_MUCH", 0)
    text = describe(tiny)
    assert f"ms with {size} examples" in text


@pytest.mark.parametrize("size", [0, 100_000])
def test_dry_run_batch_out_of_range_raises(tiny, size):
    with pytest.raises(ValueError, match=f"batch size must lie in .* Received: {size}") as raised:
        describe(tiny, timed=size)
    assert "`Optimization(batch_size=...)` in a program, or --batch_size=..." in str(raised.value)


class Halves(Workload):
    """Parity of a digit; one task sees the upper halves, the other the lower halves."""

    name = "halves"
    num_train = 300

    def __init__(self):
        images, labels = load_digits(return_X_y=True)
        self.images, self.labels = images.astype("float32") / 16, labels % 2
        self.tasks = [
            mtk.Task(name, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            for name in ("upper", "lower")
        ]

    def network(self, seed=None):
        inputs = keras.Input((32,), name="half")
        return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(4, "tanh")(inputs)))

    def shares(self, examples, batch_size):
        images, labels = self.images[examples], self.labels[examples]
        upper, lower = (images[:, :32], labels), (images[:, 32:], labels)
        return tf.data.Dataset.from_tensor_slices({"upper": upper, "lower": lower}).batch(
            batch_size
        )

    def train(self, batch_size, steps, seed, first_step=0):
        return self.shares(slice(0, 300), batch_size).repeat().take(steps)

    def train_evaluation(self, batch_size):
        return self.shares(slice(0, 300), batch_size)

    def validation(self, batch_size):
        return self.shares(slice(300, 400), batch_size)

    def test(self, batch_size):
        return self.shares(slice(400, 500), batch_size)


@pytest.mark.slow
def test_tasks_with_separate_inputs(tmp_path):
    text = describe(Halves)
    assert "per-task gradients  share, at parameters" in text
    result = start(Halves, tmp_path / "run")
    assert set(result["test"]["tasks"]) == {"upper", "lower"}
    serve = tf.saved_model.load(str(tmp_path / "run" / "saved_model")).signatures["serving_default"]
    found = serve(half=Halves().images[:3, :32])
    assert found["output"].shape == (3, 2)


def test_free_memory_respects_the_container_limit(tmp_path):
    assert step_timing._free_in_container(tmp_path) is None
    (tmp_path / "memory.current").write_text("300\n")
    for limit, left in (("max", None), ("1000", 700), ("200", 1)):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        assert step_timing._free_in_container(tmp_path) == left
