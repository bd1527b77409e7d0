"""Runs on a Ray cluster."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

from mtk import extras
from mtk.study.engines.base import Engine, threads

_POLL = 0.1  # seconds


class Ray(Engine):
    """Runs as Ray tasks; all hosts must see the study folder at the same path.

    Args:
        address: Address of the cluster, `"auto"` for the cluster of this host; None starts one on
            this machine and ends it with the sweep.
        cores: Cores of one run.
        gpus: GPUs of one run.
        slots: Runs submitted at a time; by default as many as fit on the cluster when the engine is
            entered.

    Raises:
        ImportError: If Ray is not installed.
        ValueError: On entering, if no run fits on the cluster.
        ConnectionError: On entering, if there is no cluster at the address.
    """

    def __init__(
        self,
        address: str | None = None,
        cores: int = 1,
        gpus: int = 0,
        slots: int | None = None,
    ):
        try:
            import ray
        except ImportError as error:
            raise ImportError(
                f"Ray is not installed. Install it with: {extras.command('ray')}"
            ) from error
        self._ray = ray
        self._address, self._cores, self._gpus = address, cores, gpus
        self._slots = slots or 1
        self._fits_all = slots is None
        # The sweep itself looks after runs that were lost.
        self._task = ray.remote(num_cpus=cores, num_gpus=gpus, max_retries=0)(_do)
        self._running: dict[Any, str] = {}

    def __enter__(self) -> Self:
        self._ray.init(address=self._address, include_dashboard=False, log_to_driver=False)
        resources = self._ray.cluster_resources()
        fit = int(resources.get("CPU", 0) // self._cores)
        if self._gpus:
            fit = min(fit, int(resources.get("GPU", 0) // self._gpus))
        if fit < 1:
            self._ray.shutdown()
            raise ValueError(
                f"No run fits on the cluster: it has CPU={resources.get('CPU', 0):g} and "
                f"GPU={resources.get('GPU', 0):g}. Received: cores={self._cores}, "
                f"gpus={self._gpus}"
            )
        self._slots = fit if self._fits_all else self._slots
        return self

    @property
    def slots(self) -> int:
        return self._slots

    def start(self, folder: Path, run: str) -> None:
        reference = self._task.remote(str(folder.absolute()), run, self._cores)
        self._running[reference] = run

    def wait(self, seconds: float) -> list[str]:
        if not self._running:
            time.sleep(seconds)
            return []
        ready, _ = self._ray.wait(list(self._running), timeout=seconds)
        return [self._running.pop(reference) for reference in ready]

    def stop(self) -> None:
        for reference in self._running:
            self._ray.cancel(reference)

    def kill(self) -> None:
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._ray.shutdown()


def _do(folder: str, run: str, cores: int) -> int:
    """Does a run in a process of its own: TensorFlow never gives back the memory of a GPU."""
    command = [sys.executable, "-m", "mtk.study.worker", f"--study_dir={folder}", f"--run={run}"]
    process = subprocess.Popen(command, env={**os.environ, **threads(cores)})
    try:
        while process.poll() is None:
            time.sleep(_POLL)  # Ray's interrupt wakes no one: it is raised between two calls.
        return process.returncode
    except BaseException:
        process.terminate()
        return process.wait()
