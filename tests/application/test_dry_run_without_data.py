"""Dry runs of configurations whose data are missing."""

import re
from pathlib import Path

import numpy as np
import pytest

from mtk import config, train
from mtk.data import synthetic
from mtk.data.celeba import open_arrays
from mtk.data.cityscapes import load_cityscapes
from mtk.data.mnist import load_mnist
from mtk.data.translation.opening import open_corpus

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = {
    "multi_mnist": [],
    "translation_multi30k": ["translation.Translation.window = 2"],
    "celeba": ["celeba.CelebA.widths = (2, 2, 2, 2)", "experiment.Optimization.batch_size = 2"],
    "cityscapes": [
        "cityscapes.CityScapes.size = (32, 64)",
        "experiment.Optimization.batch_size = 2",
    ],
    "translation_fr_de": ["translation.Translation.width = 8"],
}


@pytest.fixture(autouse=True)
def _no_configuration():
    yield
    config.parse()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [n if n == "multi_mnist" else pytest.param(n, marks=pytest.mark.slow) for n in SMALL],
)
def test_dry_run_times_steps_on_synthetic_batches_and_says_so(name, capsys):
    bindings = [f"--gin_bindings={each}" for each in SMALL[name]]
    command = [f"--gin_file={CONFIGS / name}.gin", "--dry_run", "--dry_run_batch=2", *bindings]
    assert train.main(command) == 0
    said = capsys.readouterr().out
    assert "SYNTHETIC DATA" in said
    assert "(not given)" in said
    assert re.search(r"peak .* with 2 examples per step", said)


LOADERS = {
    "celeba": (open_arrays, lambda d: d["train"].images.shape == (162_770, 64, 64, 3)),
    "mnist": (load_mnist, lambda d: d.train.images.shape == (60_000, 28, 28)),
    "cityscapes": (load_cityscapes, lambda d: d.val.images.shape == (500, 128, 256, 3)),
    "corpus": (open_corpus, lambda d: len(d.vocabulary) == 64_000),
}


@pytest.mark.parametrize("name", LOADERS)
def test_synthetic_data_are_used_only_in_dry_runs(name, tmp_path):
    load, is_right = LOADERS[name]
    with pytest.raises(ValueError, match="none"):
        load(str(tmp_path / "none"))
    with synthetic.where_missing():
        assert is_right(load(str(tmp_path / "none")))
        assert ["none" in text for text in synthetic.missing()] == [True]
    assert synthetic.missing() == []
    with pytest.raises(ValueError, match="none"):
        load(str(tmp_path / "none"))


def test_damaged_data_raise_in_dry_runs(tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    with synthetic.where_missing():
        for load in (open_arrays, open_corpus):
            with pytest.raises(ValueError, match="damaged"):
                load(str(tmp_path))
    assert synthetic.missing() == []


def test_required_values():
    assert config.required([CONFIGS / "celeba.gin"]) == ["data_dir"]
    assert config.required([CONFIGS / "celeba.gin"], ["data_dir = 'x'"]) == []
    with pytest.raises(config.ConfigError, match="data_dir"):
        config.parse([CONFIGS / "celeba.gin"])


def test_repeated_examples_use_the_memory_of_one():
    many = synthetic.repeated(np.arange(6.0).reshape(2, 3), 1 << 40)
    assert many.shape == (1 << 40, 2, 3)
    assert synthetic.is_repeated(many)
    for other in (np.zeros((5, 2)), np.zeros(()), many[:1]):
        assert not synthetic.is_repeated(other)
