"""Kills a training repeatedly, and compares its result with that of an undisturbed training.

  python tools/fault_injection.py --kills 30

More than a third of the kills happen while a checkpoint is written, a few at the end of the run,
and the others anywhere. Exit code: 0 if every run has the same result, 1 otherwise.
"""

import argparse
import contextlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import compare_runs

from mtk import tf_logging

ROOT = Path(__file__).parents[1]
STEPS = 150
# A checkpoint after each step makes for many writes to fall into.
TRAIN = [
    *(sys.executable, "-m", "mtk.train"),
    f"--gin_file={ROOT / 'configs' / 'multi_digits.gin'}",
    f"--gin_file={ROOT / 'configs' / 'combiners' / 'pcgrad.gin'}",
    "--gin.multi_digits.MultiDigits.partners=1",
    "--gin.multi_digits.MultiDigits.channels=(4, 4)",
    "--gin.experiment.Training.epochs=None",
    "--gin.experiment.Optimization.batch_size=64",
    "--gin.experiment.Logging.log_every=5",
    "--gin.evaluate_every=7",
    "--gin.experiment.Checkpoints.every=0",
]
WRITE, FINISHED = "in a write", "finished before"


def command(run_dir: Path, steps: int = STEPS) -> list[str]:
    """Returns the command of the small training."""
    return [*TRAIN, f"--gin.experiment.Training.steps={steps}", f"--run_dir={run_dir}"]


class Victim:
    """A training in a process of its own, to be killed.

    Args:
        run_dir: Its run folder.
        steps: Of the training.
    """

    def __init__(self, run_dir: Path, steps: int = STEPS):
        self.checkpoints = run_dir / "checkpoints"
        self.before = set(self._names())
        self.process = subprocess.Popen(
            command(run_dir, steps), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def wait_for(self, start: str, number: int = 1) -> None:
        """Waits for the `number`-th new name in the folder of checkpoints that begins so."""
        seen: set[str] = set()

        def found() -> bool:
            seen.update(name for name in self._names() if name.startswith(start))
            return len(seen - self.before) >= number

        self.wait_until(found)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Waits for a condition, or for the end of the training."""
        while self.process.poll() is None and not condition():
            time.sleep(0.0002)

    def end(self, number: signal.Signals = signal.SIGKILL) -> tuple[int, bool]:
        """Sends a signal; returns the exit code, and whether a write was cut off."""
        self.process.send_signal(number)
        _, error = self.process.communicate()
        code = self.process.returncode
        if code not in (0, 75, -number):
            raise RuntimeError(f"The training failed with {code}:\n{error}")
        return code, any(name.startswith("unfinished.0") for name in self._names())

    def _names(self) -> list[str]:
        """Returns the names of the checkpoints; those that are being written have a folder each."""
        names = []
        for path in self.checkpoints.glob("*"):
            if path.name.startswith("unfinished."):
                with contextlib.suppress(OSError):  # It is complete.
                    names += [f"unfinished.{inner.name}" for inner in path.iterdir()]
            else:
                names.append(path.name)
        return names


def kill_once(run_dir: Path, moment: str, draw: random.Random) -> str:
    """Starts the training and kills it; returns where that was, or that it ended before."""
    victim = Victim(run_dir)
    if moment == "start":
        time.sleep(draw.uniform(0, 6))
    elif moment == "end":
        victim.wait_until(lambda: any(run_dir.glob(f"checkpoints/0*-step-{STEPS}")))
        time.sleep(draw.uniform(0, 2))
    else:
        victim.wait_for("unfinished.0" if moment == "write" else "0", draw.randint(1, 12))
        if moment == "step":
            time.sleep(draw.uniform(0, 0.05))
    code, cut_off = victim.end()
    if code == 0:
        return FINISHED
    return WRITE if cut_off else moment


def moments(kills: int, draw: random.Random) -> list[str]:
    """Returns where to aim: half of the time at a write."""
    others = ("start", "end", "step", "step", "step")
    aims = ["write" if i % 2 else others[i // 2 % len(others)] for i in range(kills)]
    draw.shuffle(aims)
    return aims


def main() -> int:
    """Kills as often as asked, and reports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    tf_logging.start_tensorflow()
    root = Path(tempfile.mkdtemp(prefix="chaos_"))
    subprocess.run(command(root / "undisturbed"), check=True, capture_output=True)
    draw, done, bad, began = random.Random(args.seed), Counter[str](), 0, time.monotonic()
    aims, number = moments(args.kills, draw), 0
    print(f"{'kill':>4}  {'where':<12} {'run':>3}  {'left':>8}", flush=True)
    while aims:
        number += 1
        run_dir = root / f"run_{number}"
        while aims and not (run_dir / "result.json").exists():
            where = kill_once(run_dir, aims[-1], draw)
            if where != FINISHED:
                aims.pop()
                done[where] += 1
                each = (time.monotonic() - began) / done.total()
                left = f"{each * len(aims) / 60:.1f} min"
                print(f"{done.total():>4}  {where:<12} {number:>3}  {left:>8}", flush=True)
        subprocess.run(command(run_dir), check=True, capture_output=True)
        found = compare_runs.differences(run_dir, root / "undisturbed")
        print(f"run {number}: {found or 'as undisturbed, bit for bit'}", flush=True)
        bad += bool(found)
    print(
        f"{done.total()} kills: {dict(done)}; {number} runs, {bad} of them unlike the undisturbed"
    )
    if bad:
        print(f"Kept: {root}")
    else:
        shutil.rmtree(root)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
