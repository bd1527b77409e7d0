"""What a workload is: tasks, data and a network."""

import abc
from collections.abc import Mapping
from types import MappingProxyType

import keras
import numpy as np
import tensorflow as tf

from mtk.data.batches import Augment, ordered_batches, train_batches
from mtk.data.fingerprints import of_arrays
from mtk.data.sources import Source
from mtk.tasks import Task

# `{task: {metric: value}}`
Scores = Mapping[str, Mapping[str, float]]
# How much of a split the fingerprint reads, where a workload has none of its own.
_SAMPLED_BATCH, _SAMPLED_BATCHES = 256, 4


class Workload(abc.ABC):
    """Everything that a run trains on: tasks, their data, and a network for them.

    The data set's splits, and what is drawn at random to build them, are fixed by the constructor
    of a workload, not by the seed of a run: all runs of a study see the same examples.

    A subclass has tasks and a `network`, and gives the data here, as sources that are read by
    index: batches of training come in an order of (seed, step), those of evaluation in theirs. One
    whose data are of another form has batches of its own: `num_train`, `train`, `train_evaluation`,
    `validation` and `test`.

    Args:
        train: The training split; None for a subclass with batches of its own.
        validation: The validation split, likewise.
        test: The test split, likewise.
        augment: Changes training batches at random; see `mtk.data.batches.train_batches`.

    Attributes:
        name: For logs and reports.
        tasks: The K tasks.
        num_train: Examples in the training split.
        shares: Each task's share of the examples in a batch, by name, where batches mix the tasks
            in given proportions; None where they do not.
        score_directions: Whether less ("min") or more ("max") of each score is better, by metric.
        signatures: How scores were computed, by `<task>/<metric>`, for the result; empty where
            that goes without saying.
    """

    name: str
    tasks: list[Task]
    num_train: int
    shares: Mapping[str, float] | None = None
    score_directions: Mapping[str, str] = MappingProxyType({})
    signatures: Mapping[str, str] = MappingProxyType({})
    _splits: Mapping[str, Source] = MappingProxyType({})
    _augment: Augment | None = None

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
        """Builds a new network, whose output is a dict with one entry per task.

        Args:
            seed: Makes initial weights and dropout reproducible.
        """

    def train(self, batch_size: int, steps: int, seed: int, first_step: int = 0) -> tf.data.Dataset:
        """Returns the batches of a run from `first_step` on, `steps - first_step` of them.

        Args:
            batch_size: Examples a step.
            steps: Steps of the whole run.
            seed: Of the order of the examples.
            first_step: The step to begin with.
        """
        source = self._source_of("train")
        return train_batches(source, batch_size, steps, seed, first_step, self._augment)

    def train_evaluation(self, batch_size: int) -> tf.data.Dataset:
        """Returns the training split once, in order and unchanged."""
        return ordered_batches(self._source_of("train"), batch_size)

    def validation(self, batch_size: int) -> tf.data.Dataset:
        """Returns the validation split once, in order."""
        return ordered_batches(self._source_of("validation"), batch_size)

    def test(self, batch_size: int) -> tf.data.Dataset:
        """Returns the test split once, in order."""
        return ordered_batches(self._source_of("test"), batch_size)

    def _source_of(self, split: str) -> Source:
        if split not in self._splits:
            raise TypeError(
                f"The workload {type(self).__name__} has no data. Give it three sources, such as "
                "`mtk.data.in_memory(...)`, by `super().__init__(train, validation, test)`; or "
                "define `num_train`, `train`, `train_evaluation`, `validation` and `test`."
            )
        return self._splits[split]

    def draw_images(self, network: keras.Model) -> Mapping[str, np.ndarray]:
        """Draws what the network makes of a few validation examples, beside what is true.

        TensorBoard shows it at every evaluation. A workload without pictures leaves this out.

        Args:
            network: As `network` built it, at any stage of its training.

        Returns:
            Pictures `(height, width, 3)`, uint8, by name; always of the same examples.
        """
        del network
        return {}

    def check(self, network: keras.Model) -> None:
        """Raises an error where a network was made for other data; by default never.

        What it reads and its tasks are compared elsewhere.

        Args:
            network: One that was exported and loaded.

        Raises:
            ValueError: If it was made for other data.
        """
        del network

    def scores(self, network: keras.Model, split: str) -> Scores:
        """Measures on a split what no metric of a batch can tell, such as BLEU; nothing by default.

        It is asked for once, at the selected step.

        Args:
            network: A network as `network` builds it, or one that was exported and loaded.
            split: "train", "validation" or "test".
        """
        del network, split
        return {}

    def serving(self, network: keras.Model) -> Mapping[str, tf.Module]:
        """Returns what a finished run exports besides the network itself, by name; mostly nothing.

        Each is written as a SavedModel, `saved_model_<name>`, with the functions that its method
        `signatures` returns; see `mtk.export.export_module`.

        Args:
            network: A network as `network` builds it, with the weights of the selected step.
        """
        del network
        return {}

    def fingerprint(self) -> Mapping[str, str]:
        """Returns what tells these data from others in the same place, as texts by name.

        A run goes on only with the data that it was begun with, `mtk.evaluate` warns where they are
        others than the run's, and a report names runs of a study that saw different data. Where the
        configuration is the same, so must be these texts: in every process, on every machine.

        By default, for each split, the number of its batches of 256 examples, if it is known, and
        a hash of what the first four hold: enough to find that a file was replaced, not that one of
        its last examples was. Override it with hashes of all arrays or files; see
        `mtk.data.fingerprints`. An empty mapping says that the data cannot be told apart: then
        nothing is checked.
        """
        splits = {"train": self.train_evaluation, "validation": self.validation, "test": self.test}
        size = min(_SAMPLED_BATCH, self.num_train)
        return {name: _sampled(split(size)) for name, split in splits.items()}

    def steps_per_epoch(self, batch_size: int) -> int:
        """Returns how many full batches the training split holds.

        Raises:
            ValueError: If it holds none, or the batch size is not positive.
        """
        if not 0 < batch_size <= self.num_train:
            raise ValueError(
                f"The batch size must lie in 1 ... {self.num_train}, the size of {self.name}'s "
                f"training split. Received: {batch_size}. Give another one: "
                "`Optimization(batch_size=...)` in a program, --batch_size=... in a command."
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
