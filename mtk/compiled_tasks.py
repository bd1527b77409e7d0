"""Tasks from Keras' arguments of `compile`: losses, metrics and weights by output."""

import copy
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtk.display import counted, suggestion
from mtk.losses import WeightedSum
from mtk.output_paths import Path, argument_by_name, by_name, nested_paths
from mtk.ranges import are_weights, check_constant
from mtk.tasks import Task, accuracy_by_shape, check_class_weight

# Contents of label arrays that are not real numbers, by dtype kind.
_NO_NUMBERS = {
    "U": "strings",
    "S": "strings",
    "O": "objects",
    "c": "complex numbers",
    "M": "dates",
    "m": "time spans",
}


@dataclass(frozen=True)
class CompiledTasks:
    """Tasks, with the outputs of the network they belong to.

    Attributes:
        tasks: The K tasks.
        outputs: Names of all outputs, in order.
        paths: Path of each output, if they are nested.
        loss_weights: Weights of the tasks in the sum of the losses; None if there is no sum.
        listed: Names of all outputs, in the order of lists with one item per output.
    """

    tasks: list[Task]
    outputs: Sequence[str]
    paths: Mapping[str, Path] = field(default_factory=dict)
    loss_weights: list[float] | None = None
    listed: Sequence[str] = ()

    @property
    def task_names(self) -> list[str]:
        """Names of the tasks."""
        return [task.name for task in self.tasks]

    def of_tasks(self, data: Any) -> Any:
        """Returns a batch with labels and weights of tasks only, by name if they are nested.

        Args:
            data: `(x, y)` or `(x, y, sample_weight)`; any other form is returned unchanged.
        """
        names, outputs = self.task_names, self.outputs
        if not _is_sequence(data) or not outputs:
            return data

        def selected(part: Any) -> Any:
            part = self._by_name(part)
            if isinstance(part, Mapping):
                return {n: own for n, own in part.items() if n in names or n not in outputs}
            return part

        return (data[0], *map(selected, data[1:]))

    def _by_name(self, part: Any) -> Any:
        """Returns labels or weights by output name, if there is one item per output."""
        part = by_name(part, self.paths)
        if _is_sequence(part) and len(part) == len(self.listed):
            return dict(zip(self.listed, part, strict=True))
        return part

    def completed(self, y: Any, sample_weight: Any = None) -> Any:
        """Returns sample weights in the structure of the labels, as Keras requires.

        Args:
            y: The labels of all outputs.
            sample_weight: `{output: weights}` for some of the outputs, with ones for the others; a
                list in their order, one array for all, or None.

        Raises:
            ValueError: If a name or the length of the list does not match, or labels are not
                numbers.
        """
        labels = self._by_name(y)
        check_labels(labels, self.tasks, may_be_nan=sample_weight is not None)
        if self.paths or not (isinstance(sample_weight, Mapping) or _is_sequence(sample_weight)):
            return sample_weight
        found = by_output("sample_weight", sample_weight, self.listed or self.outputs)

        def of(name: str, labels: Any) -> Any:
            return np.ones(len(labels), "float32") if found.get(name) is None else found[name]

        if isinstance(y, Mapping):
            return {name: of(name, labels) for name, labels in y.items()}
        if _is_sequence(y) and len(y) == len(self.listed):
            return type(y)(of(name, own) for name, own in labels.items())
        return sample_weight

    def weighed(self, class_weight: Any) -> list[Task]:
        """Returns the tasks with the class weights given to `fit`.

        Args:
            class_weight: `{task: {class: weight}}`, or a list in task order; for a single task also
                `{class: weight}`; or None.

        Raises:
            ValueError: If a name is unknown, or its value does not map classes to weights.
        """
        names, given = self.task_names, class_weight
        if isinstance(given, Mapping) and given and not any(isinstance(key, str) for key in given):
            if len(names) > 1:
                raise ValueError(
                    f"`class_weight` must be a dict by output, such as {{{names[0]!r}: "
                    f"{dict(given)}}}. The outputs are {names}."
                )
            given = {names[0]: given}
        found = by_output("class_weight", given, names)
        tasks = [copy.copy(task) for task in self.tasks]
        for task in tasks:
            own = check_class_weight(task.name, found.get(task.name))
            task.class_weight = own or task.class_weight
        return tasks


