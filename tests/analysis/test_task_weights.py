"""Task weights of a run: over time, their mean, and static weights."""

import json

import pytest

from mtk import analysis


def write_log(folder, rows, end=""):
    folder.mkdir(exist_ok=True)
    entries = [
        {"step": step, "split": split, "task": task, "name": name, "value": value}
        for step, split, task, name, value in rows
    ]
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    (folder / "metrics.jsonl").write_text(text + end)
    return folder


def test_means_are_weighted_by_the_steps_of_each_interval(tmp_path):
    rows = [
        (10, "train", "left", "weight", 0.2),
        (10, "train", "right", "weight", 0.8),
        (10, "train", "left", "loss", 9.0),
        (10, "validation", "left", "weight", 9.0),
        (40, "train", "left", "weight", 0.6),
        (40, "train", "right", "weight", 0.4),
    ]
    run = write_log(tmp_path / "run", rows)
    assert analysis.weights_over_time(run).to_dict() == {
        "left": {10: 0.2, 40: 0.6},
        "right": {10: 0.8, 40: 0.4},
    }
    # 10 steps at 0.2 and 30 at 0.6.
    assert analysis.mean_weights(run) == {
        "left": pytest.approx(0.5),
        "right": pytest.approx(0.5),
    }


def test_truncated_lines_and_missing_values_are_skipped(tmp_path):
    rows = [(10, "train", "left", "weight", 0.2), (20, "train", "left", "weight", None)]
    run = write_log(tmp_path / "run", rows, end='{"step": 30, "name": "weight", "spl')
    assert len(analysis.weights_over_time(run)) == 2
    log = run / "metrics.jsonl"
    log.write_text(log.read_text() + "\n" + "[" * 100_000 + '"weight"\n')
    assert analysis.mean_weights(run) == {"left": pytest.approx(0.2)}


@pytest.mark.parametrize(
    ("step", "task", "value"),
    [(20, "left", "abc"), ([1], "left", 0.7), ("a", "left", 0.7), (20, 5, 0.7),
     (10**400, "left", 0.7), (20, "left", 10**400), (20, "left", True)],
)  # fmt: skip
def test_values_of_a_wrong_type_raise(tmp_path, step, task, value):
    rows = [(10, "train", "left", "weight", 0.2), (step, "train", task, "weight", value)]
    run = write_log(tmp_path / "run", rows)
    with pytest.raises(ValueError, match="metrics.jsonl: '(step|task|value)' is .*; expected "):
        analysis.weights_over_time(run)


def test_run_without_weights_raises(tmp_path):
    run = write_log(tmp_path / "run", [(10, "train", "left", "loss", 0.2)])
    with pytest.raises(ValueError, match="recorded no task weights"):
        analysis.mean_weights(run)
    with pytest.raises(FileNotFoundError):
        analysis.mean_weights(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("{'left': 1, 'right': 3}", {"left": 0.25, "right": 0.75}),
        ("[2.0, 2.0]", None),  # The tasks are unknown.
        ("'imagenet'", None),
        ("imagenet", None),
        ("{'left': 'x'}", None),
        (None, None),
        (float("nan"), None),
    ],
)
def test_static_weights_of_old_runs_are_parsed_from_their_combiner(given, expected):
    row = {"combiner": "StaticWeights", "combiners.StaticWeights.weights": given}
    assert analysis.static_weights(row) == expected
    assert analysis.static_weights({**row, "combiner": "PCGrad"}) is None
    assert analysis.static_weights({"combiner": "a", "deeplab.DeepLab.rates": given}) is None


def test_recorded_static_weights_take_precedence():
    recorded = {"left": 0.9, "right": 0.1}
    row = {"task_weights": recorded, "combiners.StaticWeights.weights": "{'left': 1, 'right': 3}"}
    assert analysis.static_weights({**row, "combiner": "StaticWeights"}) == recorded
