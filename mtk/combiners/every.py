"""A wrapper that computes weights every few steps."""

from collections.abc import Callable

import keras
import tensorflow as tf

from mtk.combiners.base import Combiner
from mtk.combiners.task_subset import TaskSubset
from mtk.combiners.wrapper import Wrapper
from mtk.ranges import check_count


@keras.saving.register_keras_serializable("mtk")
class Every(Wrapper):
    """Computes a method's weights every `steps` steps and reuses the last ones in between.

    Most methods have this as `update_every`; the wrapper provides it for all that end in weights,
    including other wrappers. A step with reused weights costs one backward pass, as scalarization.
    (In a custom training loop, each call computes new weights.)

    In a step with reused weights, a task without labels has weight zero, and the other weights are
    scaled as if it had the mean weight. The mean scale and the behavior under permuted tasks are
    those of the method; freedom from conflicts holds for the gradients of the update only.

    Args:
        combiner: The method, which reads the Gramian and weighs whole gradients.
        steps: Number of steps between updates of the weights, at least 1.

    Raises:
        ValueError: If `steps` is less than one, or the combiner reads losses (it costs one pass in
            any case), changes the gradients themselves, draws a subset of the tasks, or already
            reuses its weights.

    Example:
    >>> combiner = Every(CRMOGM(UPGrad()), steps=10)

    Reference:
        Navon et al., *Multi-Task Learning as a Bargaining Game* (2022), which saves time this way.
    """

    def __init__(self, combiner: Combiner, steps: int, name: str | None = None):
        super().__init__(combiner, name=name)
        check_count(steps=steps)
        what = type(combiner).__name__
        if self.reads != "gramian" or self.changes_gradients:
            raise ValueError(
                f"Every reuses weights that are computed from task gradients. {what} reads "
                f"{self.reads}"
                + (" and changes the gradients." if self.changes_gradients else ".")
                + " Use it without Every."
            )
        if isinstance(combiner, TaskSubset):
            raise ValueError(
                "Every would reuse the weights of one task subset, but TaskSubset draws "
                "another subset at each step. Use only one of the two."
            )
        if self.update_every != 1:
            raise ValueError(
                f"{what} already computes its weights every {self.update_every} steps. Set the "
                "number in only one of the two."
            )
        self.update_every = self.steps = steps

    def around(self, find: Callable[[tf.Tensor], tf.Tensor], present: tf.Tensor) -> tf.Tensor:
        return find(present)

    def takes_gradients_at(self, step: int) -> bool:
        return step % self.steps == 0
