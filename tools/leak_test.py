"""Measures whether the memory of a long run stays constant, with everything that it writes.

    python tools/leak_test.py
    python tools/leak_test.py --steps=50000 --combiner=famo

A small network trains on Multi-digits with `python -m mtk.train`, with curves, evaluations and
checkpoints. At each evaluation the resident set size of the process is read from the kernel.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent


def command(args: argparse.Namespace, run_dir: str) -> list[str]:
    """Returns the command of the run."""
    bindings = {
        "multi_digits.MultiDigits.partners": 1,
        "multi_digits.MultiDigits.channels": (4, 4),
        "multi_digits.MultiDigits.units": 8,
        "experiment.Optimization.batch_size": 32,
        "experiment.Training.epochs": None,
        "experiment.Training.steps": args.steps,
        "experiment.Training.evaluate_every": args.every,
        "experiment.Logging.log_every": 20,
        "experiment.Optimization.learning_rate": 0.01,
        **dict(binding.split("=", 1) for binding in args.set),
    }
    files = [ROOT / "configs" / "multi_digits.gin"]
    files += [ROOT / "configs" / "combiners" / f"{args.combiner}.gin"]
    flags = [f"--gin_file={file}" for file in files]
    flags += [f"--gin.{name}={value}" for name, value in bindings.items()]
    return [sys.executable, "-m", "mtk.train", *flags, f"--run_dir={run_dir}"]


def sizes(process: subprocess.Popen) -> Iterator[tuple[int, float]]:
    """Yields the step of each evaluation and the resident set in MiB."""
    assert process.stderr is not None
    for line in process.stderr:
        found = re.match(r"step +(\d+)/\d+ · .*validation", line)
        if not found:
            continue
        status = Path(f"/proc/{process.pid}/status").read_text()
        resident = re.search(r"VmRSS:\s+(\d+) kB", status)
        if resident:  # Else the process has just ended.
            yield int(found[1]), int(resident[1]) / 1024


def main() -> int:
    """Runs, prints the sizes, and returns 1 if the memory has grown too much."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--every", type=int, default=500, help="steps between evaluations")
    parser.add_argument(
        "--first", type=int, default=1_000, help="step to compare the last one with"
    )
    parser.add_argument("--combiner", default="pcgrad", help="name of a file in configs/combiners")
    parser.add_argument("--limit", type=float, default=2.0, help="allowed growth in percent")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="gin binding"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with subprocess.Popen(
            command(args, f"{folder}/run"),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
        ) as process:
            measured = {}
            for step, size in sizes(process):
                measured[step] = size
                print(f"step {step:7}  {size:8.1f} MiB", flush=True)
        if process.returncode:
            print(f"The run ended with exit code {process.returncode}.", file=sys.stderr)
            return 2
    first, last = min(s for s in measured if s >= args.first), max(measured)
    growth = 100 * (measured[last] / measured[first] - 1)
    print(f"from step {first} to {last}: {growth:+.2f} %")
    return int(growth > args.limit)


if __name__ == "__main__":
    sys.exit(main())
