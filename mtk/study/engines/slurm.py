"""Runs as jobs of Slurm."""

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any, Self

from mtk import extras
from mtk.study import worker
from mtk.study.engines.base import Engine, threads
from mtk.study.folder import StudyFolder

_POLL = 1.0  # seconds


class Slurm(Engine):
    """Runs as Slurm jobs, using submitit; all nodes must see the study folder at the same path.

    A job that reaches its time limit, or is preempted, writes a checkpoint; the sweep then submits
    the run again, and it resumes.

    Args:
        slots: Jobs submitted at a time.
        minutes: Time limit of a job.
        cores: Cores of a job.
        gpus: GPUs of a job.
        memory_gb: Memory of a job in GB.
        partition: Slurm partition; None uses the default of the cluster.
        cluster: `"slurm"`, or `"local"` for processes on this machine, to test a study.

    Raises:
        ImportError: If submitit is not installed.
        ValueError: On entering, if this host cannot submit jobs.
    """

    def __init__(
        self,
        slots: int = 16,
        minutes: int = 60,
        cores: int = 4,
        gpus: int = 0,
        memory_gb: int = 8,
        partition: str | None = None,
        cluster: str = "slurm",
    ):
        try:
            import submitit
        except ImportError as error:
            raise ImportError(
                f"submitit is not installed. Install it with: {extras.command('slurm')}"
            ) from error
        self._submitit = submitit
        self._slots = slots
        self._cluster = cluster
        self._settings: dict[str, Any] = {
            "timeout_min": minutes,
            "cpus_per_task": cores,
            "gpus_per_node": gpus,
            "mem_gb": memory_gb,
        }
        if partition is not None:
            self._settings["slurm_partition"] = partition
        self._running: dict[str, Any] = {}

    def __enter__(self) -> Self:
        if self._cluster == "slurm" and shutil.which("srun") is None:
            raise ValueError(
                "The Slurm engine was requested, but this host has no srun. Start the sweep on "
                "a host that can submit jobs, or test the study here with engines.Slurm.cluster = "
                "'local'."
            )
        return self

    @property
    def slots(self) -> int:
        return self._slots

    def start(self, folder: Path, run: str) -> None:
        executor = self._submitit.AutoExecutor(folder / "slurm", cluster=self._cluster)
        executor.update_parameters(name=f"mtk-{run}", **self._settings)
        self._running[run] = executor.submit(
            _do, str(folder.absolute()), run, self._settings["cpus_per_task"]
        )

    def wait(self, seconds: float) -> list[str]:
        end = time.monotonic() + seconds
        while True:
            done = [run for run, job in self._running.items() if job.done()]
            if done or time.monotonic() >= end:
                for run in done:
                    del self._running[run]
                return done
            time.sleep(min(_POLL, seconds))

    def stop(self) -> None:
        self.kill()  # Slurm sends SIGTERM first, and runs save themselves then.

    def kill(self) -> None:
        for job in self._running.values():
            job.cancel()


def _do(folder: str, run: str, cores: int) -> int:
    """Does a run in this job's process, which is its own."""
    os.environ.update(threads(cores))
    # What announces the time limit is to the run what asks it to stop.
    signal.signal(signal.SIGUSR2, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    with StudyFolder(folder).log(run).open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 2)
    return worker.work(folder, run)
