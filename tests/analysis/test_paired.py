"""The tool that compares models seed by seed, on tables with known results."""

import numpy as np
import paired
import pandas as pd
import pytest


def test_seed_effects_common_to_all_models_are_removed():
    seeds = np.array([1.0, -2.0, 4.0, 0.0, -3.0])
    apart = np.array([0.1, -0.1, 0.2, -0.2, 0.0])
    table = pd.DataFrame([seeds, seeds + 2.0 + apart], index=["equal static weights", "m"])
    found = paired.differences(table).loc["m"]
    assert found["difference"] == pytest.approx(2.0)
    assert found["paired error"] == pytest.approx(apart.std(ddof=1) / 5**0.5)
    unpaired = (seeds.var(ddof=1) + (seeds + apart).var(ddof=1)) / 5
    assert found["unpaired error"] == pytest.approx(unpaired**0.5)


def test_common_share_of_the_variance():
    seeds = np.array([1.0, -2.0, 1.0])
    alike = pd.DataFrame([seeds, seeds + 5.0])
    assert paired.common_share(alike) == pytest.approx(1.0)
    assert paired.common_share(pd.DataFrame([seeds, 5.0 - seeds])) == pytest.approx(0.0)


def test_widths_exclude_dominated_models():
    values = {"a": [0.9, 0.8, 0.7, 0.89], "b": [0.5, 0.6, 0.65, 0.4]}
    runs = pd.DataFrame({f"test/{t}/accuracy": own for t, own in values.items()})
    runs = runs.assign(role="baseline", configuration=list("wxyz"))
    found = paired.widths(runs, "accuracy")
    np.testing.assert_allclose(found["front"], [20.0, 15.0])
    np.testing.assert_allclose(found["front with dominated weightings"], [20.0, 25.0])
