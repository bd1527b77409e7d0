import sys
from pathlib import Path

import pytest

from mtk import config

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "application")]


@pytest.fixture(scope="session")
def tiny():
    """A factory of a very small Multi-digits workload, with dropout and augmentation."""
    from crashes import AugmentedDigits

    return lambda: AugmentedDigits(partners=1, channels=(4, 4), units=8)


@pytest.fixture(scope="session")
def undisturbed(tiny, tmp_path_factory):
    """The folder of a finished run with many checkpoints; for reading only."""
    from application_runs import start

    config.parse()  # Removes the configuration of other tests.
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    start(tiny, folder, every=0.0)
    return folder


@pytest.fixture(autouse=True)
def _no_configuration():
    yield
    config.parse()
