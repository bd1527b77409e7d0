"""Measures the share of padding in training batches, with and without bucketing.

    python tools/padding.py --gin_file=configs/translation_multi30k.gin \
        --gin.folder='"/data/multi30k/prepared"'

It reads an epoch of the batches that a run would train on, and prints the share of positions of
sources and targets that contain no token. `--windows 1 20 100` compares bucketing windows.
"""

import argparse
from typing import Any


def padded(batches: Any) -> tuple[float, float]:
    """Returns the share of padding in all batches, and in the worst of them."""
    import numpy as np

    counts = []
    for batch in batches.as_numpy_iterator():
        shares = batch.values() if isinstance(batch, dict) else [batch]
        rows = [array for x, y, *_ in shares for array in (x["source"], y)]
        counts.append((sum((r == 0).sum() for r in rows), sum(r.size for r in rows)))
    empty, positions = np.transpose(counts)
    return float(empty.sum() / positions.sum()), float((empty / positions).max())


def main() -> None:
    """Prints a line for each window and kind of batch."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gin_file", action="append", required=True)
    parser.add_argument(
        "--windows", type=int, nargs="+", help="windows instead of the configuration's"
    )
    args, others = parser.parse_known_args()

    from mtk import config, experiment
    from mtk.workloads import Translation

    bindings = [other.removeprefix("--gin.").replace("=", " = ", 1) for other in others]
    config.parse(args.gin_file, bindings)
    data: Translation = config.values(experiment.run)["workload"]()
    batch_size = config.bound(experiment.Optimization)().batch_size
    equal = 1 / len(data.corpus.languages)
    rates = dict.fromkeys(data.corpus.languages, equal)
    print(f"{data.num_train} pairs, batches of {batch_size}, {data.lengths}")
    for window in args.windows or [1, data.window]:
        data.window = window
        for kind, chosen in (("shares", None), ("mixed", rates)):
            data.sampling_rates = chosen
            found = data.train(batch_size, data.steps_per_epoch(batch_size), seed=0)
            mean, worst = padded(found)
            print(f"window {window:4}  {kind:6}  padding {mean:6.1%}, in the worst {worst:.1%}")


if __name__ == "__main__":
    main()
