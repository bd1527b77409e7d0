"""Configs of the package are found by name from any directory."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from mtk import config, train

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.gin"))


@pytest.mark.parametrize("prefix", ["", "configs/"])
def test_every_config_is_found_from_any_directory(tmp_path, monkeypatch, prefix):
    monkeypatch.chdir(tmp_path)
    for name in SHIPPED:
        assert config.find(f"{prefix}{name}").read_bytes() == (ROOT / "configs" / name).read_bytes()


def test_local_file_takes_precedence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("base.gin").write_text("seed = 7\n")
    Path("mine.gin").write_text("include 'base.gin'\n")
    assert config.find("base.gin") == Path("base.gin")
    lines = [line.text for line in config.read_names(["mine.gin"]).lines]
    assert "seed = 7" in lines
    Path("sub").mkdir()
    Path("sub/mine.gin").write_text("include 'multi_digits.gin'\n")
    lines = [line.text for line in config.read_names(["sub/mine.gin"]).lines]
    assert "experiment.run.workload = @multi_digits.MultiDigits" in lines


@pytest.mark.parametrize("name", ["nothing.gin", "../setup.cfg", "train.py", "/base.gin", "base"])
def test_other_files_of_the_package_are_not_configs(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert config.find(name) == Path(name)


def test_misspelled_name_gives_a_suggestion(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train.main(["--gin_file=multi_digit.gin", "--run_dir=run"]) == 2
    assert "'multi_digits.gin'" in capsys.readouterr().err


@pytest.mark.slow
def test_wheel_contains_the_configs(tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    source = tmp_path / "source"  # A build writes files beside its sources.
    for name in ("mtk", "configs"):
        shutil.copytree(ROOT / name, source / name, symlinks=True)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(source)]
    subprocess.run([*pip, *build], check=True, cwd=tmp_path)
    shutil.rmtree(source)
    # Dependencies come from this environment; mtk itself comes from the wheel.
    venv.create(tmp_path / "venv", with_pip=False)
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (wheel,) = tmp_path.glob("mtk-*.whl")
    subprocess.run([*pip, "install", "--no-deps", f"--target={site}", str(wheel)], check=True)
    paths = [path for path in sys.path if path.endswith("site-packages")]
    (site / "others.pth").write_text("\n".join(paths) + "\n")
    shipped = sorted(path.relative_to(site) for path in (site / "mtk" / "configs").rglob("*.gin"))
    assert shipped == [Path("mtk") / "configs" / name for name in SHIPPED]
    command = [str(tmp_path / "venv" / "bin" / "python"), "-m", "mtk.train", "--dry_run"]
    command += ["--gin_file=multi_digits.gin", "--gin_file=combiners/pcgrad.gin"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "combiner            PCGrad" in done.stdout
