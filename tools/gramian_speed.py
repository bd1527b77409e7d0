"""Compares the time of the Gramian of per-example losses with TorchJD's autogram.

    python3 -m venv torchvenv
    torchvenv/bin/pip install torch==2.13.0
    torchvenv/bin/pip install --no-deps torchjd
    python tools/gramian_speed.py --torch_python=torchvenv/bin/python --losses=64

The models are an MLP (784, 512, 256, 10) and LeNet (two convolutions of 6 and 16 channels, dense
layers of 120, 84 and 10), with cross-entropy and a batch of noise. Each library runs in its own
process, and one waits while the other computes. The time includes forward pass, losses and Gramian.
On a busy machine use `--threads=1`, since PyTorch's threads wait for one another.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

MODELS = ("mlp", "lenet")


def mtk_gramian(model: str, losses: int) -> Callable[[], Any]:
    """Returns what computes the Gramian by this package."""
    import keras
    import numpy as np
    import tensorflow as tf
    from keras import layers

    import mtk

    parts = {
        "mlp": [layers.Dense(512, "relu"), layers.Dense(256, "relu"), layers.Dense(10)],
        "lenet": [
            layers.Reshape((28, 28, 1)),
            layers.Conv2D(6, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(120, "relu"),
            layers.Dense(84, "relu"),
            layers.Dense(10),
        ],
    }
    network = keras.Sequential([layers.Input((784,)), *parts[model]])
    network.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(losses, 784)).astype("float32"))
    y = tf.constant(rng.integers(0, 10, (losses, 1)))
    compute = tf.function(lambda: mtk.gramian(network, (x, y)))
    return lambda: compute().numpy()


def torch_gramian(model: str, losses: int) -> Callable[[], Any]:
    """Returns what computes it by TorchJD."""
    import torch
    from torch import nn
    from torchjd.autogram import Engine

    parts = {
        "mlp": [nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10)],
        "lenet": [
            nn.Unflatten(1, (1, 28, 28)),
            nn.Conv2d(1, 6, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(400, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, 10),
        ],
    }
    network = nn.Sequential(*parts[model])
    engine = Engine(network, batch_dim=0)
    loss = nn.CrossEntropyLoss(reduction="none")
    x, y = torch.randn(losses, 784), torch.randint(0, 10, (losses,))
    return lambda: engine.compute_gramian(loss(network(x), y)).detach().numpy()


def serve(library: str, losses: int, threads: int) -> None:
    """Computes what the lines of the input name, and answers with seconds."""
    if library == "torch":
        import torch

        torch.set_num_threads(threads)
    make = mtk_gramian if library == "mtk" else torch_gramian
    computes = {model: make(model, losses) for model in MODELS}
    for compute in computes.values():
        compute()
    for line in sys.stdin:
        start = time.perf_counter()
        computes[line.strip()]()
        print(json.dumps(time.perf_counter() - start), flush=True)


def main() -> None:
    """Starts both processes and asks them in turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--torch_python", required=True, help="Python of an environment with torchjd"
    )
    parser.add_argument("--losses", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="PyTorch threads")
    parser.add_argument("--serve", choices=("mtk", "torch"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.losses, args.threads)
        return
    pythons = {"mtk": sys.executable, "torch": args.torch_python}
    shared = [f"--losses={args.losses}", f"--threads={args.threads}"]
    rest = [__file__, f"--torch_python={args.torch_python}", *shared]
    running = {
        name: subprocess.Popen(
            [python, *rest, f"--serve={name}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        for name, python in pythons.items()
    }

    def seconds(name: str, model: str) -> float:
        process = running[name]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(model + "\n")
        process.stdin.flush()
        return float(json.loads(process.stdout.readline()))

    print(f"{args.losses} losses, {os.cpu_count()} cores: ms, and mtk's to autogram's")
    for model in MODELS:
        times = [(seconds("mtk", model), seconds("torch", model)) for _ in range(args.rounds)]
        ratios = [ours / theirs for ours, theirs in times]
        ours, theirs = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
        low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
        print(f"{model:6} {ours:7.2f} {theirs:7.2f}   {middle:.2f} ({low:.2f} to {high:.2f})")
    for process in running.values():
        process.communicate()


if __name__ == "__main__":
    main()
