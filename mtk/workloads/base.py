"""What a workload is: tasks, data and a network."""

import abc
from collections.abc import Mapping
from types import MappingProxyType

import keras
import numpy as np
import tensorflow as tf

from mtk.tasks import Task

# `{task: {metric: value}}`
Scores = Mapping[str, Mapping[str, float]]


class Workload(abc.ABC):
    """Everything that a run trains on: tasks, their data, and a network for them.

    The data set's splits, and what is drawn at random to build them, are fixed by the constructor
    of a workload, not by the seed of a run: all runs of a study see the same examples.

    Attributes:
        name: For logs and reports.
        tasks: The K tasks.
        num_train: Examples in the training split.
        shares: Each task's share of the examples in a batch, by name, where batches mix the tasks
            in given proportions; None where they do not.
        score_directions: Whether less ("min") or more ("max") of each score is better, by metric.
        signatures: How scores were computed, by `<task>/<metric>`, for the result; empty where
            that goes without saying.
        fingerprint: What tells data from other data in the same place, as texts by name: a run only
            goes on if they are the same. Empty where the configuration says it all.
    """

    name: str
    tasks: list[Task]
    num_train: int
    shares: Mapping[str, float] | None = None
    score_directions: Mapping[str, str] = MappingProxyType({})
    signatures: Mapping[str, str] = MappingProxyType({})
    fingerprint: Mapping[str, str] = MappingProxyType({})

    @abc.abstractmethod
    def network(self, seed: int | None = None) -> keras.Model:
        """Builds a new network, whose output is a dict with one entry per task.

        Args:
            seed: Makes initial weights and dropout reproducible.
        """

    @abc.abstractmethod
    def train(self, batch_size: int, steps: int, seed: int, first_step: int = 0) -> tf.data.Dataset:
        """Returns the batches of a run from `first_step` on, `steps - first_step` of them.

        Args:
            batch_size: Examples a step.
            steps: Steps of the whole run.
            seed: Of the order of the examples.
            first_step: The step to begin with.
        """

    @abc.abstractmethod
    def train_evaluation(self, batch_size: int) -> tf.data.Dataset:
        """Returns the training split once, in order and unchanged."""

    @abc.abstractmethod
    def validation(self, batch_size: int) -> tf.data.Dataset:
        """Returns the validation split once, in order."""

    @abc.abstractmethod
    def test(self, batch_size: int) -> tf.data.Dataset:
        """Returns the test split once, in order."""

    def pictures(self, network: keras.Model) -> Mapping[str, np.ndarray]:
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

    def steps_per_epoch(self, batch_size: int) -> int:
        """Returns how many full batches the training split holds.

        Raises:
            ValueError: If it holds none, or the batch size is not positive.
        """
        if not 0 < batch_size <= self.num_train:
            raise ValueError(
                f"The batch size must lie in 1 ... {self.num_train}, the size of {self.name}'s "
                f"training split. Received: {batch_size}"
            )
        return self.num_train // batch_size
