"""Runs on this machine, each in a process of its own."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from mtk import resources, signals
from mtk.study import worker
from mtk.study.engines.base import Engine, threads
from mtk.study.folder import StudyFolder


class Local(Engine):
    """A pool of processes.

    On a CPU, runs are forked from the sweep, which has imported TensorFlow but computed nothing
    with it, so TensorFlow is imported only once. Each process has its share of the cores, or its
    own GPU.

    Args:
        workers: Runs at a time; by default one for each GPU, or one for each core if there is no
            GPU.
        gpus: Number of GPUs to use; by default all visible ones.
        share_import: Whether runs are forked. By default they are on Linux, if there is no GPU and
            TensorFlow has not computed anything in this process yet.

    Raises:
        ValueError: If a number is not positive, or there are fewer GPUs than asked for.
    """

    def __init__(
        self,
        workers: int | None = None,
        gpus: int | None = None,
        share_import: bool | None = None,
    ):
        visible = _visible_gpus()
        self.gpus = visible if gpus is None else visible[:gpus]
        if gpus is not None and len(self.gpus) < gpus:
            raise ValueError(f"{gpus} GPUs were requested, but {len(visible)} are visible.")
        self.workers = workers or len(self.gpus) or resources.cpu_count()
        if self.workers < 1 or (self.gpus and self.workers > len(self.gpus)):
            raise ValueError(
                "`workers` must be at least 1, and at most the number of GPUs, since each run "
                f"needs its own GPU. Received: workers={workers} with {len(self.gpus)} GPUs."
            )
        self.share_import = share_import
        self._free = list(range(self.workers))
        self._running: dict[str, tuple[BaseProcess, int]] = {}

    @property
    def slots(self) -> int:
        return self.workers

    def start(self, folder: Path, run: str) -> None:
        slot = self._free.pop(0)
        context = multiprocessing.get_context("fork" if self.forks else "spawn")
        arguments = (folder, run, self._environment(slot), os.getpid())
        process = context.Process(target=_begin, args=arguments)  # type: ignore[attr-defined]
        # A signal that comes before the new process has its own handlers must not be lost.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signals.STOPPING)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        self._running[run] = (process, slot)

    def wait(self, seconds: float) -> list[str]:
        sentinels = [process.sentinel for process, _ in self._running.values()]
        connection.wait(sentinels, seconds)
        stopped = [run for run, (p, _) in self._running.items() if p.exitcode is not None]
        for run in stopped:
            process, slot = self._running.pop(run)
            process.close()
            self._free.append(slot)
        return stopped

    def stop(self) -> None:
        for process, _ in self._running.values():
            process.terminate()

    def kill(self) -> None:
        for process, _ in self._running.values():
            process.kill()
            process.join()

    @property
    def forks(self) -> bool:
        """Whether runs are forked off this process, and so know what it knows."""
        if self.share_import is not None:
            return self.share_import
        return not self.gpus and may_fork()

    def _environment(self, slot: int) -> dict[str, str]:
        environment = {}
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[slot]
        if self.workers > 1:
            environment |= threads(resources.cpu_count() // self.workers)
        return environment


def _begin(folder: Path, run: str, environment: dict[str, str], parent: int) -> None:
    os.environ.update(environment)
    log = StudyFolder(folder).log(run)
    # A process that was forked ends without `atexit`, where TensorFlow removes what it generates.
    with tempfile.TemporaryDirectory(prefix="mtk-", ignore_cleanup_errors=True) as tempfile.tempdir:
        sys.exit(worker.detached(lambda: worker.work(folder, run), log, parent))


def _visible_gpus() -> list[str]:
    """Returns the names by which CUDA knows the GPUs that this process may use."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    query = shutil.which("nvidia-smi")
    if query is None:
        return []
    asked = [query, "--query-gpu=index", "--format=csv,noheader"]
    return subprocess.run(asked, capture_output=True, text=True).stdout.split()


def may_fork() -> bool:
    """Whether this process can be forked: TensorFlow's threads, if they run, do not survive it."""
    if sys.platform != "linux" or "tensorflow" not in sys.modules:
        return sys.platform == "linux"
    from tensorflow.python.eager import context

    current = context.context_safe()
    return current is None or current._context_handle is None
