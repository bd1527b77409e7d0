"""What the benchmark runs: models of several sizes, batches for them, and a runner of steps."""

import argparse
import time
from typing import Any, NamedTuple

SCALARIZED = "StaticWeights()"


def images(shape: tuple[int, ...], tasks: list[str], batch: int, classes: int) -> Any:
    """Returns a batch of noise with random labels."""
    import tensorflow as tf

    x = tf.random.stateless_normal((batch, *shape), [0, 0])
    labels = {}
    for k, task in enumerate(tasks):
        labels[task] = tf.random.stateless_uniform((batch,), [1, k], 0, classes, tf.int32)
    return x, labels


def sentences(tasks: list[str], batch: int, mixed: bool, words: int, length: int = 32) -> Any:
    """Returns random sentences: a mixed batch, or a share for each task."""
    import tensorflow as tf

    def share(number: int, seed: int) -> Any:
        ids = tf.random.stateless_uniform((number, 2 * length), [2, seed], 1, words, tf.int32)
        source, target = ids[:, :length], ids[:, length:]
        return {"source": source, "target_in": target}, tf.roll(target, -1, axis=1)

    if mixed:
        return *share(batch, 0), tf.range(batch) % len(tasks)
    return {task: share(batch // len(tasks), k) for k, task in enumerate(tasks)}


def make(args: argparse.Namespace, method: str, way: str = "auto") -> tuple[Any, Any]:
    """Builds a compiled model with the method, and a batch for it."""
    import keras

    import mtk
    from mtk.models import Transformer, lenet, resnet18

    names = [f"task_{k}" for k in range(args.tasks)]
    keras.utils.set_random_seed(0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    tasks = [mtk.Task(name, loss, ["accuracy"]) for name in names]
    optimizer: Any = keras.optimizers.SGD(1e-3, momentum=0.8)
    if args.model == "lenet":
        network = lenet((28, 28, 1), names)
        batch = images((28, 28, 1), names, args.batch, 10)
    elif args.model == "mlp":
        inputs = keras.Input((784,))
        trunk = keras.layers.Dense(1024, "relu")(keras.layers.Dense(1024, "relu")(inputs))
        heads = {name: keras.layers.Dense(2, name=name)(trunk) for name in names}
        network = keras.Model(inputs, heads)
        batch = images((784,), names, args.batch, 2)
    elif args.model == "resnet":
        network = resnet18((64, 64, 3), names, widths=tuple(args.widths))
        batch = images((64, 64, 3), names, args.batch, 2)
    else:
        words = 64_000 if args.model == "transformer-paper" else 8000
        if args.model == "transformer-paper":
            network = Transformer(words)
        else:
            network = Transformer(words, 3, width=256, feed_forward_width=1024, num_heads=8)
        batch = sentences(names, args.batch, method == SCALARIZED, words)
        tasks = [mtk.Task(name, loss) for name in names]
        optimizer = keras.optimizers.Adam(1e-4)
    if args.model.startswith("transformer") and method == SCALARIZED:
        method = "ProportionalSampling()"
    combiner = eval(method, vars(mtk.combiners))
    model = mtk.MultiTaskModel(network, tasks, combiner, gradients=way)
    model.compile(optimizer, micro_batches=args.micro_batches)
    return model, batch


class Spent(NamedTuple):
    """What a step takes.

    Attributes:
        elapsed: Seconds on the clock.
        computed: Seconds of all cores together: what other processes do hardly changes them.
    """

    elapsed: float
    computed: float


class Runner:
    """Takes steps of one model on one batch.

    Args:
        args: The command line.
        method: The combiner, as an expression.
        way: How per-task gradients are computed.
    """

    def __init__(self, args: argparse.Namespace, method: str, way: str = "auto"):
        import tensorflow as tf

        self.model, batch = make(args, method, way)
        self.iterator = iter(tf.data.Dataset.from_tensors(batch).cache().repeat().prefetch(1))
        start = time.perf_counter()
        self.model.inspect(batch)
        self.model.make_train_function()
        self.steps(1)
        self.traced = time.perf_counter() - start

    def steps(self, number: int) -> Spent:
        """Takes steps and returns what one of them took on average.

        One more goes first untimed: after another model has run, memory has to be taken anew.
        """
        self._take(1)
        start, used = time.perf_counter(), time.process_time()
        self._take(number)
        elapsed, computed = time.perf_counter() - start, time.process_time() - used
        return Spent(elapsed / number, computed / number)

    def _take(self, number: int) -> None:
        for _ in range(number):
            logs = self.model.train_function(self.iterator)
        float(logs["loss"])
