"""The reported speed of a run, and the window of `--profile_steps`, in the train command."""

import argparse
import json
from pathlib import Path

import pytest

from mtk import config, flags, train

CONFIGS = Path(__file__).parents[2] / "configs"
BINDINGS = {
    "multi_digits.MultiDigits.partners": 1,
    "multi_digits.MultiDigits.channels": (4, 4),
    "experiment.Training.epochs": None,
    "experiment.Training.steps": 6,
    "experiment.Training.evaluate_every": 3,
}
TINY = [
    f"--gin_file={CONFIGS / 'multi_digits.gin'}",
    *(f"--gin.{name}={value}" for name, value in BINDINGS.items()),
]


@pytest.fixture(autouse=True)
def _no_configuration():
    yield
    config.parse()


def records(folder):
    return list(folder.glob("tensorboard/plugins/profile/*/*.xplane.pb"))


@pytest.mark.slow
def test_run_with_a_profile_equals_a_run_without(tmp_path, capsys):
    with_profile, without = tmp_path / "with", tmp_path / "without"
    assert train.main([*TINY, f"--run_dir={with_profile}", "--profile_steps=4:5"]) == 0
    printed = capsys.readouterr().out
    assert len(records(with_profile)) == 1

    # The speed is in the manifest and not in the result.
    (session,) = json.loads((with_profile / "manifest.json").read_text())["sessions"]
    speed = session["throughput"]
    assert speed["steps"] == 6
    assert speed["steps_per_second"] > 0
    assert speed["examples_per_second"] == pytest.approx(256 * speed["steps_per_second"], rel=1e-2)
    parts = {name: x for name, x in speed["seconds"].items() if name != "total"}
    assert sum(parts.values()) == pytest.approx(speed["seconds"]["total"], abs=0.01)
    assert min(parts["tracing"], parts["evaluation"], parts["training"]) > 0
    assert f"{speed['examples_per_second']:.0f} examples/s" in printed.splitlines()[-1]
    result = (with_profile / "result.json").read_text()
    assert "second" not in result

    # Nothing else depends on the profiler, and the run is the same without it.
    assert train.main([*TINY, f"--run_dir={without}"]) == 0
    assert records(without) == []
    for name in ("result.json", "metrics.jsonl", "operative_config.gin"):
        assert (without / name).read_bytes() == (with_profile / name).read_bytes()
    assert train.main([*TINY, f"--run_dir={with_profile}"]) == 0
    assert (with_profile / "result.json").read_text() == result


def test_window_beyond_the_run_is_refused_before_it_starts(tmp_path, capsys):
    flags_given = [*TINY, f"--run_dir={tmp_path / 'run'}", "--profile_steps=5:7"]
    assert train.main(flags_given) == 2
    assert "5:7, exceed the 6 steps" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["", "10", "10:", ":20", "20:10", "0:3", "-1:3", "1:2:3", "a:b"])
def test_invalid_windows(text, capsys):
    with pytest.raises(SystemExit) as caught:
        train.main([f"--profile_steps={text}"])
    assert caught.value.code == 2
    assert "such as 10:20" in capsys.readouterr().err
    with pytest.raises(argparse.ArgumentTypeError):
        flags.window(text)


def test_valid_windows():
    assert flags.window("10:20") == (10, 20)
    assert flags.window("1:1") == (1, 1)
