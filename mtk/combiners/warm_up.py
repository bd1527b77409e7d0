"""A wrapper that trains with static weights first."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import keras
import tensorflow as tf

from mtk import gradients
from mtk.combiners.base import Combined, Combiner
from mtk.combiners.static import StaticWeights
from mtk.combiners.wrapper import Wrapper
from mtk.per_task import PerTask
from mtk.ranges import check_count
from mtk.ratios import Ratios

Found = TypeVar("Found")


@keras.saving.register_keras_serializable("mtk")
class WarmUp(Wrapper):
    """Trains with static weights for some steps, then by another method.

    The first gradients of a network carry little information about its tasks. The method starts
    after the warm-up; until then its state does not change. Around a method that reads the Gramian,
    a warm-up step costs as much as scalarization: `fit` computes no task gradients. (A custom loop
    does in each step.) Other wrappers go inside: `WarmUp(TaskSubset(UPGrad(), 4), 1000)`.

    Heads are scaled by the static weights during the warm-up, and then as by the method.

    Args:
        combiner: The method used after the warm-up.
        steps: Length of the warm-up, at least 1.
        weights: Static weights of the warm-up, as for `StaticWeights`; equal by default.

    Raises:
        ValueError: If `steps` is less than one, the weights are invalid, or the combiner changes
            the gradients themselves at the `"representation"`.

    Example:
    >>> combiner = WarmUp(UPGrad(), steps=1000)

    Reference:
        Common practice; Lin et al., *Smooth Tchebycheff Scalarization for Multi-Objective
        Optimization* (2024) has such a warm-up.
    """

    is_outermost = True

    def __init__(
        self,
        combiner: Combiner,
        steps: int,
        weights: Annotated[PerTask | None, Ratios()] = None,
        name: str | None = None,
    ):
        super().__init__(combiner, name=name)
        check_count(steps=steps)
        if self.changes_gradients and self.at != "parameters":
            raise ValueError(
                f"{type(combiner).__name__} merges the gradients of features, but static "
                "weights do not. Use at='parameters'."
            )
        self.steps = steps
        self.static = StaticWeights(weights)

    @property
    def weights_by_task(self) -> Any:
        """The weights of the warm-up, as given."""
        return self.static.weights_by_task

    def bind(self, task_names: Any, variable_paths: Any) -> None:
        super().bind(task_names, variable_paths)
        self.static.bind(task_names, variable_paths)

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.static.build(num_tasks)
        self.step = self.add_state("step", (), dtype="int64")

    def around(self, find: Callable[[tf.Tensor], tf.Tensor], present: tf.Tensor) -> tf.Tensor:
        return self._switched(lambda: find(present), lambda static: static, present)

    def cached_weights(self, present: tf.Tensor) -> tf.Tensor:
        return self.around(super().cached_weights, present)

    def call(
        self,
        task_gradients: list[tf.Tensor],
        task_losses: tf.Tensor,
        present: tf.Tensor,
        counts: tf.Tensor,
    ) -> Combined:
        if not self.changes_gradients:
            return super().call(task_gradients, task_losses, present, counts)
        return self._switched(
            lambda: self.combiner.call(task_gradients, task_losses, present, counts),
            lambda static: Combined(gradients.weighted_sum(task_gradients, static), static),
            present,
        )

    def next_step(self, iterations: int) -> int:
        # A finished warm-up does not restart with a new optimizer.
        return int(keras.ops.convert_to_numpy(self.step)) if self.built else iterations

    def takes_gradients_at(self, step: int) -> bool:
        return step == self.steps or (step > self.steps and super().takes_gradients_at(step))

    def head_weights(self, task_weights: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        # The step counter has been advanced by now.
        own = super().head_weights(task_weights, present)
        return tf.where(self.step <= self.steps, task_weights, own)

    def after_step(self, before: tf.Tensor, after: tf.Tensor, present: tf.Tensor) -> None:
        rests = self.step <= self.steps
        self._resting(lambda: self.combiner.after_step(before, after, present), rests)

    def _switched(
        self, find: Callable[[], Found], of_static: Callable[[tf.Tensor], Found], present: tf.Tensor
    ) -> Found:
        """Advances the step; returns the result of the static weights or of the method."""
        warming = self.step < self.steps
        self.step.assign_add(1)
        found = self._resting(find, warming)
        ones = tf.cast(present, tf.float32)
        static = of_static(self.static.task_weights(ones, present, ones))
        return tf.nest.map_structure(lambda one, two: tf.where(warming, one, two), static, found)

    def _resting(self, function: Callable[[], Found], rests: tf.Tensor) -> Found:
        """Calls a function, and undoes its changes to the method's state where `rests`."""
        before = [(v, tf.identity(tf.convert_to_tensor(v))) for v in self.combiner.variables]
        result = function()
        for variable, value in before:
            variable.assign(tf.where(rests, value, tf.convert_to_tensor(variable)))
        return result

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weights": self.weights_by_task}
