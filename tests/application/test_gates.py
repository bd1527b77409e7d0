"""Gate weights of experts in the event files."""

import math
from pathlib import Path

import keras
import numpy as np
import pytest
from application_runs import fit

import mtk
from mtk import callbacks, config, train
from mtk.models import sharing

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def mmoe_model():
    """A compiled mixture-of-experts model for `batches`."""
    inputs = keras.Input((64,))
    features = sharing.MMoE(["odd", "large"], 4, keras.layers.Dense(8), name="mmoe")(inputs)
    outputs = {name: keras.layers.Dense(2)(x) for name, x in features.items()}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    tasks = [mtk.Task(name, loss) for name in outputs]
    made = mtk.MultiTaskModel(keras.Model(inputs, outputs), tasks)
    made.compile(keras.optimizers.SGD(0.1))
    return made


def test_gates_are_written_at_every_evaluation(mmoe_model, batches, tmp_path, read_events):
    board = callbacks.TaskBoard(tmp_path, measure_every=0)
    seen = [x for x, _ in batches]
    fit(mmoe_model, batches, board, callbacks.Gates(board, lambda: seen))
    events = read_events(tmp_path / "validation")
    last = {e: events[f"gate_{e}/odd"][-1][1] for e in range(4)}
    assert [step for step, _ in events["gate_0/odd"]] == [10, 20]
    gate = mmoe_model.network.get_layer("mmoe").gates["odd"]
    gates = np.mean(gate(np.concatenate(seen)), axis=0)
    np.testing.assert_allclose(list(last.values()), gates, atol=1e-5)


def test_network_without_experts_writes_no_gates(model, batches, tmp_path, read_events):
    board = callbacks.TaskBoard(tmp_path, measure_every=0)
    fit(model, batches, board, callbacks.Gates(board, lambda: pytest.fail("It is run.")))
    assert not any("gate" in tag for tag in read_events(tmp_path / "validation"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mmoe", "ple", "shared_bottom"])
def test_run_of_a_config_writes_gates(name, tmp_path, read_events):
    overlay = CONFIGS / "architectures" / f"{name}.gin"
    flags = [
        f"--gin_file={CONFIGS / 'multi_digits.gin'}",
        *([f"--gin_file={overlay}"] if overlay.exists() else []),
        "--gin.multi_digits.MultiDigits.partners=1",
        "--gin.multi_digits.MultiDigits.channels=(4, 4)",
        "--gin.evaluate_every=2",
        "--gin.experiment.Training.epochs=None",
        "--gin.experiment.Training.steps=4",
        f"--run_dir={tmp_path / 'run'}",
    ]
    try:
        assert train.main(flags) == 0
    finally:
        config.parse()
    events = read_events(tmp_path / "run" / "tensorboard" / "validation")
    gates = {"mmoe": ["gate_", 4], "ple": ["level_2_gate_", 3], "shared_bottom": ["gate_", 0]}
    start, number = gates[name]
    for task in ("left", "right"):
        found = [events[f"{start}{e}/{task}"] for e in range(number)]
        assert all([step for step, _ in curve] == [2, 4] for curve in found)
        assert not found or math.isclose(sum(c[-1][1] for c in found), 1, abs_tol=1e-5)
    assert number or not any("gate" in tag for tag in events)
