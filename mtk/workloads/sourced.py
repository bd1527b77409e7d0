"""Workloads whose splits are examples that can be read by index."""

import tensorflow as tf

from mtk.data.batches import Augment, ordered_batches, train_batches
from mtk.data.sources import Source
from mtk.workloads.base import Workload


class SourcedWorkload(Workload):
    """Batches of three sources: training in an order of (seed, step), evaluation in theirs.

    A subclass has a `network`.

    Args:
        train: The training split.
        validation: The validation split.
        test: The test split.
        augment: Changes training batches at random; see `mtk.data.batches.train_batches`.
    """

    def __init__(
        self, train: Source, validation: Source, test: Source, *, augment: Augment | None = None
    ):
        self.num_train = train.num_examples
        self._train, self._validation, self._test = train, validation, test
        self._augment = augment

    def train(self, batch_size: int, steps: int, seed: int, first_step: int = 0) -> tf.data.Dataset:
        return train_batches(self._train, batch_size, steps, seed, first_step, self._augment)

    def train_evaluation(self, batch_size: int) -> tf.data.Dataset:
        return ordered_batches(self._train, batch_size)

    def validation(self, batch_size: int) -> tf.data.Dataset:
        return ordered_batches(self._validation, batch_size)

    def test(self, batch_size: int) -> tf.data.Dataset:
        return ordered_batches(self._test, batch_size)
