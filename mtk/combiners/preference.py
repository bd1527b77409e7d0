"""Preferences: one number per task, its importance to the user."""

from collections.abc import Sequence

import tensorflow as tf

from mtk.per_task import PerTask, in_task_order, plain
from mtk.ranges import are_weights


def checked(
    preference: PerTask | None, what: str = "preference"
) -> float | dict[str, float] | list[float] | None:
    """Returns a preference as Python numbers, which a config can hold.

    Args:
        preference: The K numbers, as an array or other sequence in task order, or as a dict by task
            name; nonnegative, at least one positive. Only their ratios matter. None for equal ones.
        what: Name of the argument, for messages.

    Raises:
        ValueError: If a number is negative, infinite or NaN, or if all are zero.
    """
    if preference is None:
        return None
    given = plain(what, preference)
    numbers = list(given.values()) if isinstance(given, dict) else given
    numbers = [numbers] if isinstance(numbers, float) else numbers
    if not are_weights(numbers):
        raise ValueError(
            f"`{what}` must have one finite, non-negative number for each task, not all zero. "
            f"Received: {preference!r}"
        )
    return given


def in_order(
    preference: PerTask | None,
    task_names: Sequence[str] | None,
    num_tasks: int,
    what: str = "preference",
) -> tuple[float, ...]:
    """Returns a preference in task order, divided by its largest number.

    Args:
        preference: The return value of `checked`.
        task_names: Names of the tasks, if known.
        num_tasks: K.
        what: Name of the argument, for messages.

    Raises:
        ValueError: If the numbers do not match the tasks.
    """
    given = 1.0 if preference is None else preference
    numbers = in_task_order(what, given, task_names, num_tasks)
    return tuple(number / max(numbers) for number in numbers)


def of_present(
    preference: Sequence[float], present: tf.Tensor, dtype: tf.DType
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns which tasks take part in a step, and their preferences.

    A task with a preference of zero is excluded, as if it had no label in the batch.

    Args:
        preference: The K numbers of `in_order`.
        present: Boolean tensor `(K,)`.
        dtype: Type of the preferences to return.

    Returns:
        Which tasks take part, boolean tensor `(K,)`, and their preferences, tensor `(K,)`: with a
        mean of one over these tasks, zero for the others.
    """
    numbers = tf.constant(preference, dtype)
    takes_part = present & (numbers > 0.0)
    numbers = tf.where(takes_part, numbers, tf.zeros_like(numbers))
    count = tf.reduce_sum(tf.cast(takes_part, dtype))
    return takes_part, tf.math.divide_no_nan(numbers * count, tf.reduce_sum(numbers))
