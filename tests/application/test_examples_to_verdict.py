"""From runs to a verdict with paired test examples."""

import functools

import pytest
from application_runs import start

from mtk import analysis, combiners
from mtk.analysis.reporting.remarks import remarks
from mtk.workloads.multi_digits import MultiDigits


class Small(MultiDigits):
    def __init__(self):
        super().__init__(partners=1, channels=(4, 4), units=8)


@pytest.mark.slow
def test_verdict_pairs_runs_over_their_test_examples(tmp_path):
    weights = {f"weight {w}": {"left": w, "right": 1 - w} for w in (0.25, 0.5, 0.75)}
    methods = {n: functools.partial(combiners.StaticWeights, w) for n, w in weights.items()}
    for name, combiner in {**methods, "pcgrad": combiners.PCGrad}.items():
        for seed in (0, 1, 2):
            folder = tmp_path / "study" / "runs" / f"{name} {seed}"
            start(Small, folder, combiner=combiner, seed=seed, steps=2, evaluate_every=2)
    (view,) = analysis.views(analysis.load(tmp_path / "study"))
    compared = analysis.comparisons(view)
    assert {each.space for each in compared} == {"loss", "accuracy"}
    for each in compared:
        assert each.measured.seeds == [1, 2]
        assert all(verdict.examples for verdict in each.verdicts.values())
    assert "test examples" not in "\n".join(remarks(view, compared))
