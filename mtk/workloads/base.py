"""Base class of workloads: tasks, data and a network."""

import abc
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtk.data.batches import Augment, ordered_batches, train_batches
from mtk.data.fingerprints import of_arrays
from mtk.data.sources import Source
from mtk.tasks import Task

# `{task: {metric: value}}`
Scores = Mapping[str, Mapping[str, float]]
# Part of a split that the default fingerprint reads.
_SAMPLED_BATCH, _SAMPLED_BATCHES = 256, 4


class Workload(abc.ABC):
    """Base class of workloads: tasks, their data, and a network for them.

    The splits, and all random draws to build them, are fixed by the constructor of a workload, not
    by the seed of a run, so that all runs of a study have the same examples.

    A subclass defines tasks and a `network`, and passes the data here, as sources that are read by
    index: training batches in an order that depends on (seed, step), evaluation batches in
    sequence. A subclass with data of another form defines its own batches: `num_train`, `train`,
    `train_evaluation`, `validation` and `test`.

    Args:
        train: The training split; None for a subclass with its own batches.
        validation: The validation split, likewise.
        test: The test split, likewise.
        augment: Augments training batches randomly; see `mtk.data.batches.train_batches`.

    Attributes:
        name: Name for logs and reports.
        tasks: The K tasks.
        num_train: Number of examples in the training split.
        shares: Each task's share of the examples in a batch, by name, if batches mix the tasks in
            given proportions; otherwise None.
        score_directions: Whether lower ("min") or higher ("max") scores are better, by metric.
        signatures: How scores were computed, by `<task>/<metric>`, for the result; empty if that is
            obvious.
    """

    name: str
    tasks: list[Task]
    num_train: int
    shares: Mapping[str, float] | None = None
    score_directions: Mapping[str, str] = MappingProxyType({})
    signatures: Mapping[str, str] = MappingProxyType({})
    _splits: Mapping[str, Source] = MappingProxyType({})
    _augment: Augment | None = None
    _made: dict[tuple[str, int], tf.data.Dataset] | None = None

    def __init__(
        self,
        train: Source | None = None,
        validation: Source | None = None,
        test: Source | None = None,
        *,
        augment: Augment | None = None,
    ):
        given = {"train": train, "validation": validation, "test": test}
        self._splits = {split: source for split, source in given.items() if source is not None}
        self._augment = augment
        if train is not None:
            self.num_train = train.num_examples

    @abc.abstractmethod
    def network(self, seed: int | None = None) -> keras.Model:
        """Builds a new network with a dict of one output per task.

        Args:
            seed: Makes initial weights and dropout reproducible.
        """

    def train(self, batch_size: int, steps: int, seed: int, first_step: int = 0) -> tf.data.Dataset:
        """Returns the batches of a run from `first_step` on, `steps - first_step` of them.

        Args:
            batch_size: Examples per step.
            steps: Number of steps of the whole run.
            seed: Seed of the order of the examples.
            first_step: The first step.
        """
        source = self._source_of("train")
        return train_batches(source, batch_size, steps, seed, first_step, self._augment)

    def train_evaluation(self, batch_size: int) -> tf.data.Dataset:
        """Returns the training split once, in order and without augmentation."""
        return self._in_order("train", batch_size)

    def validation(self, batch_size: int) -> tf.data.Dataset:
        """Returns the validation split once, in order."""
        return self._in_order("validation", batch_size)

    def test(self, batch_size: int) -> tf.data.Dataset:
        """Returns the test split once, in order."""
        return self._in_order("test", batch_size)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None}  # Datasets cannot be pickled or copied.

    def _in_order(self, split: str, batch_size: int) -> tf.data.Dataset:
        """Makes a split's batches once: a run reads the same ones at each evaluation."""
        if not tf.executing_eagerly():  # They would belong to the graph that is being made.
            return ordered_batches(self._source_of(split), batch_size)
        if self._made is None:
            self._made = {}
        key = (split, batch_size)
        if key not in self._made:
            self._made[key] = ordered_batches(self._source_of(split), batch_size)
        return self._made[key]

    def _source_of(self, split: str) -> Source:
        if split not in self._splits:
            raise TypeError(
                f"The workload {type(self).__name__} has no data. Pass three sources, such as "
                "`mtk.data.in_memory(...)`, to `super().__init__(train, validation, test)`; or "
                "define `num_train`, `train`, `train_evaluation`, `validation` and `test`."
            )
        return self._splits[split]

    def draw_images(self, network: keras.Model) -> Mapping[str, np.ndarray]:
        """Draws the network's predictions for a few validation examples, next to the truth.

        TensorBoard shows it at every evaluation. A workload without images need not define this.

        Args:
            network: A network from `network`, at any stage of its training.

        Returns:
            Images `(height, width, 3)`, uint8, by name; always of the same examples.
        """
        del network
        return {}

    def check(self, network: keras.Model) -> None:
        """Raises an error if a network was made for other data; never by default.

        Its inputs and tasks are checked elsewhere.

        Args:
            network: A network that was exported and loaded.

        Raises:
            ValueError: If it was made for other data.
        """
        del network

    def scores(self, network: keras.Model, split: str) -> Scores:
        """Computes scores of a split that batch metrics cannot, such as BLEU; none by default.

        Called once, at the selected step.

        Args:
            network: A network from `network`, or one that was exported and loaded.
            split: "train", "validation" or "test".
        """
        del network, split
        return {}

    def serving(self, network: keras.Model) -> Mapping[str, tf.Module]:
        """Returns further modules that a finished run exports, by name; none by default.

        Each is written as a SavedModel, `saved_model_<name>`, with the functions from its method
        `signatures`; see `mtk.export.export_module`.

        Args:
            network: A network from `network`, with the weights of the selected step.
        """
        del network
        return {}

    def fingerprint(self) -> Mapping[str, str]:
        """Returns texts by name that identify the data, to detect other data in the same place.

        A run resumes only with the data with which it started, `mtk.evaluate` warns if they differ
        from the run's, and a report names runs of a study with different data. For the same
        configuration these texts must be the same in every process and on every machine.

        By default, for each split, the number of its batches of 256 examples, if known, and a hash
        of the first four: enough to detect a replaced file, but not a change of its last examples.
        Override it with hashes of all arrays or files; see `mtk.data.fingerprints`. With an empty
        mapping nothing is checked.
        """
        splits = {"train": self.train_evaluation, "validation": self.validation, "test": self.test}
        size = min(_SAMPLED_BATCH, self.num_train)
        return {name: _sampled(split(size)) for name, split in splits.items()}

    def steps_per_epoch(self, batch_size: int) -> int:
        """Returns the number of full batches in the training split.

        Raises:
            ValueError: If there is none, or the batch size is not positive.
        """
        if not 0 < batch_size <= self.num_train:
            raise ValueError(
                f"The batch size must lie in 1 ... {self.num_train}, the size of {self.name}'s "
                f"training split. Received: {batch_size}. Set it with "
                "`Optimization(batch_size=...)` in a program, or --batch_size=... on the command "
                "line."
            )
        return self.num_train // batch_size


def _sampled(batches: tf.data.Dataset) -> str:
    number = int(batches.cardinality())
    first = [
        np.asarray(part)
        for batch in batches.take(_SAMPLED_BATCHES)
        for part in tf.nest.flatten(batch, expand_composites=True)
    ]
    known = "" if number < 0 else f"{number:,} batches, "
    return f"{known}of the first {_SAMPLED_BATCHES} sha256 {of_arrays(*first)}"