def compiled_tasks(
    network: keras.Model,
    loss: Any,
    metrics: Any = None,
    weighted_metrics: Any = None,
    loss_weights: Any = None,
    outputs: Any = None,
) -> CompiledTasks:
    """Makes a task for each output that has a loss.

    Args:
        network: The network.
        loss: `{output: loss}`; a list in the order of the outputs; or one for all. An output whose
            loss is None is not a task; a list of losses for one output is summed.
        metrics: `{output: metric or list of metrics}`, or a list of these in the order of the
            outputs. With one output also a list of its metrics.
        weighted_metrics: As `metrics`.
        loss_weights: As `loss`; for an output with a list of losses also a list of weights.
        outputs: Symbolic outputs, for a network whose outputs are otherwise unknown.

    Returns:
        The tasks in the order of the outputs. Their sample weights act as in Keras, not as masks.

    Raises:
        ValueError: If a name or a length does not match the outputs, no output has a loss, or the
            outputs are not known.
    """
    if outputs is None and not tells_outputs(network, loss):
        raise ValueError(
            f"The outputs of the network {network.name!r} are unknown before it is called. Give "
            "`loss` as a dict by output name, {output: loss}."
        )
    outputs = symbolic_outputs(network) if outputs is None else outputs
    names, paths = output_names(network, loss, outputs), nested_paths(outputs)
    listed = listed_names(names, loss if outputs is None else outputs)
    loss, weights, metrics, weighted_metrics = (
        argument_by_name(what, given, outputs, paths)
        for what, given in (
            ("loss", loss),
            ("loss_weights", loss_weights),
            ("metrics", metrics),
            ("weighted_metrics", weighted_metrics),
        )
    )
    losses = _losses(loss, weights, listed)
    found = _metrics("metrics", metrics, listed)
    weighted = _metrics("weighted_metrics", weighted_metrics, listed)
    _check_losses(losses, [name for name in names if found[name] or weighted[name]])
    tasks = []
    for position, name in enumerate(names):
        if name in losses:
            each = (losses[name], found[name], None, weighted[name])
            tasks.append(Task(name, *each, mask_zero=False))
            tasks[-1].path = paths.get(name, (position,))
    of_each = _is_sequence(weights) and len(weights) == len(listed)
    learned = [name for name in listed if of_each or name in losses]
    factors = dict(zip(learned, weights_by_task(weights, learned), strict=True))
    return CompiledTasks(tasks, names, paths, [factors[task.name] for task in tasks], listed)


def _check_losses(losses: Mapping[str, Any], measured: Sequence[str]) -> None:
    """Checks that losses have a reduction, and that outputs with metrics have a loss."""
    without = sorted({*measured} - {*losses})
    if without or not losses:
        what = f"The outputs {without} have metrics and" if without else "All outputs have"
        watch = (
            " To only monitor an output, give it any loss with weight zero, "
            f"`loss_weights={{{without[0]!r}: 0, ...}}`; the others then train as if it had no "
            "loss."
            if without
            else ""
        )
        raise ValueError(
            f"{what} no loss. Give a loss for each output to be trained: `loss=`.{watch}"
        )
    for name, loss in losses.items():
        if getattr(loss, "reduction", None) == "none":
            raise ValueError(
                f"The loss of {name!r} has reduction='none', which Keras treats as a sum. "
                "Set it explicitly: reduction='sum' or 'sum_over_batch_size'."
            )


def listed_names(names: Sequence[str], outputs: Any) -> list[str]:
    """Returns the names of outputs in the order of lists with one item per output.

    Keras sorts the keys of a dict.

    Args:
        names: Names of the outputs.
        outputs: The network's outputs, or a value of the same structure.
    """
    is_sorted = isinstance(outputs, Mapping) and not isinstance(outputs, OrderedDict)
    return sorted(names) if is_sorted else list(names)


def by_column(given: Any, names: Sequence[str]) -> Any:
    """Returns the columns of a table of labels or weights by name; anything else unchanged.

    Args:
        given: Any value; a table is, for instance, a `pandas.DataFrame`.
        names: Names of the tasks. The labels of a single task may have columns of any name.

    Raises:
        ValueError: If a task has no column, since the order of columns is no substitute.
    """
    if len(names) < 2 or not (hasattr(given, "columns") and hasattr(given, "to_numpy")):
        return given
    columns = [*given.columns]
    if missing := sorted({*names} - {*columns}):
        raise ValueError(
            f"A table of labels must have a column named after each task. Missing: {missing}. "
            f"Its columns are {columns}. Alternatively, give {{task: labels}}."
        )
    return {name: given[name].to_numpy() for name in columns}


