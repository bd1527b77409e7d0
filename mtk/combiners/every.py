"""New weights every few steps."""

from collections.abc import Callable

import keras
import tensorflow as tf

from mtk.combiners.base import Combiner
from mtk.combiners.task_subset import TaskSubset
from mtk.combiners.wrapper import Wrapper
from mtk.ranges import check_count


@keras.saving.register_keras_serializable("mtk")
class Every(Wrapper):
    """Lets a method compute its weights every `steps` steps; in between, the last ones serve.

    Most methods have this as `update_every`; the wrapper gives it to all whose steps end in
    weights, other wrappers among them. A step with kept weights is one of scalarization: one
    backward pass. (In a loop of one's own, each call computes new weights.)

    A task without labels in a step with kept weights has the weight zero; those of the others are
    scaled, as if the absent one had the mean weight. Permutations and the mean scale are as for the
    method; that it conflicts with no gradient holds for the gradients that it saw.

    Args:
        combiner: The method: one that reads the Gramian and weighs whole gradients.
        steps: Steps between two computations of the weights, 1 or more.

    Raises:
        ValueError: If the number of steps is less than one, or the combiner reads losses (it costs
            one pass in any case), merges gradients themselves, draws a subset of the tasks, or
            keeps its weights already.

    Example:
    >>> combiner = Every(CRMOGM(UPGrad()), steps=10)

    Reference:
        Navon et al., *Multi-Task Learning as a Bargaining Game* (2022), which spares time so.
    """

    def __init__(self, combiner: Combiner, steps: int, name: str | None = None):
        super().__init__(combiner, name=name)
        check_count(steps=steps)
        what = type(combiner).__name__
        if self.reads != "gramian" or self.changes_gradients:
            raise ValueError(
                f"Every keeps weights that come of the task gradients. {what} reads {self.reads}"
                + (" and changes the gradients." if self.changes_gradients else ".")
                + " Use it without."
            )
        if isinstance(combiner, TaskSubset):
            raise ValueError(
                "Every would keep weights for the tasks of one draw, and TaskSubset draws others "
                "at each step. Use one of the two."
            )
        if self.update_every != 1:
            raise ValueError(
                f"{what} computes its weights every {self.update_every} steps already. Give the "
                "number to one of the two."
            )
        self.update_every = self.steps = steps

    def around(self, find: Callable[[tf.Tensor], tf.Tensor], present: tf.Tensor) -> tf.Tensor:
        return find(present)

    def takes_gradients_at(self, step: int) -> bool:
        return step % self.steps == 0
