"""Starts `python -m mtk.train` on a small workload, as one process or as two workers."""

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
from pathlib import Path

CONFIGS = Path(__file__).parents[2] / "configs"
# No dropout, because its masks differ between replicas. There are 1,079 pairs for training, and 359
# each for validation and test: the last batch of each split is smaller and has an odd size.
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
    """Returns addresses of free ports below the ephemeral range."""
    found: list[str] = []
    while len(found) < number:
        port = random.SystemRandom().randrange(10_000, 32_000)  # Ephemeral ports begin at 32,768.
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            found += [f"127.0.0.1:{port}"] if f"127.0.0.1:{port}" not in found else []
    return tuple(found)


def environment(worker: int | None, addresses: tuple[str, ...]) -> dict[str, str]:
    """Returns the environment of a process, with TF_CONFIG if it is a worker."""
    variables = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if worker is not None:
        task = {"type": "worker", "index": worker}
        cluster = {"worker": list(addresses)}
        variables["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
    return variables


def train(*flags: str, worker: int | None = None, addresses: tuple[str, ...] = ()):
    """Starts one process; if `worker` is given, as that worker of a cluster at `addresses`."""
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
    """Waits for the process to end; returns its exit status, stdout and stderr."""
    out, errors = process.communicate(timeout=600)
    return process.returncode, out, errors
