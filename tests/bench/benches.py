"""Benches with fake runs, whose predictions are known."""

import json
from pathlib import Path

import numpy as np
from fake_engine import FakeEngine

from mtk import predictions
from mtk.bench import BenchFolder, Board, Card, run, submit
from mtk.study import StudyFolder

ROOT = Path(__file__).parents[2]
FOLDERS = [ROOT / "configs"]
RATE = "experiment.Optimization.learning_rate"
# Fractions of the test examples that each entry gets wrong, for both tasks at equal weights.
ERRORS = {"static_weights": 0.3, "pcgrad": 0.3, "mgda": 0.1}


def make_card(**changes):
    given = {
        "name": "small",
        "configs": ["multi_digits.gin"],
        "settings": {
            "experiment.Training.epochs": 1,
            "multi_digits.MultiDigits.partners": 1,
            "multi_digits.MultiDigits.channels": (4, 4),
            "multi_digits.MultiDigits.units": 8,
        },
        "metrics": {"left": "accuracy", "right": "accuracy"},
        "log_uniform": {RATE: (0.01, 1.0)},
        "methods": {"pcgrad": "combiners/pcgrad.gin", "mgda": "combiners/mgda.gin"},
        "configurations": 6,
        "at_a_time": 2,
        "reads": 2,
    }
    return Card(**{**given, **changes})


def labels_of(workload):
    """Returns the labels of the test split as batches, by task."""
    return [{n: np.asarray(y) for n, y in labels.items()}
            for _, labels in workload.test(predictions.BATCH)]  # fmt: skip


def logits(labels, wrong, generator):
    """Returns logits of which a given fraction is wrong."""
    guessed = np.where(generator.random(len(labels)) < wrong, (labels + 1) % 10, labels)
    return 4 * np.eye(10, dtype="float32")[guessed]


class Bench:
    """A bench in a folder, and an engine whose runs write predictions with given error rates."""

    def __init__(self, place, workload, card):
        self.place, self.card = Path(place), card
        self.labels = labels_of(workload)
        self.data = dict(workload.fingerprint())
        self.cost = dict.fromkeys(ERRORS, 1.0)
        self.errors = dict(ERRORS)
        self.engine = FakeEngine(self.outcome)

    @property
    def folder(self):
        return BenchFolder(self.place / "bench", self.card, FOLDERS)

    def run(self, method, **given):
        return run(self.card, method, self.place / "bench", lambda: self.engine, FOLDERS, **given)

    def submission(self, label, name=None):
        if not self.folder.entry(label).list.exists():
            assert self.run(label) == 0
        return submit(self.folder, label, self.place / (name or f"{label}_packed"))

    def board(self, card=None):
        return Board(self.place / "board", card or self.card, FOLDERS)

    def outcome(self, folder, run, number):
        study = StudyFolder(folder)
        listed = json.loads(study.list.read_text())["runs"]
        entry = next(each for each in listed if each["hash"] == run)
        method, seed, point = entry["method"], entry["seed"], entry["bindings"]
        weights = point.get("combiners.StaticWeights.weights", {"left": 0.5, "right": 0.5})
        cost = 0.1 * np.log10(point[RATE] / 0.1) ** 2
        losses = {task: 0.3 + (1 - w) ** 2 + cost for task, w in weights.items()}
        wrong = {t: self.errors[method] + 0.4 * (0.5 - w) + 0.1 * cost for t, w in weights.items()}
        place = study.run_dir(run)
        place.mkdir(parents=True, exist_ok=True)
        predictions.save(place / "test_predictions.npz", self.predicted(wrong, seed, number))
        result = {
            "status": "finished",
            "sealed": True,
            "steps": 4,
            "data": self.data,
            "validation": {"tasks": {task: {"loss": loss} for task, loss in losses.items()}},
        }
        (place / "result.json").write_text(json.dumps(result))
        study.run_log.note(run, "finished", 1.0, self.cost[method])

    def predicted(self, wrong, seed, number=0):
        generator = np.random.default_rng([seed, number, round(1000 * wrong["left"])])
        parts = {
            task: [logits(labels[task], wrong[task], generator) for labels in self.labels]
            for task in wrong
        }
        return predictions.Predictions(1, parts)
