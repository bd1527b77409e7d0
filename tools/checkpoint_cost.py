"""Measures the cost of checkpoints: their share of the wall time of a training.

  python tools/checkpoint_cost.py --data_dir=DIRECTORY_OF_MNIST

It trains LeNet on Multi-MNIST with the default interval and prints two numbers: how long the
training waited for checkpoints (while it copied values, or while the previous write was not done),
and how long the thread that writes them was busy. This thread runs in parallel with the training;
if no core is free, its time is the most that checkpoints can cost in addition.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from mtk import tf_logging

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Trains, and prints the shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True, help="folder with the files of MNIST")
    parser.add_argument("--steps", type=int, default=1122, help="an epoch has 187")
    parser.add_argument("--combiner", default="pcgrad", help="name of a file in configs/combiners")
    args = parser.parse_args()
    tf_logging.start_tensorflow()
    from mtk import checkpoints, experiment

    writes: list[float] = []
    write = checkpoints.Store.write

    def timed(self: checkpoints.Store, snapshot: checkpoints.Snapshot) -> None:
        started = time.monotonic()
        write(self, snapshot)
        writes.append(time.monotonic() - started)

    checkpoints.Store.write = timed  # type: ignore[method-assign]
    files = [ROOT / "configs" / "multi_mnist.gin", ROOT / "configs/combiners" / args.combiner]
    bindings = [
        f"data_dir = '{args.data_dir}'",
        "experiment.Training.epochs = None",
        f"experiment.Training.steps = {args.steps}",
    ]
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        names = [str(file.with_suffix(".gin")) for file in files]
        experiment.launch(names, bindings, str(run_dir))
        (session,) = json.loads((run_dir / "manifest.json").read_text())["sessions"]
        newest = max((run_dir / "checkpoints").glob("0*"))
        size = sum(path.stat().st_size for path in newest.iterdir())
    seconds = session["throughput"]["seconds"]
    total, waited = seconds["total"], seconds["checkpoints"]
    print(f"{len(writes)} checkpoints of {size / 1e6:.1f} MB in {total:.1f} s of training")
    print(f"waited for them    {waited:.2f} s, {_share(waited, total)}")
    print(f"writing beside it  {sum(writes):.2f} s, {_share(sum(writes), total)}")


def _share(part: float, total: float) -> str:
    return f"{100 * part / total:.2f} %"


if __name__ == "__main__":
    main()