def check_labels(y: Any, tasks: Sequence[Task], may_be_nan: bool = False) -> None:
    """Raises a ValueError for label arrays that are not numbers, or NaN but not masked.

    Custom losses are exempt from the NaN check, since they may skip NaN themselves.

    Args:
        y: `{task: labels}`, a list in task order, or the labels of a single task.
        tasks: The tasks.
        may_be_nan: Whether masks may mark missing labels.
    """
    if _is_sequence(y) and len(y) == len(tasks):
        y = {task.name: labels for task, labels in zip(tasks, y, strict=True)}
    each = y if isinstance(y, Mapping) else {tasks[0].name: y} if len(tasks) == 1 else {}
    numbers = {n: len(a) for n, a in each.items() if isinstance(a, np.ndarray) and a.ndim}
    if len(set(numbers.values())) > 1:
        raise ValueError(
            "The labels of all tasks must have one row for each example; mark missing labels "
            f"with a mask, see `mtk.Task(missing=...)`. Received numbers of rows: {numbers}"
        )
    for task in tasks:
        labels = each.get(task.name)
        if hasattr(labels, "to_numpy") or isinstance(labels, tf.Tensor):  # For instance of pandas.
            labels = np.asarray(labels)
        if not isinstance(labels, np.ndarray):
            continue
        kind = labels.dtype.kind
        if kind in _NO_NUMBERS:
            raise ValueError(
                f"The labels of task '{task.name}' are {_NO_NUMBERS[kind]}. Give an array of "
                "real numbers; `keras.layers.StringLookup` converts strings."
            )
        missing = task.missing is not None and math.isnan(task.missing)
        may_be = missing or may_be_nan or not task.has_keras_loss
        if kind == "f" and not may_be and np.isnan(labels).any():
            number = int(np.isnan(labels).sum())
            raise ValueError(
                f"{counted(number, 'label')} of task '{task.name}' "
                f"{'is' if number == 1 else 'are'} NaN. If NaN marks missing labels, use "
                f"mtk.Task({task.name!r}, ..., missing=float('nan')) or fit(..., "
                f"sample_weight={{{task.name!r}: ~np.isnan(labels)}})."
            )


def _losses(loss: Any, weights: Any, names: Sequence[str]) -> dict[str, Any]:
    """Returns the loss of each output that has one."""
    if len(names) == 1 and _is_sequence(loss):
        loss = {names[0]: loss[0] if len(loss) == 1 else loss}
    factors = by_output("loss_weights", weights, names) if isinstance(weights, Mapping) else {}
    found = {}
    for name, own in by_output("loss", loss, names).items():
        if _is_sequence(own):
            each = factors.get(name)
            own = WeightedSum(own, each if _is_sequence(each) else None)
        if own is not None:
            found[name] = crossentropy if own in ("crossentropy", "ce") else own
    return found


