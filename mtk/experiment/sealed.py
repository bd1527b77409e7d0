"""Sealed tests: a run predicts the test inputs, and nothing is measured."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from mtk import atomic, predictions
from mtk.experiment.building import Built
from mtk.experiment.preemption import Preemption
from mtk.experiment.run_folder import RunFolder
from mtk.output_paths import at
from mtk.trainer import MultiTaskModel, batch

# This many batches are done in the time that tracing a graph takes.
_EAGER = 4


def write(built: Built, folder: RunFolder, preemption: Preemption) -> None:
    """Writes `test_predictions.npz`.

    Args:
        built: What was trained, with the weights of the selected step.
        folder: The run folder.
        preemption: The handler of signals; a signal stops the call between two batches.

    Raises:
        ValueError: If a single batch has more predictions than a file can hold.
    """
    model, found = built.model, predictions.Collector()
    traced = tf.function(lambda data: predict(model, data), autograph=False, reduce_retracing=True)
    for number, data in enumerate(built.data.test(predictions.BATCH)):
        of_batch = (
            (predict(model, data) if number < _EAGER else traced(data)) if found.wants else {}
        )
        found.add({n: np.asarray(v) for n, v in of_batch.items()} or None)
        preemption.check()
    with atomic.replacing(folder.test_predictions) as unfinished:
        predictions.save(unfinished, found.predictions)


def predict(model: MultiTaskModel, data: Any) -> dict[str, tf.Tensor]:
    """Returns the predictions of the network for a batch, by task; labels are ignored.

    Args:
        model: The model.
        data: The batch, in any form that `mtk.trainer.batch.parse` accepts.
    """
    data = batch.as_tensors(data)
    names = model.task_names
    if isinstance(data, Mapping):
        return {name: _by_task(model, data[name][0])[name] for name in names}
    return _by_task(model, data[0])


def _by_task(model: MultiTaskModel, inputs: Any) -> dict[str, tf.Tensor]:
    outputs = model.network(inputs, training=False)
    if isinstance(outputs, Mapping):
        return {name: tf.convert_to_tensor(outputs[name]) for name in model.task_names}
    if isinstance(outputs, (list, tuple)):
        each = [at(outputs, task.path or (k,)) for k, task in enumerate(model.tasks)]
        return dict(zip(model.task_names, each, strict=True))
    return dict.fromkeys(model.task_names, tf.convert_to_tensor(outputs))
