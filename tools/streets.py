"""Measures reference values for the two street workloads.

    python tools/streets.py baseline
    python tools/streets.py pipeline --batch=8

`baseline` predicts the mean depth of the generated world's training split and prints the mean
absolute depth error on its test split: a network has to beat this. `pipeline` prints how much
faster the input pipeline of CityScapes is than a training step of its network, on 2,380 generated
scenes of 128x256 in memory.
"""

import argparse
import os
import statistics
import time
from collections.abc import Iterable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def baseline() -> None:
    """Prints the depth error of predicting a constant."""
    import numpy as np

    from mtk.workloads import StreetWorld

    world = StreetWorld()

    def measured(batches: Iterable) -> np.ndarray:
        depths = np.concatenate([labels["depth"].ravel() for _, labels in batches])
        return depths[depths > 0]

    mean = measured(world.train_evaluation(100).as_numpy_iterator()).mean()
    error = np.abs(measured(world.test(100).as_numpy_iterator()) - mean).mean()
    print(
        f"training mean {mean:.4f}: mean absolute error {error:.4f} in test; half: {error / 2:.4f}"
    )


def pipeline(batch_size: int, rounds: int) -> None:
    """Prints the time of a step as a multiple of that of the pipeline alone, in turns."""
    import keras
    import numpy as np
    import tensorflow as tf

    import mtk
    from mtk.data.streets import Streets
    from mtk.models import deeplab
    from mtk.workloads.street_scenes import StreetScenes

    class Scenes(StreetScenes):
        name = "scenes"

        def network(self, seed: int | None = None) -> keras.Model:
            return deeplab(self.image_shape, self.outputs, seed=seed)

    shape = (2380, 128, 256)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    streets = Streets(images, np.zeros(shape, np.int8), np.full(shape, 0.1, np.float32))
    few = streets.take(np.arange(1))
    data = Scenes(streets, few, few)
    model = mtk.MultiTaskModel(data.network(0), data.tasks)
    model.compile(keras.optimizers.Adam(1e-4))
    batches = data.train(batch_size, 10_000, seed=0)
    iterator = iter(batches)
    batch = next(iterator)
    model.inspect(batch)
    model.make_train_function()
    same = iter(tf.data.Dataset.from_tensors(batch).repeat())
    model.train_function(same)
    pairs = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(50):
            next(iterator)
        between = time.perf_counter()
        float(model.train_function(same)["loss"])
        pairs.append(((between - start) / 50, time.perf_counter() - between))
        print(f"pipeline {pairs[-1][0] * 1e3:.1f} ms, step {pairs[-1][1] * 1e3:.0f} ms", flush=True)
    ratio = statistics.median(step / alone for alone, step in pairs)
    print(f"batch {batch_size}: a step takes {ratio:.0f} times as long as the pipeline alone")


def main() -> None:
    """Parses the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["baseline", "pipeline"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if args.what == "baseline":
        baseline()
    else:
        pipeline(args.batch, args.rounds)


if __name__ == "__main__":
    main()