@keras.saving.register_keras_serializable("mtk")
def crossentropy(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """Computes the cross-entropy that Keras chooses by the shapes of labels and predictions."""
    if y_pred.shape[-1] == 1:
        return keras.losses.binary_crossentropy(y_true, y_pred)
    if y_true.shape.rank < y_pred.shape.rank or y_true.shape[-1] == 1:
        return keras.losses.sparse_categorical_crossentropy(y_true, y_pred)
    return keras.losses.categorical_crossentropy(y_true, y_pred)


def check_given(expected: bool, given: Mapping[str, Any]) -> None:
    """Raises a ValueError unless losses are given exactly once, to the tasks or to `compile`.

    Args:
        expected: Whether the model was made without tasks.
        given: Losses, metrics and weights given to `compile`.
    """
    found = sorted(name for name, value in given.items() if value is not None)
    if expected and given["loss"] is None:
        raise ValueError(
            "The model was created without tasks, so `compile` needs their losses: "
            "`compile(optimizer, loss={output: loss, ...})`. Alternatively, give `tasks=` to the "
            "model."
        )
    if found and not expected:
        raise ValueError(
            f"`compile` does not accept {' and '.join(f'`{name}`' for name in found)} for a "
            "model created with tasks, which define them: `mtk.Task(name, loss, metrics=[...])` "
            "and `combiner=mtk.combiners.StaticWeights({name: weight, ...})`. Alternatively, "
            "leave out `tasks=`."
        )


def weights_by_task(given: Any, names: Sequence[str]) -> list[float]:
    """Returns the weight of each task in the sum of the losses, one by default.

    Args:
        given: `{task: weight}`, a list in task order, or None.
        names: Names of the tasks.

    Raises:
        ValueError: If a name is unknown, a weight is a variable, negative or not finite, or all are
            zero.
    """
    check_constant("loss_weights", given)
    each = by_output("loss_weights", given, names).items()
    found = {name: 1.0 if _is_sequence(own) else own for name, own in each}
    weights = [1.0 if found.get(name) is None else float(found[name]) for name in names]
    if not are_weights(weights):
        raise ValueError(
            "`loss_weights` must be finite numbers, none negative and not all zero. To maximize a "
            f"loss, give a function that returns it negated. Received: {given!r}"
        )
    return weights


def by_output(what: str, given: Any, names: Sequence[str]) -> dict[str, Any]:
    """Returns an argument of `compile` by output name.

    Args:
        what: Name of the argument.
        given: A dict, a list in the order of the names, one for all, or None.
        names: Names of the outputs.

    Raises:
        ValueError: If a name is unknown, or a list has another length.
    """
    if isinstance(given, Mapping):
        unknown = [str(name) for name in given if name not in names]
        if unknown:
            raise ValueError(
                f"`{what}` names {unknown}, but the network's outputs are {list(names)}."
                f"{suggestion(unknown, names)}"
            )
        return dict(given)
    if _is_sequence(given):
        if len(given) != len(names):
            raise ValueError(
                f"`{what}` is a list of {counted(len(given), 'item')}, but the network has "
                f"{counted(len(names), 'output')}: {list(names)}. Give one entry for each output, "
                "or a dict by output name."
            )
        return dict(zip(names, given, strict=True))
    return {} if given is None else dict.fromkeys(names, given)


def _metrics(what: str, given: Any, names: Sequence[str]) -> dict[str, list[Any]]:
    if len(names) == 1 and _is_sequence(given):
        flat = all(not _is_sequence(each) for each in given)
        found = {names[0]: given if flat else given[0]}
    else:
        found = by_output(what, given, names)
    each: dict[str, Any] = {name: found.get(name) for name in names}
    lists = {name: own if _is_sequence(own) else [own] for name, own in each.items()}
    return {name: [_resolved(m) for m in own if m is not None] for name, own in lists.items()}


def _resolved(metric: Any) -> Any:
    """Returns a metric; Keras chooses "accuracy" by the shapes here, not by the loss."""
    if metric in ("accuracy", "acc"):
        return keras.metrics.MeanMetricWrapper(accuracy_by_shape, name=metric)
    return metric


def output_names(network: keras.Model, loss: Any, outputs: Any = None) -> list[str]:
    """Returns the names of a network's outputs, in their order.

    Args:
        network: The network.
        loss: As for `compile`; names the outputs of a network that does not define them.
        outputs: Its symbolic outputs; None if unknown.
    """
    if paths := nested_paths(outputs):
        return list(paths)
    if isinstance(outputs, Mapping):
        return list(outputs)
    if names := getattr(_functional(network), "output_names", None):
        # A layer that is called twice has two outputs of the same name.
        return [
            f"{name}_{names[:place].count(name)}" if names.count(name) > 1 else name
            for place, name in enumerate(names)
        ]
    given = loss if outputs is None else outputs
    if isinstance(given, Mapping):
        return list(given)
    if isinstance(network, keras.Sequential):
        return [network.layers[-1].name]
    if _is_sequence(given):
        return [f"output_{number}" for number in range(1, len(given) + 1)]
    return ["output"]


def tells_outputs(network: keras.Model, loss: Any) -> bool:
    """Whether a network, or its losses, define the outputs before it is called."""
    each = loss.values() if isinstance(loss, Mapping) else [{}]
    return symbolic_outputs(network) is not None or not any(isinstance(o, Mapping) for o in each)


def symbolic_outputs(network: keras.Model) -> Any:
    """Returns the symbolic outputs of a functional or sequential network, None for others.

    The `output` of other networks, set once they are called, loses the structure.
    """
    network = _functional(network)
    if not hasattr(network, "output_names"):
        return None
    outputs = network.output
    is_one = isinstance(outputs, (list, tuple)) and len(outputs) == 1
    return outputs[0] if is_one else outputs


def _functional(network: keras.Model) -> Any:
    """Returns a sequential network's functional model, None if unbuilt; others unchanged."""
    return network._functional if isinstance(network, keras.Sequential) else network


def _is_sequence(given: Any) -> bool:
    return isinstance(given, (list, tuple))
