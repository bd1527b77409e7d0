"""The comparison of sharing architectures: metrics, verdict, and a whole run."""

import sys

import keras
import numpy as np
import pytest

from mtk import analysis
from tests.docs.pages import DOCS

sys.path.append(str(DOCS / "examples"))
import adult_sharing
import ways_to_share

ROWS = """\
age,type_employer,education,education_num,marital,occupation,race,sex,capital_gain,capital_loss,hr_per_week,country,income
45,Private,9th,5,Married-civ-spouse,Sales,White,Male,0,0,40,United-States,<=50K
28,Private,Bachelors,13,Never-married,Sales,White,Female,9,0,50,France,>50K
33,State-gov,Bachelors,13,Never-married,Tech-support,Black,Male,0,0,20,France,<=50K
"""


def network_and_rows():
    """Returns a network of two tasks, and rows with 20% of the labels of `b` missing."""
    rng = np.random.default_rng(0)
    inputs = keras.Input((3,), name="numbers")
    outputs = {name: keras.layers.Dense(1, name=name)(inputs) for name in ("a", "b")}
    x = rng.normal(size=(320, 3)).astype("float32")
    labels = {name: rng.integers(0, 2, 320).astype("float32") for name in ("a", "b")}
    labels["b"][::5] = np.nan
    return keras.Model({"numbers": inputs}, outputs), ways_to_share.Rows({"numbers": x}, labels)


def test_losses_and_aucs_are_those_of_labelled_examples():
    network, rows = network_and_rows()
    losses, areas = ways_to_share.group_losses(network, rows), ways_to_share.areas(network, rows)
    assert losses.shape == (ways_to_share.GROUPS, 2)
    logits = network.predict(rows.inputs, verbose=0)
    for k, (task, labels) in enumerate(rows.labels.items()):
        known = ~np.isnan(labels)
        y, z = labels[known], logits[task][:, 0][known]
        expected = keras.losses.BinaryCrossentropy(from_logits=True)(y, z)
        np.testing.assert_allclose(losses[:, k].mean(), expected, rtol=1e-5)
        # The probability that a positive has a higher score than a negative.
        above = z[y > 0][:, None] > z[y == 0][None]
        np.testing.assert_allclose(areas[k], above.mean(), rtol=1e-9)


def test_verdict_finds_the_better_network():
    rng = np.random.default_rng(1)
    share = np.array([0.5, 0.1, 0.3, 0.7, 0.9])
    front = np.stack([(1 - share) ** 2, share**2], axis=1)

    def models(points):
        values = points[:, None] + rng.normal(0, 0.005, (len(points), 5, 2))
        return analysis.Models(values)

    found = {
        "shared bottom": models(front),
        "better": models(front[:1] - 0.2),
        "worse": models(front[:1] + 0.2),
    }
    lines = list(ways_to_share.verdicts(found, np.stack([share, 1 - share], axis=1)))
    assert all(("better is better" in line) or ("worse is worse" in line) for line in lines)
    assert len(lines) == 2 * len(analysis.asked(2))


@pytest.mark.slow
def test_comparison_covers_all_networks(tmp_path, monkeypatch, capsys):
    head, *rows = ROWS.splitlines()
    (tmp_path / "adult.csv").write_text("\n".join([head, *rows * 150]))
    options = ["--parameters", "3000", "--seeds", "2", "--epochs", "1"]
    monkeypatch.setattr(ways_to_share, "RATES", (0.01,))
    monkeypatch.setattr(sys, "argv", ["adult_sharing.py", str(tmp_path / "adult.csv"), *options])
    adult_sharing.main()
    printed = capsys.readouterr().out
    for name in ways_to_share.NETWORKS:
        assert f"{name}: " in printed
    assert printed.count("gates of") == len(ways_to_share.NETWORKS) - 1
    assert printed.count("widths of the front") == 2 * (len(ways_to_share.NETWORKS) - 1)
