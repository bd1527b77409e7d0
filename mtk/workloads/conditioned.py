"""Wraps a workload with a network that reads the task weights."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf

from mtk.models import conditioning
from mtk.per_task import PerTask
from mtk.ratios import Ratios
from mtk.workloads.base import Scores, Workload


class Conditioned(Workload):
    """A workload whose network is conditioned on the task weights: see `mtk.models.conditioned`.

    In training, `mtk.combiners.RLW` draws the weights. Otherwise the network is used at one
    preference, which is added to the batches of evaluation.

    Args:
        workload: Factory of the wrapped workload, whose tasks share their input and whose network
            is a functional model.
        layers: Names of layers of the trunk, after which FiLM layers are inserted.
        hidden: Units of the hidden layer of each FiLM layer.
        preference: The task weights in evaluation, by name or in task order; equal by default.

    Raises:
        ValueError: If the preference does not match the tasks, or, with the first batch, if these
            do not share their input.
    """

    def __init__(
        self,
        workload: Callable[[], Workload],
        layers: Sequence[str],
        hidden: int = 64,
        preference: Annotated[PerTask | None, Ratios()] = None,
    ):
        self.workload = workload()
        self.layers, self.hidden = layers, hidden
        self.name, self.tasks = f"{self.workload.name}_conditioned", self.workload.tasks
        self.num_train = self.workload.num_train
        self.score_directions = self.workload.score_directions
        self.signatures = self.workload.signatures
        self.task_names = [task.name for task in self.tasks]
        self.preference = conditioning.normalized(preference, self.task_names)

    def network(self, seed: int | None = None) -> keras.Model:
        return conditioning.conditioned(
            self.workload.network(seed),
            self.layers,
            self.hidden,
            self.task_names,
            self.preference,
            seed,
        )

    def train(self, batch_size: int, steps: int, seed: int, first_step: int = 0) -> tf.data.Dataset:
        return self.workload.train(batch_size, steps, seed, first_step)

    def train_evaluation(self, batch_size: int) -> tf.data.Dataset:
        return self._at_preference(self.workload.train_evaluation(batch_size))

    def validation(self, batch_size: int) -> tf.data.Dataset:
        return self._at_preference(self.workload.validation(batch_size))

    def test(self, batch_size: int) -> tf.data.Dataset:
        return self._at_preference(self.workload.test(batch_size))

    def _at_preference(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        def carrying(inputs: Any, *rest: Any) -> tuple[Any, ...]:
            if not rest:
                raise ValueError(
                    f"A batch of {self.workload.name} is not (x, y): its tasks have separate "
                    "inputs. Conditioned needs a workload whose tasks share their input."
                )
            return (conditioning.with_same(inputs, self.preference), *rest)

        return batches.map(carrying)

    def draw_images(self, network: keras.Model) -> Mapping[str, np.ndarray]:
        return self.workload.draw_images(_AtPreference(network, self.preference))

    def check(self, network: keras.Model) -> None:
        self.workload.check(_AtPreference(network, self.preference))

    def scores(self, network: keras.Model, split: str) -> Scores:
        return self.workload.scores(_AtPreference(network, self.preference), split)

    def serving(self, network: keras.Model) -> Mapping[str, tf.Module]:
        return self.workload.serving(_AtPreference(network, self.preference))

    def fingerprint(self) -> Mapping[str, str]:
        return self.workload.fingerprint()


class _AtPreference(keras.Model):
    """A conditioned network at a fixed preference, for callers that pass no weights."""

    def __init__(self, network: keras.Model, preference: Sequence[float]):
        super().__init__()
        self.network, self.preference = network, preference

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        inputs = conditioning.with_same(inputs, self.preference)
        return self.network(inputs, training=training)
