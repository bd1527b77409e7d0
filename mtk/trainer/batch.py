"""Parses the forms of a batch into a common one."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from mtk.display import counted, suggestion
from mtk.finite import asserted, nan_unless

# Explains the parts in errors about batches that do not divide.
_PARTS = "The number of parts is `micro_batches` times the parts that the combiner compares."


class Label(NamedTuple):
    """The labels of one task.

    Attributes:
        task: The task's index.
        y_true: Labels `(B, ...)`.
        mask: Zero where a label is missing, its weight elsewhere; None if none is missing.
        member: `(B,)`, one where an example of a mixed batch belongs to the task; None if all do.
        has_own_input: Whether the examples belong to this task alone.
        importance: `(B,)`: weight of each example's losses in training, if a combiner weighs
            examples; metrics ignore it.
    """

    task: int
    y_true: tf.Tensor
    mask: tf.Tensor | None = None
    member: tf.Tensor | None = None
    has_own_input: bool = False
    importance: tf.Tensor | None = None


class SubBatch(NamedTuple):
    """One forward pass: the network's inputs and the labels for its outputs.

    Attributes:
        inputs: Inputs of the network.
        labels: The labels of some tasks.
        part: Index of the part that a combiner compares, from zero; see `parts.py`.
    """

    inputs: Any
    labels: list[Label]
    part: int = 0


def parse(data: Any, task_names: Sequence[str]) -> list[SubBatch]:
    """Parses a batch into sub-batches, with one forward pass each.

    A batch is one of

    * `(x, y)` or `(x, y, mask)`: tasks that share their input. `y` is `{task: labels}`, or a list
      or tuple in task order, with None for a task without labels; for a single task also just its
      labels, and for K tasks a matrix `(B, K)` of one number each. Masks have the same forms, or
      one `(B,)` for all tasks;
    * `{task: (x, y)}` or `{task: (x, y, mask)}`: tasks with their own inputs, one sub-batch each;
    * `(x, y, task_ids)` or `(x, y, task_ids, mask)`: a mixed batch of such tasks, where the
      integers `task_ids` `(B,)`, from 0 to K - 1, give the task of each example.

    Args:
        data: The batch.
        task_names: Names of the K tasks.

    Raises:
        ValueError: If the batch has another form, lacks a task or has an unknown one.
    """
    data = as_tensors(data)
    if isinstance(data, Mapping):
        _check_names(data, task_names, "A batch of tasks with inputs of their own")
        return [_own_input(data[name], index, name) for index, name in enumerate(task_names)]
    if isinstance(data, (tuple, list)) and 2 <= len(data) <= 4:
        inputs, labels, *rest = data
        if _is_mixed(labels, rest, len(task_names)):
            return [_mixed(inputs, labels, rest[0], rest[1:], task_names)]
        by_task = _by_task(labels, task_names, "labels")
        if by_task is not None and len(rest) <= 1:
            masks = _masks(rest[0], task_names) if rest else {}
            own = [Label(k, by_task[n], masks.get(n)) for k, n in enumerate(task_names)]
            return [SubBatch(inputs, [label for label in own if label.y_true is not None])]
    raise ValueError(
        "A batch must be `(x, {task: y})`, `(x, {task: y}, {task: mask})`, `{task: (x, "
        f"y)}}`, or `(x, y, task_ids)`. The tasks are {list(task_names)}. Received: "
        f"{_describe(data)}"
    )


def as_tensors(data: Any) -> Any:
    """Returns a batch of tensors, without the parts that Keras pads with None.

    An eager step gets arrays from Keras.
    """

    def as_tensor(part: Any) -> Any:
        return tf.convert_to_tensor(part) if isinstance(part, (np.ndarray, np.generic)) else part

    return without_nones(tf.nest.map_structure(as_tensor, data))


def without_nones(data: Any) -> Any:
    """Drops the parts that Keras pads with None."""
    if isinstance(data, (tuple, list)):
        return tuple(part for part in data if part is not None)
    return data


def inputs_of(data: Any) -> Any:
    """Returns the network's inputs in a batch, or in a batch's spec."""
    if isinstance(data, Mapping):
        data = next(iter(data.values()))
    # `parse` rejects batches of other forms.
    return data[0] if isinstance(data, (tuple, list)) and data else data


def spec_of(data: Any) -> Any:
    """Returns the spec of one replica's part of a batch, or of the batches of a dataset."""

    def of_one_replica(spec: Any) -> Any:
        spec = spec._value_specs[0] if hasattr(spec, "_value_specs") else spec
        return spec if hasattr(spec, "shape") else None  # None for None.

    spec = getattr(data, "element_spec", None)
    if spec is None:
        spec = tf.nest.map_structure(tf.type_spec_from_value, as_tensors(data))
    return tf.nest.map_structure(of_one_replica, spec)


def all_inputs(sub_batches: Sequence[SubBatch]) -> Any:
    """Returns the network's inputs in a batch; a list for tasks with their own inputs."""
    found = [part.inputs for part in sub_batches]
    return found[0] if len(found) == 1 else found


def is_shared_input(sub_batches: Sequence[SubBatch]) -> bool:
    """Whether one forward pass serves all tasks."""
    return len(sub_batches) == 1


def size(inputs: Any) -> int | tf.Tensor:
    """Returns the number of examples, as a Python integer if it is known statically."""
    first = next(part for part in tf.nest.flatten(inputs) if part is not None)
    if isinstance(first, tf.SparseTensor):
        return tf.cast(first.dense_shape[0], tf.int32)
    if isinstance(first, tf.RaggedTensor):
        return first.nrows(tf.int32)
    known = first.shape[0]
    return tf.shape(first)[0] if known is None else known


