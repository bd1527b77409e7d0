"""One number for each task, however the user gave them."""

from collections.abc import Mapping, Sequence

PerTask = float | Mapping[str, float] | Sequence[float]


def in_task_order(
    what: str, values: PerTask, task_names: Sequence[str] | None, num_tasks: int
) -> list[float]:
    """Returns K numbers in the order of the tasks.

    Args:
        what: Name of the argument, for messages.
        values: One number for all tasks, a sequence of K, or a dict by task name.
        task_names: Names of the tasks, if they are known.
        num_tasks: K.

    Raises:
        ValueError: If the numbers do not match the tasks.
    """
    if isinstance(values, Mapping):
        names = task_names or ()
        if set(names) != set(values):
            raise ValueError(
                f"`{what}` is given for {sorted(values)}, but the tasks are {sorted(names)}. "
                "Give one number to each task."
            )
        return [float(values[name]) for name in names]
    if not isinstance(values, Sequence):
        return [float(values)] * num_tasks
    if len(values) != num_tasks:
        raise ValueError(
            f"`{what}` has {len(values)} numbers for {num_tasks} tasks. "
            "Give one number to each task, or a single one for all."
        )
    return [float(value) for value in values]
