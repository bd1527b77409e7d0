"""Starts `python -m mtk.train` on a small workload, as one process or as two workers."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

CONFIGS = Path(__file__).parents[2] / "configs"
# Dropout masks differ between replicas, so that runs are equal only without. 1,079 training pairs,
# 359 to validate and to test on: neither divides by the batch size, nor their rest by two.
SMALL = [
    f"--gin_file={CONFIGS / 'multi_digits.gin'}",
    f"--gin_file={CONFIGS / 'combiners' / 'cagrad.gin'}",
    "--gin.multi_digits.MultiDigits.partners=1",
    "--gin.multi_digits.MultiDigits.channels=(4, 4)",
    "--gin.multi_digits.MultiDigits.dropout=0.0",
    "--gin.experiment.Optimization.batch_size=64",
    "--gin.experiment.Training.epochs=None",
    "--gin.experiment.Training.steps=20",
    "--gin.experiment.Logging.log_every=1",
    "--gin.evaluate_every=8",
    "--gin.experiment.Checkpoints.every=0.0",
]
SEVERAL = [f"--gin_file={CONFIGS / 'strategies' / 'multi_worker.gin'}"]


def free_addresses(number: int) -> tuple[str, ...]:
    """Addresses of ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        listening = [stack.enter_context(socket.create_server(("", 0))) for _ in range(number)]
        return tuple(f"127.0.0.1:{each.getsockname()[1]}" for each in listening)


def environment(worker: int | None, addresses: tuple[str, ...]) -> dict[str, str]:
    """Returns the environment of a process; with TF_CONFIG, if it is a worker."""
    variables = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if worker is not None:
        task = {"type": "worker", "index": worker}
        cluster = {"worker": list(addresses)}
        variables["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
    return variables


def train(*flags: str, worker: int | None = None, addresses: tuple[str, ...] = ()):
    """Starts one process; as the worker of that number among those at `addresses`, if given."""
    strategy = [] if worker is None else SEVERAL
    return subprocess.Popen(
        [sys.executable, "-m", "mtk.train", *SMALL, *strategy, *flags],
        env=environment(worker, addresses),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def train_two(*flags: str):
    """Starts two workers."""
    addresses = free_addresses(2)
    return [train(*flags, worker=worker, addresses=addresses) for worker in range(2)]


def end_of(process) -> tuple[int, str, str]:
    """Waits for the end: the exit status, and what was written to output and error stream."""
    out, errors = process.communicate(timeout=600)
    return process.returncode, out, errors
