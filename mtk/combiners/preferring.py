"""Base class of the Gramian methods that take a preference."""

from typing import Annotated

import tensorflow as tf

from mtk.combiners import preference as preferences
from mtk.combiners.base import Place
from mtk.combiners.gramian import GramianCombiner
from mtk.per_task import PerTask
from mtk.ratios import Ratios


class PreferringCombiner(GramianCombiner):
    """A Gramian combiner with a preference vector over the tasks.

    Args:
        preference: One number per task, by name or in task order; equal by default. A task with a
            preference of zero is excluded.
        at: Where the gradients are taken; see `Combiner`.
        update_every: Number of steps between updates of the weights.

    Raises:
        ValueError: If `update_every` is less than one, the preference negative, infinite, NaN or
            all zero, or, once the tasks are known, if it does not match them.
    """

    def __init__(
        self,
        preference: Annotated[PerTask | None, Ratios()] = None,
        at: Place = "parameters",
        update_every: int = 1,
        name: str | None = None,
    ):
        super().__init__(at=at, update_every=update_every, name=name)
        self.preference = preferences.checked(preference)

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.preferred = preferences.in_order(self.preference, self.task_names, num_tasks)

    def takes_part(self, present: tf.Tensor) -> tf.Tensor:
        """Returns which tasks are present and have a positive preference, `(K,)`.

        Args:
            present: Boolean tensor `(K,)`.
        """
        return present & (tf.constant(self.preferred) > 0.0)