def size_of_part(sub_batch: SubBatch, number: int) -> int | tf.Tensor:
    """Returns the number of examples in each of several equal parts.

    Args:
        sub_batch: The sub-batch to divide. If its size is not known statically, an indivisible size
            raises an error within the step.
        number: Number of parts.

    Raises:
        ValueError: If the number of examples is not divisible.
    """
    examples = size(sub_batch.inputs)
    if isinstance(examples, int):
        check_divisible(examples, number)
        return examples // number
    message = (
        f"A batch cannot be split into {number} equal parts. {_PARTS} Use batch sizes that "
        f"are multiples of {number}, for the last one too: `batch(n, drop_remainder=True)`."
    )
    return asserted(examples % number == 0, message, examples // number)


def check_divisible(examples: int | None, number: int) -> None:
    """Raises a ValueError if the examples of a replica do not divide into equal parts."""
    if examples is not None and examples % number:
        raise ValueError(
            f"{counted(examples, 'example')} cannot be split into {number} equal parts. "
            f"{_PARTS} Choose a batch size that is a multiple of {number} for each replica, and "
            "drop a smaller last batch."
        )


def _is_mixed(labels: Any, rest: Sequence, num_tasks: int) -> bool:
    """Whether the third part holds task ids; with one task it is a mask."""
    has_ids = bool(rest) and tf.is_tensor(rest[0]) and rest[0].dtype.is_integer
    return tf.is_tensor(labels) and has_ids and num_tasks > 1


def _by_task(given: Any, names: Sequence[str], what: str) -> dict[str, Any] | None:
    """Returns `{task: part}` for any form of the parts, or None for an unknown form."""
    if isinstance(given, Mapping):
        _check_names(given, names, f"The {what} of a batch")
        return dict(given)
    if isinstance(given, (list, tuple)):
        if len(given) != len(names):
            raise ValueError(
                f"The {what} of a batch must be a list with one entry for each task, in the "
                f"order {list(names)}. Received: {_describe(given)}"
            )
        return dict(zip(names, given, strict=True))
    if tf.is_tensor(given) and len(names) == 1:
        return {names[0]: given}
    if isinstance(given, tf.Tensor) and given.shape.rank == 2 and given.shape[1] == len(names):
        return dict(zip(names, tf.unstack(given, axis=1), strict=True))
    return None


def _masks(given: Any, names: Sequence[str]) -> dict[str, Any]:
    if isinstance(given, Mapping):
        unknown = sorted(set(given) - set(names))
        if unknown:
            raise ValueError(
                f"The batch has masks for unknown tasks {unknown}; known: {list(names)}."
                f"{suggestion(unknown, names)}"
            )
        return dict(given)
    found = _by_task(given, names, "masks")
    if found is None and isinstance(given, tf.Tensor) and given.shape[1:].num_elements() == 1:
        return dict.fromkeys(names, given)
    if found is None:
        raise ValueError(
            "The third part of a batch must be `{task: mask}`, with a mask for each task "
            "that has missing labels, or one mask `(B,)` for all tasks. Received: "
            f"{_describe(given)}"
        )
    return found


def _own_input(part: Any, index: int, name: str) -> SubBatch:
    part = without_nones(part)
    if not isinstance(part, (tuple, list)) or not 2 <= len(part) <= 3:
        raise ValueError(
            f"The sub-batch of task '{name}' must be `(x, y)` or `(x, y, mask)`. Received: "
            f"{_describe(part)}"
        )
    inputs, y_true, *mask = part
    return SubBatch(inputs, [Label(index, y_true, mask[0] if mask else None, has_own_input=True)])


def _mixed(
    inputs: Any, y_true: tf.Tensor, task_ids: tf.Tensor, rest: Sequence, names: Sequence[str]
) -> SubBatch:
    number, mask = len(names), rest[0] if rest else None
    message = f"`task_ids` must be from 0 to {number - 1}, in the order of the tasks {list(names)}."
    known = (task_ids >= 0) & (task_ids < number)
    task_ids = asserted(tf.reduce_all(known), message, task_ids)
    # With XLA, an unknown id makes the losses NaN.
    poison = nan_unless(known, tf.zeros_like(task_ids, tf.float32))
    members = [tf.cast(tf.equal(task_ids, k), tf.float32) + poison for k in range(number)]
    return SubBatch(inputs, [Label(k, y_true, mask, member) for k, member in enumerate(members)])


def _check_names(found: Mapping, names: Sequence[str], what: str) -> None:
    missing, unknown = sorted(set(names) - set(found)), sorted(map(str, set(found) - set(names)))
    if missing or unknown:
        raise ValueError(
            f"{what} must have one entry for each task, {list(names)}. Missing: {missing}. "
            f"Unknown: {unknown}.{suggestion(unknown, names)} A task without labels in a batch "
            "still needs its entry, with a mask of zeros, or None."
        )


def _describe(data: Any) -> str:
    if isinstance(data, Mapping):
        return "{" + ", ".join(f"{key}: {_describe(value)}" for key, value in data.items()) + "}"
    if isinstance(data, (tuple, list)):
        return "(" + ", ".join(_describe(part) for part in data) + ")"
    return f"{getattr(data, 'dtype', type(data).__name__)}{getattr(data, 'shape', '')}"
