"""Trains a translation on two replicas; a process can hold only one MirroredStrategy.

Usage: python replicated_translation.py FOLDER
"""

import functools
import sys

import keras
from toy import toy_corpus

from mtk import distribution, experiment
from mtk.data.translation.batches import Lengths
from mtk.workloads import Translation


def workload() -> Translation:
    """Makes the workload for this script and for the test."""
    size = {"num_layers": 1, "width": 16, "feed_forward_width": 16, "num_heads": 2, "dropout": 0.0}
    return Translation(toy_corpus, lengths=Lengths(12), **size)


if __name__ == "__main__":
    experiment.run(
        workload,
        sys.argv[1],
        experiment.Training(steps=6),
        optimization=experiment.Optimization(keras.optimizers.Adam, 3e-3, batch_size=32),
        numerics=experiment.Numerics(strategy=functools.partial(distribution.mirrored, 2)),
        logging=experiment.Logging(measure_every=0),
    )
