"""A custom workload from `tf.data`: a network, tasks and three datasets."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from mtk.data.order import derive_seed
from mtk.tasks import Task, check_tasks
from mtk.workloads.arrays import MakeNetwork, made
from mtk.workloads.base import Workload

_SHUFFLING = 2  # separates the seed of the order from others of the run


class Datasets(Workload):
    """A workload from datasets of single examples.

    Training shuffles within a buffer, in an order given by the run's seed. A resumed run reads the
    examples up to its step again, and drops them.

    Args:
        network: As for `Arrays`.
        tasks: The K tasks.
        train: Dataset of examples, not batches, `(x, y)` or `(x, y, mask)`, each once and in a
            fixed order.
        validation: Likewise.
        test: Likewise.
        num_train: Number of examples of `train`, if its cardinality is unknown.
        shuffle_buffer: Number of examples among which the next one is drawn.
        name: Name for logs and reports.

    Raises:
        ValueError: If a split is not a dataset or is infinite, or the number of training examples
            is unknown; when the network is made, if a dataset yields batches.
    """

    def __init__(
        self,
        network: MakeNetwork,
        tasks: Sequence[Task],
        train: tf.data.Dataset,
        validation: tf.data.Dataset,
        test: tf.data.Dataset,
        num_train: int | None = None,
        shuffle_buffer: int = 10_000,
        name: str = "datasets",
    ):
        self.name = name
        self.tasks = check_tasks(tasks)
        self._make = network
        self._train, self._validation, self._test = train, validation, test
        self._buffer = shuffle_buffer
        for what, given in (("train", train), ("validation", validation), ("test", test)):
            if not isinstance(given, tf.data.Dataset):
                raise ValueError(
                    f"The {what} data set must be a `tf.data.Dataset` of examples, such as from "
                    "`tf.data.Dataset.from_generator(...)`; for arrays, use "
                    f"`mtk.workloads.Arrays`. Received: {type(given).__name__}"
                )
            if int(given.cardinality()) == tf.data.INFINITE_CARDINALITY:
                raise ValueError(f"The {what} data set never ends: leave out `repeat()`.")
        known = int(train.cardinality()) if num_train is None else num_train
        if known < 1:
            raise ValueError(
                "The number of training examples is unknown. Give `num_train`; `sum(1 for _ in "
                f"train)` counts the examples. Received: num_train={num_train}"
            )
        self.num_train = known

    def network(self, seed: int | None = None) -> keras.Model:
        """See `Workload.network`.

        Raises:
            ValueError: If a dataset yields batches instead of examples.
        """
        network = made(self._make, seed)
        splits = {"train": self._train, "validation": self._validation, "test": self._test}
        for what, split in splits.items():
            _check_examples(what, split.element_spec, getattr(network, "inputs", None))
        return network

    def train(self, batch_size: int, steps: int, seed: int, first_step: int = 0) -> tf.data.Dataset:
        order = derive_seed(seed, _SHUFFLING)
        endless = self._train.shuffle(self._buffer, order, reshuffle_each_iteration=True).repeat()
        # Skipped before batching, to avoid useless copies.
        rest = endless.skip(first_step * batch_size).batch(batch_size, drop_remainder=True)
        return rest.take(steps - first_step).prefetch(tf.data.AUTOTUNE)

    def train_evaluation(self, batch_size: int) -> tf.data.Dataset:
        return self._train.batch(batch_size).prefetch(tf.data.AUTOTUNE)

    def validation(self, batch_size: int) -> tf.data.Dataset:
        return self._validation.batch(batch_size).prefetch(tf.data.AUTOTUNE)

    def test(self, batch_size: int) -> tf.data.Dataset:
        return self._test.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def _check_examples(what: str, spec: Any, inputs: Any) -> None:
    """Checks that a dataset's elements lack the batch axis of a network's inputs."""
    if not isinstance(spec, tuple) or not inputs:
        return
    shapes = [getattr(part, "shape", tf.TensorShape(None)) for part in tf.nest.flatten(spec[0])]
    wanted = [tuple(part.shape) for part in tf.nest.flatten(inputs)]
    if [shape.rank for shape in shapes] == [len(shape) for shape in wanted]:
        raise ValueError(
            f"The {what} data set is batched: inputs {[tuple(s) for s in shapes]} for a network "
            f"that reads {wanted}, including the batch axis. Give single examples, without "
            "`batch()`; the workload batches them."
        )
