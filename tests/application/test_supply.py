"""A workload that returns fewer batches than requested raises, and there is no result."""

import itertools
import json
from types import SimpleNamespace

import pytest
from application_runs import describe, read_metrics, start

from mtk.experiment.building import Built
from mtk.experiment.supply import ExhaustedDataError
from mtk.workloads import MultiDigits
from tests.quick import slow, some


class ShortSupply(MultiDigits):
    """The smallest Multi-digits, whose splits may be changed.

    `known` says whether the cardinality of the data sets is known.
    """

    number = 5
    known = False
    changed = ""
    change = staticmethod(lambda batches: batches.take(0))

    def __init__(self):
        super().__init__(partners=1, channels=(4, 4), units=8)

    def sized(self, batches):
        return batches if self.known else batches.filter(lambda *batch: True)

    def train(self, batch_size, steps, seed, first_step=0):
        batches = super().train(batch_size, steps, seed, first_step)
        return self.sized(batches.take(max(0, self.number - first_step)))

    def _split(self, name, batches):
        return self.sized(self.change(batches)) if name == self.changed else batches

    def train_evaluation(self, batch_size):
        return self._split("train_evaluation", super().train_evaluation(batch_size))

    def validation(self, batch_size):
        return self._split("validation", super().validation(batch_size))

    def test(self, batch_size):
        return self._split("test", super().test(batch_size))


def short_supply(monkeypatch, **attributes):
    for name, value in attributes.items():
        monkeypatch.setattr(ShortSupply, name, value)
    return ShortSupply


# The run has 10 steps and evaluates every 4 steps.
FEWER = list(itertools.product([0, 1, 3, 4, 5, 8, 9], [True, False]))
QUICK = [(9, False)]


@pytest.mark.parametrize(("number", "known"), some(FEWER, QUICK))
def test_too_few_batches_raise(tmp_path, monkeypatch, number, known):
    workload = short_supply(monkeypatch, number=number, known=known)
    message = rf"10 batches were requested, for the run's 10 steps, but .*{number}\..*repeat\(\)"
    with pytest.raises(ExhaustedDataError, match=message):
        start(workload, tmp_path / "run", every=0.0)
    assert not (tmp_path / "run" / "result.json").exists()
    assert (tmp_path / "run").exists() != known
    if not known and number >= 4:
        assert {x["step"] for x in read_metrics(tmp_path / "run")} == {4, 8} & {*range(number + 1)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "known"), [(10, False), (12, True), slow((10, True)), slow((12, False))]
)
def test_enough_batches_finish(tmp_path, monkeypatch, number, known):
    workload = short_supply(monkeypatch, number=number, known=known)
    assert start(workload, tmp_path / "run")["status"] == "finished"


@pytest.mark.slow
def test_run_continues_when_there_are_more_batches(tmp_path, monkeypatch):
    start(short_supply(monkeypatch, number=10), tmp_path / "whole", every=0.0)
    for number, came in ((6, 6), (6, 0), (7, 1), (8, 0)):
        workload = short_supply(monkeypatch, number=number)
        with pytest.raises(ExhaustedDataError, match=f"and {came} came"):
            start(workload, tmp_path / "run", every=0.0)
        assert not (tmp_path / "run" / "result.json").exists()
    start(short_supply(monkeypatch, number=10), tmp_path / "run", every=0.0)
    one, other = (tmp_path / name for name in ("run", "whole"))
    assert (one / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()
    results = [json.loads((folder / "result.json").read_text()) for folder in (one, other)]
    assert results[0] == results[1]


@pytest.mark.slow
def test_error_of_a_resumed_run_names_its_first_step(tmp_path, monkeypatch):
    for _ in range(2):
        with pytest.raises(ExhaustedDataError) as caught:
            start(short_supply(monkeypatch, number=9), tmp_path / "run", every=0.0)
    assert "1 batch was requested from step 9" in str(caught.value)


@pytest.mark.slow
def test_early_stopped_run_needs_no_more_batches(tmp_path, monkeypatch):
    workload = short_supply(monkeypatch, number=8)
    result = start(workload, tmp_path / "run", learning_rate=1e-30, patience=1, steps=40)
    assert (result["status"], result["steps"]) == ("finished", 8)


SPLITS = ["validation", "test", "train_evaluation"]
EMPTY = list(itertools.product(SPLITS, [True, False], [True, False]))


@pytest.mark.parametrize(("split", "known", "dry_run"), some(EMPTY, EMPTY[::3]))
def test_empty_split_raises(tmp_path, monkeypatch, split, known, dry_run):
    workload = short_supply(monkeypatch, number=10, known=known, changed=split)
    with pytest.raises(ExhaustedDataError, match=rf"`{split}\(64\)` of .* returns no batch"):
        describe(workload) if dry_run else start(workload, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("split", SPLITS)
def test_infinite_split_raises(tmp_path, monkeypatch, split):
    endless = staticmethod(lambda batches: batches.repeat())
    workload = short_supply(monkeypatch, number=10, known=True, changed=split, change=endless)
    with pytest.raises(ExhaustedDataError, match=f"`{split}` of .* never ends"):
        start(workload, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", some([0, 1, 6], [1]))
def test_too_few_batches_raise_in_a_dry_run(monkeypatch, number):
    with pytest.raises(ExhaustedDataError, match=f"{number} came"):
        describe(short_supply(monkeypatch, number=number))


def test_checked_pipeline_is_reused_for_training():
    """Building an input pipeline takes as long as many steps."""
    asked = []
    data = SimpleNamespace(train=lambda *given: asked.append(given) or object())
    plan = SimpleNamespace(batch_size=4, steps=9, seed=3)
    built = Built(data, None, plan, None, None)
    assert built.batches() is built.batches(0)
    assert built.batches(5) is not built.batches()
    assert asked == [(4, 9, 3, 0), (4, 9, 3, 5)]
