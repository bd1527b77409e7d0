"""Arguments with one number for each task, in any accepted form."""

from collections.abc import Mapping, Sequence

import numpy as np

from mtk.display import counted, suggestion
from mtk.ranges import check_constant

PerTask = float | Mapping[str, float] | Sequence[float] | np.ndarray


def plain(what: str, values: PerTask) -> float | dict[str, float] | list[float]:
    """Returns the numbers as plain Python objects, which a config can contain.

    Args:
        what: Name of the argument, for messages.
        values: A number, an array or other sequence of numbers, or a dict by task name.

    Raises:
        ValueError: If they are something else, or variables.
    """
    check_constant(what, values)
    return _plain(what, values)


def _plain(what: str, values: PerTask) -> float | dict[str, float] | list[float]:
    try:
        if isinstance(values, Mapping):
            return {name: float(value) for name, value in values.items()}
        array = np.asarray(values, float)
        if array.ndim > 1:
            raise ValueError(f"It has {array.ndim} dimensions.")
        return array.tolist()
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{what}` must be a number, a sequence with one number for each task, or a dict by "
            f"task name. Received: {values!r}"
        ) from error


def in_task_order(
    what: str, values: PerTask, task_names: Sequence[str] | None, num_tasks: int
) -> list[float]:
    """Returns K numbers in the order of the tasks.

    Args:
        what: Name of the argument, for messages.
        values: One number for all tasks, an array or other sequence of K, or a dict by task name.
        task_names: Names of the tasks, if known.
        num_tasks: K.

    Raises:
        ValueError: If the numbers do not match the tasks.
    """
    numbers = _plain(what, values)
    if isinstance(numbers, float):
        return [numbers] * num_tasks
    if isinstance(numbers, dict):
        names = task_names or ()
        if set(names) != set(numbers):
            raise ValueError(
                f"`{what}` is given for {sorted(numbers)}, but the tasks are "
                f"{sorted(names)}.{suggestion(numbers, names)} Give one number for each task."
            )
        return [numbers[name] for name in names]
    if len(numbers) != num_tasks:
        raise ValueError(
            f"`{what}` has {counted(len(numbers), 'number')} for {counted(num_tasks, 'task')}. "
            "Give one number for each task, or a single number for all tasks."
        )
    return numbers
