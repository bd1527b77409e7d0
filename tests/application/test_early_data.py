"""Missing data raise an error before TensorFlow is imported."""

from pathlib import Path

import pytest

from mtk import config, sweep, train

CONFIGS = Path(__file__).parents[2] / "configs"
GIVEN = {"celeba": "data_dir", "cityscapes": "data_dir", "multi_mnist": "data_dir"}
GIVEN |= dict.fromkeys(("translation_multi30k", "translation_fr_de"), "folder")


@pytest.fixture(autouse=True)
def _no_tensorflow(monkeypatch):
    def started():
        raise AssertionError("TensorFlow was started")

    for command in (sweep, train):
        monkeypatch.setattr(command.tf_logging, "start_tensorflow", started)


@pytest.mark.parametrize("name", GIVEN)
def test_train_error_names_the_missing_folder(name, tmp_path, capsys):
    missing = tmp_path / "none"
    flags = [f"--gin_file={CONFIGS / name}.gin", f"--gin.{GIVEN[name]}={str(missing)!r}"]
    assert train.main([*flags, f"--run_dir={tmp_path / 'run'}"]) == 2
    said = capsys.readouterr().err
    assert str(missing) in said
    assert "command line, line 1" in said
    with pytest.raises(AssertionError, match="TensorFlow was started"):
        train.main([*flags, "--dry_run"])
    assert list(tmp_path.iterdir()) == []


def test_sweep_error_names_the_missing_folder(tmp_path, capsys):
    study = f"--gin_file={CONFIGS / 'studies' / 'multi_mnist.gin'}"
    data = f"--gin.data_dir={str(tmp_path / 'none')!r}"
    assert sweep.main([study, data, f"--study_dir={tmp_path / 'study'}"]) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err
    with pytest.raises(AssertionError, match="TensorFlow was started"):
        sweep.main([study, data, "--dry_run"])
    assert list(tmp_path.iterdir()) == []


def test_values_that_are_not_paths_are_ignored(tmp_path):
    (tmp_path / "there").mkdir()
    for value in (str(tmp_path / "there"), None):
        config.check_names(
            [CONFIGS / "multi_mnist.gin"], [f"data_dir = {value!r}"], needs_data=True
        )
    with pytest.raises(config.ConfigError, match="'data_dir'"):
        config.check_names([CONFIGS / "multi_mnist.gin"], ["data_dir = 'none'"], needs_data=True)
    config.check_names([CONFIGS / "multi_mnist.gin"], ["data_dir = 'none'"])
