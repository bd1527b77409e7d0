"""Callbacks of `fit` that report NaN labels, losses below a bound and inexact weights."""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from mtk.combiners import Combiner
from mtk.combiners.log_losses import LogLosses
from mtk.compiled_tasks import CompiledTasks
from mtk.display import counted
from mtk.sharing.layer_calls import all_layers
from mtk.tasks import Task
from mtk.trainer import batch

# Largest number of batches that are read again.
_MOST = 1000


class NameNaNLabels(keras.callbacks.Callback):
    """Ends `fit` after an epoch with a nonfinite loss, if labels are NaN.

    Arrays are checked beforehand, except for losses that may skip NaN themselves. Data are read
    again only if a loss is not finite, so that a healthy training has no cost.

    Args:
        data: Datasets, or arrays such as `(x, y)`, by purpose.
        compiled: Returns the tasks, which may be known only from the first batch.

    Raises:
        ValueError: At the end of an epoch; it names the task and the batch.
    """

    def __init__(self, data: Mapping[str, Any], compiled: Callable[[], CompiledTasks]):
        super().__init__()
        self._data, self._compiled = data, compiled

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Searches for NaN labels, if a loss is not finite."""
        del epoch
        losses = [(logs or {}).get(name, 0.0) for name in ("loss", "val_loss")]
        if all(math.isfinite(float(loss)) for loss in losses):
            return
        data, self._data = self._data, {}  # Only once: a NaN loss mostly stays NaN.
        for what, each in data.items():
            for where, found in _batches(f"the {what} data", each):
                for task, label in self._labels(found):
                    _check(task, label, where)

    def _labels(self, data: Any) -> list[tuple[Task, batch.Label]]:
        found = self._compiled()
        try:
            parts = batch.parse(found.of_tasks(data), found.task_names)
        except ValueError:  # An overridden `train_step` takes other forms.
            return []
        return [(found.tasks[label.task], label) for part in parts for label in part.labels]


class WarnOfMethods(keras.callbacks.Callback):
    """Warns once per `fit`, at the end of an epoch, of limits of a method.

    Losses may be below its bounds, and iterations may end before its weights converge.
    """

    def __init__(self) -> None:
        super().__init__()
        self._warned: set[tuple[int, str]] = set()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Checks the state of the model's combiner and of those wrapped in it."""
        del epoch, logs
        for layer in all_layers(self.model):
            if not isinstance(layer, Combiner):
                continue
            losses = getattr(layer, "log_losses", None)
            if isinstance(losses, LogLosses):
                self._warn(layer, "log_losses", losses.warning())
            steps = int(keras.ops.convert_to_numpy(getattr(layer, "unsolved", 0)))
            if steps:
                text = (
                    f"The solver of {type(layer).__name__} reached its iteration limit in "
                    f"{counted(steps, 'step')}, so the weights there are not exact. Gradients of "
                    "very different magnitudes can cause this; `combiner.unsolved` counts such "
                    "steps."
                )
                self._warn(layer, "unsolved", text)

    def _warn(self, layer: Combiner, kind: str, text: str) -> None:
        if text and (id(layer), kind) not in self._warned:
            self._warned.add((id(layer), kind))
            warnings.warn(text, stacklevel=3)


def with_callbacks(given: Mapping[str, Any], compiled: Callable[[], CompiledTasks]) -> Any:
    """Returns the callbacks of `fit`, with those that diagnose the losses.

    Args:
        given: Arguments of `fit`.
        compiled: Returns the tasks, which may be known only from the first batch.
    """
    x, y, weights = (given.get(name) for name in ("x", "y", "sample_weight"))
    training = x if y is None else (x, y) if weights is None else (x, y, weights)
    data = {"training": training, "validation": given.get("validation_data")}
    own = [NameNaNLabels(data, compiled), WarnOfMethods()]
    callbacks = given.get("callbacks")
    if isinstance(callbacks, keras.callbacks.CallbackList):
        for each in own:
            callbacks.append(each)
        return callbacks
    return [*tf.nest.flatten(callbacks), *own] if callbacks is not None else own


def _batches(where: str, data: Any) -> Iterator[tuple[str, Any]]:
    """Yields the batches of data that can be read again, or arrays as a whole, and their places."""
    batches: Iterable[Any] = ()
    if isinstance(data, tuple):
        yield where, data
    elif isinstance(data, tf.data.Dataset):
        batches = data.take(_MOST)
    elif isinstance(data, keras.utils.PyDataset) and data.num_batches is not None:
        batches = (data[number] for number in range(min(data.num_batches, _MOST)))
    for number, found in enumerate(batches):
        yield f"batch {number} of {where}, counted from zero", found


def _check(task: Task, label: batch.Label, where: str) -> None:
    if task.missing is not None and math.isnan(task.missing):
        return
    if _has_nan(label):
        raise ValueError(
            f"Labels of task '{task.name}' are NaN in {where}, and so is the loss. If NaN marks "
            f"missing labels, use mtk.Task({task.name!r}, ..., missing=float('nan')), or batches "
            "`(x, y, mask)` with a mask that is zero there."
        )


def _has_nan(label: batch.Label) -> bool:
    """Whether a label is NaN but not masked."""
    labels = label.y_true
    if not isinstance(labels, tf.Tensor) or not labels.dtype.is_floating:
        return False
    bad = tf.math.is_nan(labels)
    for mask in (label.mask, label.member):
        if mask is not None and mask.shape.rank <= bad.shape.rank:
            ones = [1] * (bad.shape.rank - mask.shape.rank)
            bad &= tf.reshape(mask, [*mask.shape, *ones]) != 0
    return bool(tf.reduce_any(bad))
