"""Static weights: scalarization, the baseline of every comparison."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from mtk.combiners.losses import LossCombiner
from mtk.display import suggestion
from mtk.per_task import PerTask, in_task_order, plain
from mtk.ranges import are_weights
from mtk.ratios import Ratios

# Maps the number of steps taken to a factor: a Keras schedule, or a function traced in the graph.
Schedule: TypeAlias = (
    keras.optimizers.schedules.LearningRateSchedule | Callable[[tf.Tensor], tf.Tensor]
)


@keras.saving.register_keras_serializable("mtk")
class StaticWeights(LossCombiner):
    """Minimizes a fixed weighted average of the task losses.

    `L = sum_i w_i L_i`, with the weights normalized to a sum of one. They are renormalized over the
    tasks present in a batch.

    With a `schedule` the weights change over the steps, or by `assign` from a callback, and no
    longer are the baseline of a comparison.

    Args:
        weights: The K weights, as an array or other sequence in task order, or as a dict by task
            name; nonnegative, at least one positive. Equal by default.
        schedule: Dict from task name to the factor of its weight: one of
            `keras.optimizers.schedules`, or a function of the step as a float. Other tasks keep
            their weight. An empty dict only enables `assign`.

    Raises:
        ValueError: If a weight is negative or not finite, if all are zero, or, once the tasks are
            known, if weights or schedule do not match them.

    Example:
    >>> later = keras.optimizers.schedules.PiecewiseConstantDecay([1000], [0.0, 1.0])
    >>> combiner = StaticWeights({"main": 1.0, "auxiliary": 0.5}, schedule={"auxiliary": later})

    Reference:
        Boyd & Vandenberghe, *Convex Optimization* (2004), section 4.7.4.
    """

    loss_independent = True

    def __init__(
        self,
        weights: Annotated[PerTask | None, Ratios()] = None,
        schedule: Mapping[str, Schedule] | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        given = 1.0 if weights is None else plain("weights", weights)
        _check(list(given.values()) if isinstance(given, dict) else np.atleast_1d(given), weights)
        wrong = [task for task, each in (schedule or {}).items() if not callable(each)]
        if wrong:
            raise ValueError(
                "`schedule` must map tasks to schedules or functions of the step, but the "
                f"entry of {wrong} is neither. Received: {schedule!r}"
            )
        self._weights_by_task = given
        self.schedule = None if schedule is None else dict(schedule)

    @property
    def is_static(self) -> bool:  # type: ignore[override]
        """Whether the weights are the same at every step."""
        return self.schedule is None

    @property
    def weights_by_task(self) -> float | Sequence[float] | Mapping[str, float]:
        """The weights as given."""
        return self._weights_by_task

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.normalized = self._normalized(self.weights_by_task)
        if self.schedule is None:
            return
        unknown = sorted(set(self.schedule) - set(self.task_names or ()))
        if unknown:
            raise ValueError(
                f"`schedule` is given for {unknown}, but the tasks are {self.task_names}."
                f"{suggestion(unknown, self.task_names or ())}"
            )
        self.step = self.add_state("step", (), dtype="int64")
        self.assigned = self.add_state("assigned", (num_tasks,))
        self.assigned.assign(self.normalized)

    def _normalized(self, weights: Any) -> list[float]:
        found = in_task_order("weights", weights, self.task_names, self.num_tasks)
        return [weight / sum(found) for weight in found]

    def assign(self, weights: PerTask) -> None:
        """Changes the weights from the next step on, for use in callbacks.

        Args:
            weights: As for the class. A schedule multiplies them.

        Raises:
            ValueError: If they do not match the tasks, or the combiner has no `schedule`.
        """
        if self.schedule is None:
            raise ValueError(
                "These weights cannot be changed because traced steps contain them. For "
                "weights that change, give a schedule, which can be empty: StaticWeights(weights, "
                "schedule={})."
            )
        found = in_task_order("weights", weights, self.task_names, self.num_tasks)
        _check(found, weights)
        self.assigned.assign(self._normalized(weights))

    def task_weights(
        self, task_losses: tf.Tensor, present: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        del task_losses, counts
        now = tf.constant(self.normalized) if self.schedule is None else self._scheduled()
        weights = now * tf.cast(present, tf.float32)
        return tf.math.divide_no_nan(weights, tf.reduce_sum(weights))

    def _scheduled(self) -> tf.Tensor:
        """Returns the weights of this step, and advances the step counter."""
        assert self.schedule is not None
        # A float, so that functions can compute with it as in Python.
        step = tf.cast(self.step.value, tf.float32)
        self.step.assign_add(1)
        each = [self.schedule.get(name) for name in self.task_names or ()]
        factors = [1.0 if of is None else tf.cast(of(step), tf.float32) for of in each]
        return tf.convert_to_tensor(self.assigned.value) * tf.stack(factors)

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        schedule = self.schedule and {task: serialize(own) for task, own in self.schedule.items()}
        return {**super().get_config(), "weights": self.weights_by_task, "schedule": schedule}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "StaticWeights":
        restore = keras.saving.deserialize_keras_object
        schedule = config.get("schedule")
        if schedule:
            schedule = {task: restore(own) for task, own in schedule.items()}
        return cls(**{**config, "schedule": schedule})


def _check(values: Sequence[float] | np.ndarray, given: Any) -> None:
    if not are_weights(values):
        raise ValueError(
            "Static weights must be finite, non-negative numbers with a finite, non-zero sum. "
            f"Received: {given}"
        )
