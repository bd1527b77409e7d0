import sys
from pathlib import Path

import pytest

from mtk import config
from mtk.study import Study, Sweep

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))


@pytest.fixture(autouse=True)
def _no_configuration():
    yield
    config.parse()


@pytest.fixture
def make_study():
    """Returns a factory of a small study: two methods at two learning rates."""

    def make(**changes):
        given = {
            "name": "small",
            "configs": ["multi_digits.gin"],
            "methods": {
                "static_weights": "combiners/static_weights.gin",
                "gradnorm": "combiners/gradnorm.gin",
            },
            "grid": {"experiment.Optimization.learning_rate": [0.1, 0.3]},
            "baseline": "static_weights",
            "fresh_seeds": 0,
        }
        return Study(**{**given, **changes})

    return make


@pytest.fixture
def make_sweep(make_study, tmp_path):
    """Returns a factory of a sweep of that study; its folder is `tmp_path / "study"`."""

    def make(retry_failed=False, only=(), **changes):
        folders = [ROOT / "configs"]
        return Sweep(make_study(**changes), tmp_path / "study", folders, retry_failed, only)

    return make
