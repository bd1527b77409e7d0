"""Checks of a combiner's call arguments and of what its methods return."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def task_gradients(given: Any, tasks: tf.TensorShape) -> list[tf.Tensor]:
    """Returns task gradients as float32 tensors; float64 ones stay float64.

    Args:
        given: The first argument of a combiner's call.
        tasks: Shape of the task losses.

    Raises:
        ValueError: If it is not a list of tensors `(K, *variable.shape)`.
    """
    wanted = (
        "Task gradients must be a list with one tensor `(K, *variable.shape)` for each variable."
    )
    if not isinstance(given, (list, tuple)):
        raise ValueError(f"{wanted} Received: {type(given).__name__}")
    if missing := [index for index, each in enumerate(given) if each is None]:
        raise ValueError(
            f"{wanted} If a loss does not depend on a variable, use zeros instead of None. "
            f"Received: None for the variables {missing}"
        )
    rows = [tf.convert_to_tensor(each) for each in given]
    if any(not each.shape[: tasks.rank].is_compatible_with(tasks) for each in rows):
        raise ValueError(
            f"{wanted} The task losses have the shape {tasks}. "
            f"Received: {[tuple(each.shape) for each in rows]}"
        )
    return [each if each.dtype == tf.float64 else tf.cast(each, tf.float32) for each in rows]


def task_weights(weights: Any, shape: Sequence[int | None], method: str) -> tf.Tensor:
    """Returns the weights computed by a combiner's method, checked and in float32.

    Args:
        weights: The method's return value.
        shape: The expected shape.
        method: The method's name, such as "MGDA.task_weights".

    Raises:
        ValueError: If the weights have another shape, or are not floating-point numbers.
    """
    found = None if weights is None else tf.convert_to_tensor(weights)
    fits = found is not None and found.shape.is_compatible_with(tf.TensorShape(shape))
    if found is None or not (fits and found.dtype.is_floating):
        received = "None" if found is None else f"shape {found.shape}, {found.dtype.name}"
        raise ValueError(
            f"`{method}` must return the task weights as floating-point numbers of shape "
            f"{tuple(shape)}. Received: {received}"
        )
    return tf.cast(found, tf.float32)


def combined_gradients(combined: Any, wanted: Sequence[tf.TensorShape], method: str) -> None:
    """Checks that the `call` of a combiner returned one gradient for each variable.

    Args:
        combined: The returned gradients.
        wanted: The shapes of the variables.
        method: The method's name, such as "MGDA.call".

    Raises:
        ValueError: If it returned something else.
    """
    shapes = None
    if isinstance(combined, (list, tuple)):
        shapes = [None if each is None else tf.convert_to_tensor(each).shape for each in combined]
    fits = shapes is not None and len(shapes) == len(wanted)
    if not fits or any(
        one is None or not one.is_compatible_with(other)
        for one, other in zip(shapes or (), wanted, strict=False)
    ):
        raise ValueError(
            f"`{method}` must return a `Combined` whose gradients are a list with one tensor "
            f"for each variable, of the shapes {list(map(str, wanted))}. Received: "
            f"{type(combined).__name__ if shapes is None else list(map(str, shapes))}"
        )
