"""Engines for clusters, as far as they can be tested on one machine."""

import json
import signal
import subprocess
import sys
import types

import pytest
import study_fault_injection

from mtk.study import StudyFolder
from mtk.study.engines import Ray, Slurm

CASES = {
    "ray": ["--gin.engines.Ray.slots=2"],
    "slurm": ["--gin.engines.Slurm.cluster='local'", "--gin.engines.Slurm.slots=2"],
}


def command(engine, study, folder):
    return [
        *(sys.executable, "-m", "mtk.sweep", f"--gin_file={study}"),
        *(
            f"--gin_file={study_fault_injection.ROOT / 'configs' / 'engines' / engine}.gin",
            *CASES[engine],
        ),
        f"--study_dir={folder}",
    ]


@pytest.mark.parametrize(
    ("engine", "module", "extra"), [(Ray, "ray", "[ray]"), (Slurm, "submitit", "[slurm]")]
)
def test_missing_package_raises(monkeypatch, engine, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match="pip install") as caught:
        engine()
    assert extra in str(caught.value)


def test_missing_slurm_raises(monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", types.ModuleType("submitit"))
    monkeypatch.setenv("PATH", "")
    with (
        pytest.raises(
            ValueError, match=r"this host has no srun.*engines\.Slurm\.cluster = 'local'"
        ),
        Slurm(),
    ):
        pass
    with Slurm(cluster="local"):
        pass


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "module"), [("ray", "ray"), ("slurm", "submitit")])
def test_engine_stops_continues_and_executes_every_run_once(engine, module, tmp_path):
    pytest.importorskip(module)
    study, folder = study_fault_injection.write(tmp_path / "s.gin", 40, (0.1,)), tmp_path / "study"
    asked = command(engine, study, folder)
    sweep = subprocess.Popen(
        asked, cwd=study_fault_injection.ROOT, stderr=subprocess.PIPE, text=True
    )
    made = StudyFolder(folder)
    while sweep.poll() is None and not list(folder.glob("runs/*/checkpoints/0*")):
        pass
    sweep.send_signal(signal.SIGTERM)
    _, said = sweep.communicate()
    assert sweep.returncode == 75, said
    assert "Stopped" in said
    done = subprocess.run(asked, cwd=study_fault_injection.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    runs = [entry["hash"] for entry in json.loads(made.list.read_text())["runs"]]
    events = [entry for entry in made.run_log.entries() if entry["event"] == "finished"]
    assert sorted(entry["run"] for entry in events) == sorted(runs)
    manifests = [json.loads((made.run_dir(run) / "manifest.json").read_text()) for run in runs]
    later = [session for manifest in manifests for session in manifest["sessions"][1:]]
    assert any(session["first_step"] > 0 for session in later)
    assert all((made.run_dir(run) / "saved_model").exists() for run in runs)
