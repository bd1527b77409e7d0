"""A run with a sealed test split: it saves test predictions, and writes no test metric."""

import json

import numpy as np
import pytest

from mtk import evaluate, experiment, predictions, report
from mtk.experiment import results
from mtk.workloads import MultiDigits


def tiny():
    return MultiDigits(partners=1, channels=(4, 4), units=8)


class Withheld(MultiDigits):
    """A workload whose test labels are unknown."""

    def test(self, batch_size):
        return super().test(batch_size).map(lambda x, y: (x, {n: y[n] * 0 - 1 for n in y}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sealed") / "study" / "runs" / "one"
    training = experiment.Training(steps=6, test="sealed")
    optimization = experiment.Optimization(batch_size=64)
    make = lambda: Withheld(partners=1, channels=(4, 4), units=8)  # noqa: E731
    result = experiment.run(make, path, training, optimization=optimization)
    assert "Validation (the test split is sealed)" in results.summary(result, "x")
    return path


def test_no_test_metric_is_written(folder):
    result = json.loads((folder / "result.json").read_text())
    assert result["sealed"] is True
    assert "test" not in result
    assert not (folder / "test_examples.npz").exists()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {line["split"] for line in lines} == {"train", "train_final", "validation"}
    events = b"".join(p.read_bytes() for p in folder.rglob("*tfevents*"))
    assert b"test/left" not in events


def test_predictions_equal_those_of_the_exported_network(folder):
    import keras

    network = keras.models.load_model(folder / "model.keras")
    with (folder / "test_predictions.npz").open("rb") as file:
        found = predictions.read(file)
    for number, (x, _) in enumerate(tiny().test(predictions.BATCH)):
        expected = network(x, training=False)
        for name in ("left", "right"):
            np.testing.assert_allclose(found.parts[name][number], expected[name], atol=1e-4)
    assert len(found.parts["left"]) == number + 1


def test_report_shows_only_validation_and_says_so(folder, tmp_path):
    study = folder.parents[1]
    assert report.main([f"--study_dir={study}", f"--out={tmp_path / 'report'}"]) == 0
    page = (tmp_path / "report" / "index.html").read_text().replace("<wbr>", "")
    assert "The test split of these runs is sealed" in page
    assert "validation/left/accuracy" in page
    assert "test/left" not in page
    tables = "".join(path.read_text() for path in (tmp_path / "report" / "tables").iterdir())
    assert "test/left" not in tables


def test_evaluate_refuses_a_sealed_run(folder, capsys):
    (folder / "config.gin").write_text("")
    assert evaluate.main([f"--saved_model={folder}"]) == 2
    assert "is sealed" in capsys.readouterr().err


def test_invalid_value_of_test_raises():
    with pytest.raises(ValueError, match=r"`test` must be one of \('open', 'sealed'\)"):
        experiment.Training(steps=1, test="closed")
