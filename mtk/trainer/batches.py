"""The three forms of a batch, brought into one."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf


class Label(NamedTuple):
    """The labels of one task.

    Attributes:
        task: The task's index.
        y_true: Labels `(B, ...)`.
        mask: Zero where a label is missing, or None if none is.
        member: `(B,)`, one where an example of a mixed batch is the task's, or None if all are.
    """

    task: int
    y_true: tf.Tensor
    mask: tf.Tensor | None = None
    member: tf.Tensor | None = None


class Share(NamedTuple):
    """One forward pass: what the network reads and whose labels its output answers."""

    inputs: Any
    labels: list[Label]


def parse(data: Any, task_names: Sequence[str]) -> list[Share]:
    """Brings a batch into the form of shares, each one forward pass.

    A batch is one of

    * `(x, {task: y})` or `(x, {task: y}, {task: mask})`: tasks that share their input;
    * `{task: (x, y)}` or `{task: (x, y, mask)}`: tasks with inputs of their own, a share each;
    * `(x, y, task_ids)` or `(x, y, task_ids, mask)`: a mixed batch of such tasks, where
      `task_ids` `(B,)` tells whose example it is.

    Args:
        data: The batch.
        task_names: Names of the K tasks.

    Raises:
        ValueError: If the batch has another form, lacks a task or names an unknown one.
    """
    data = without_nones(data)
    if isinstance(data, Mapping):
        _check_names(data, task_names, "A batch of tasks with inputs of their own")
        return [_own_share(data[name], index, name) for index, name in enumerate(task_names)]
    if isinstance(data, (tuple, list)) and 2 <= len(data) <= 4:
        inputs, labels, *rest = data
        if isinstance(labels, Mapping) and len(rest) <= 1:
            return [_shared(inputs, labels, rest[0] if rest else None, task_names)]
        if tf.is_tensor(labels) and rest and tf.is_tensor(rest[0]) and rest[0].dtype.is_integer:
            return [_mixed(inputs, labels, rest[0], rest[1:], len(task_names))]
        if tf.is_tensor(labels) and len(task_names) == 1 and len(rest) <= 1:
            mask = rest[0] if rest else None
            return [Share(inputs, [Label(0, labels, mask)])]
    raise ValueError(
        "A batch is `(x, {task: y})`, `(x, {task: y}, {task: mask})`, `{task: (x, y)}`, or "
        f"`(x, y, task_ids)`. Received: {_describe(data)}"
    )


def without_nones(data: Any) -> Any:
    """Drops the parts that Keras fills up with None."""
    if isinstance(data, (tuple, list)):
        return tuple(part for part in data if part is not None)
    return data


def inputs_of(data: Any) -> Any:
    """Returns what the network reads of a batch, or of a batch's spec."""
    if isinstance(data, Mapping):
        data = next(iter(data.values()))
    return data[0]


def of_one_replica(spec: Any) -> Any:
    """Returns the spec of one replica's part of a distributed batch."""
    return spec._value_specs[0] if hasattr(spec, "_value_specs") else spec


def is_shared_input(shares: Sequence[Share]) -> bool:
    """Whether all tasks are answered by one forward pass."""
    return len(shares) == 1


def _shared(inputs: Any, labels: Mapping, masks: Mapping | None, names: Sequence[str]) -> Share:
    _check_names(labels, names, "The labels of a batch")
    if masks is None:
        masks = {}
    elif not isinstance(masks, Mapping):
        raise ValueError(
            "The third part of a batch is `{task: mask}`, with a mask for each task that has "
            f"missing labels. Received: {_describe(masks)}"
        )
    unknown = sorted(set(masks) - set(names))
    if unknown:
        raise ValueError(f"The batch has masks for unknown tasks {unknown}; known: {list(names)}")
    return Share(inputs, [Label(k, labels[n], masks.get(n)) for k, n in enumerate(names)])


def _own_share(part: Any, index: int, name: str) -> Share:
    if not isinstance(part, (tuple, list)) or not 2 <= len(part) <= 3:
        raise ValueError(
            f"The share of task '{name}' is `(x, y)` or `(x, y, mask)`. Received: {_describe(part)}"
        )
    inputs, y_true, *mask = part
    return Share(inputs, [Label(index, y_true, mask[0] if mask else None)])


def _mixed(
    inputs: Any, y_true: tf.Tensor, task_ids: tf.Tensor, rest: Sequence, num_tasks: int
) -> Share:
    mask = rest[0] if rest else None
    members = [tf.cast(tf.equal(task_ids, index), tf.float32) for index in range(num_tasks)]
    return Share(inputs, [Label(k, y_true, mask, member) for k, member in enumerate(members)])


def _check_names(found: Mapping, names: Sequence[str], what: str) -> None:
    missing, unknown = sorted(set(names) - set(found)), sorted(set(found) - set(names))
    if missing or unknown:
        raise ValueError(
            f"{what} must have one entry for each task, {list(names)}. "
            f"Missing: {missing}. Unknown: {unknown}. A task without labels in a batch still has "
            "its entry, with a mask of zeros."
        )


def _describe(data: Any) -> str:
    if isinstance(data, Mapping):
        return "{" + ", ".join(f"{key}: {_describe(value)}" for key, value in data.items()) + "}"
    if isinstance(data, (tuple, list)):
        return "(" + ", ".join(_describe(part) for part in data) + ")"
    return f"{getattr(data, 'dtype', type(data).__name__)}{getattr(data, 'shape', '')}"
