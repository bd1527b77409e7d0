"""Trains every shipped method on one config and prints a table of the results.

    python tools/methods.py --gin_file=configs/multi_digits.gin --out=runs/methods

Finished runs in `--out` are kept, so the same command continues an interrupted table.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path


def train(config: str, overlay: Path, run_dir: Path, bindings: list[str]) -> dict:
    """Runs `mtk.train` with one overlay, unless it has finished, and returns its result."""
    result = run_dir / "result.json"
    if not result.exists():
        command = [sys.executable, "-m", "mtk.train", f"--gin_file={config}"]
        command += [f"--gin_file={overlay}", f"--run_dir={run_dir}"]
        subprocess.run([*command, *(f"--gin_bindings={b}" for b in bindings)], check=False)
    return json.loads(result.read_text())


def row(name: str, result: dict) -> tuple[str, float]:
    """Returns a line of the table, and the mean test accuracy in percent."""
    if result["status"] != "finished":
        return f"| {name} | {result['status']} | | |", 0.0
    tasks = result["test"]["tasks"]
    values = [100 * tasks[task]["accuracy"] for task in ("left", "right")]
    mean = sum(values) / 2
    return f"| {name} | {values[0]:.1f} | {values[1]:.1f} | {mean:.1f} |", mean


def main() -> None:
    """Parses the command line, trains and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gin_file", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--gin_bindings", action="append", default=[])
    parser.add_argument("--methods", help="names of overlays, separated by commas; default: all")
    args = parser.parse_args()
    overlays = sorted(Path("configs/combiners").glob("*.gin"))
    if args.methods:
        overlays = [path for path in overlays if path.stem in args.methods.split(",")]
    rows = []
    for path in overlays:
        result = train(args.gin_file, path, args.out / path.stem, args.gin_bindings)
        rows.append(row(path.stem, result))
        print(rows[-1][0], flush=True)
    print("\n| method | left, % | right, % | mean, % |\n|---|---|---|---|")
    for line, _ in sorted(rows, key=lambda pair: -pair[1]):
        print(line)


if __name__ == "__main__":
    main()
