"""Trains on two replicas and exports; a process can hold only one MirroredStrategy.

python -m tests.serving.export_from_replicas FOLDER
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import mtk
from mtk.export import export, save_keras
from tests.networks import batch, dense, tasks


def main(folder: Path) -> None:
    with mtk.distribution.mirrored(2).scope():
        network = dense(synchronized=True)
        model = mtk.MultiTaskModel(network, tasks(), mtk.combiners.PCGrad())
        model.compile(keras.optimizers.SGD(0.1))
    examples = tf.data.Dataset.from_tensors(batch("dense")).repeat(3)
    model.fit(examples, verbose=0)
    assert len(network.layers[1].kernel.value.values) == 2
    export(network, folder / "saved_model")
    assert save_keras(network, folder / "model.keras")
    x = batch("dense", seed=1)[0]
    np.savez(folder / "expected.npz", x=x, **network(x, training=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
