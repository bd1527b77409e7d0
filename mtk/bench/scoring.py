"""Measures the predictions of a submission, given the labels."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtk import config, experiment, predictions, records
from mtk.analysis.measure import GroupedExamples, Models, grouped
from mtk.analysis.metric_sets import Objective
from mtk.bench.card import Card
from mtk.bench.entry import check_data
from mtk.bench.labels import read_labels
from mtk.bench.received import Submission
from mtk.directions import directions
from mtk.errors import StudyError
from mtk.experiment import per_example, results
from mtk.monitor import MIN
from mtk.predictions import Predictions
from mtk.tasks import Task
from mtk.trainer import MultiTaskModel, batch
from mtk.workloads import Workload

_REMEDY = (
    "No read was spent. Make the predictions with the card's network: mtk bench run, then mtk "
    "bench submit."
)


def scorer_of(
    card: Card, folders: Sequence[str | Path], labels: str | Path | None = None
) -> "Scorer":
    """Reads the data of a card, as configured.

    Args:
        card: The card.
        folders: Where to search for the files of the card, before the working directory.
        labels: See `Scorer`.
    """
    config.apply(config.Draft.of(card.static_run(folders).lines))
    return Scorer(card, config.values(experiment.run)["workload"](), labels)


class Scorer:
    """Tasks and labels of a card's test split.

    Args:
        card: The card.
        data: Its workload.
        labels: File with the labels, if the data have none; see `read_labels`.

    Raises:
        StudyError: If the data are not those of the card, or the labels do not fit.
    """

    def __init__(self, card: Card, data: Workload, labels: str | Path | None = None):
        self.card = card
        tf.get_logger().setLevel("ERROR")  # Each run traces its own functions.
        names = [task.name for task in data.tasks]
        if sorted(names) != sorted(card.tasks):
            raise StudyError(
                f"The card {card.name!r} has metrics for {', '.join(card.tasks)}, but the tasks "
                f"are {', '.join(names)}. Give one metric for each task."
            )
        self.tasks, self.data = data.tasks, dict(data.fingerprint())
        self._known: dict[Any, _Measuring] = {}
        check_data(card, self.data, "The data here")
        self._batches = [_without_inputs(each) for each in data.test(predictions.BATCH)]
        if labels is not None:
            self._batches = read_labels(labels, self._batches, names)

    def score(self, submission: Submission) -> tuple[Models, int]:
        """Measures all runs.

        Args:
            submission: The submission.

        Returns:
            Its models, and n if they are measured on every n-th batch of test examples.

        Raises:
            DamagedError: If predictions do not fit the labels, or are for other examples than those
                of the other runs.
        """
        values, examples, kept = [], [], set()
        for model in submission.about["models"]:
            for run in model["runs"]:
                predicted = submission.predictions(run["run"])
                found = self._of_run(run["run"], predicted)
                values.append(found[0])
                examples.append(found[1])
                kept.add(predicted.every)
        if len(kept) > 1:
            raise records.DamagedError("its runs have predictions for different test examples")
        shape = (len(submission.about["models"]), -1)
        tasks = len(self.card.tasks)
        groups = None
        if all(each is not None for each in examples):
            groups = np.array(examples).reshape(*shape, len(examples[0]), tasks)  # type: ignore[arg-type]
        measured = np.array(values).reshape(*shape, tasks)
        if groups is not None:
            groups = groups + measured[:, :, None]
        return Models(measured, examples=groups), kept.pop()

    def _of_run(self, run: str, found: Predictions) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns a run's value of each task, lower is better, and of groups of its examples."""
        labels = self._batches[:: found.every]
        _check_fits(run, found, labels, [task.name for task in self.tasks])
        tools = self._made(found)
        model = tools.model
        names = model.task_names
        parts = [{name: found.parts[name][n] for name in names} for n in range(len(labels))]
        batches = [_with_inputs(*pair) for pair in zip(parts, labels, strict=True)]
        try:
            logs = tools.evaluate(batches)
            test = results.by_task(logs, names, "test")
            objectives = self._objectives(model, test)
            of_examples = per_example.measure(model, batches, test, traced=tools.examples)
        except StudyError:
            raise
        except Exception as error:  # Keras may raise anything if shapes do not fit.
            text = str(error).strip().splitlines()[:1]
            raise records.DamagedError(
                f"the predictions of {run} do not fit the labels: {''.join(text)}"
            ) from None
        signed = [test["tasks"][o.task][o.metric] * o.sign for o in objectives]
        return np.array(signed), GroupedExamples.of(grouped(of_examples), objectives)

    def _made(self, found: Predictions) -> "_Measuring":
        """Returns a model that measures predictions of these shapes; built once for equal runs."""
        shapes = tuple(_shape(found.parts[task.name]) for task in self.tasks)
        if shapes not in self._known:
            self._known[shapes] = _Measuring(self.tasks, shapes)
        return self._known[shapes]

    def _objectives(self, model: MultiTaskModel, test: Mapping[str, Any]) -> list[Objective]:
        known = directions(model)
        found = []
        for task in self.card.tasks:
            name, way = self.card.metric(task)
            there = test["tasks"][task]
            way = way or known.get(f"{task}_{name}")
            if name not in there or way is None:
                unknown = "has no direction; write (name, 'min') or (name, 'max')"
                raise StudyError(
                    f"The metric {name!r} of {task!r} "
                    + (unknown if name in there else f"is not measured; available: {[*there]}")
                    + " in the card's `metrics`."
                )
            if there[name] is None:
                raise StudyError(f"The metric {name!r} of {task!r} is NaN. {_REMEDY}")
            found.append(Objective(task, name, 1 if way == MIN else -1))
        return found


class _Measuring:
    """A model whose outputs are its inputs, the predictions, with graphs that measure it.

    Args:
        tasks: The tasks.
        shapes: Shapes of the predictions for one example, by task.
    """

    def __init__(self, tasks: Sequence[Task], shapes: Sequence[tuple[int | None, ...]]):
        pairs = zip(tasks, shapes, strict=True)
        inputs = {task.name: keras.Input(shape) for task, shape in pairs}
        outputs = {name: keras.layers.Identity()(each) for name, each in inputs.items()}
        with warnings.catch_warnings():  # A task's name need not be a valid tensor name.
            warnings.simplefilter("ignore", UserWarning)
            self.model = MultiTaskModel(keras.Model(inputs, outputs), tasks)
        self.model.compile()
        self.examples = per_example.tracing(self.model)
        self._step = tf.function(self.model.test_step, autograph=False, reduce_retracing=True)
        self._is_new = True

    def evaluate(self, batches: Sequence[Any]) -> dict[str, float]:
        """Returns the logs of an evaluation."""
        if self._is_new:  # Creates the state, and raises errors.
            self.model.test_step(batches[0])
            self._is_new = False
        self.model.reset_metrics()
        logs: dict[str, Any] = {}
        for each in batches:
            logs = self._step(each)
        logs = self.model.task_metrics.of_labelled(logs)
        return {name: float(value) for name, value in logs.items()}


def _shape(parts: Sequence[np.ndarray]) -> tuple[int | None, ...]:
    """Returns the shape of an example, with None where it differs between batches."""
    shapes = np.array([part.shape[1:] for part in parts])
    return tuple(int(s[0]) if (s == s[0]).all() else None for s in shapes.T)


def _without_inputs(data: Any) -> Any:
    data = batch.without_nones(data)
    if isinstance(data, Mapping):
        return {name: (None, *part[1:]) for name, part in data.items()}
    return (None, *data[1:])


def _with_inputs(parts: Mapping[str, np.ndarray], labels: Any) -> Any:
    """Returns a batch with predictions in place of the network's inputs."""
    if not isinstance(labels, Mapping):
        return ({**parts}, *labels[1:])
    # Tasks with their own examples: one pass for each, in which the others do not count.
    found = {}
    for name, own in labels.items():
        size = len(parts[name])
        others = {n: np.zeros((size, *p.shape[1:]), p.dtype) for n, p in parts.items()}
        found[name] = ({**others, name: parts[name]}, *own[1:])
    return found


def _check_fits(run: str, found: Predictions, labels: Sequence[Any], names: Sequence[str]) -> None:
    """Raises a DamagedError if predictions are for other tasks, or for other examples."""
    sizes = [_sizes(each, names) for each in labels]
    expected = {name: [size[name] for size in sizes] for name in names}
    given = {name: [len(part) for part in parts] for name, parts in found.parts.items()}
    if expected != given:
        raise records.DamagedError(
            f"the predictions of {run} are not for the test examples here: expected "
            f"{ {n: sum(s) for n, s in expected.items()} }, received "
            f"{ {n: sum(s) for n, s in given.items()} }"
        )
    if not all(np.isfinite(part).all() for parts in found.parts.values() for part in parts):
        raise records.DamagedError(f"the predictions of {run} are not all finite")


def _sizes(labels: Any, names: Sequence[str]) -> dict[str, int]:
    if isinstance(labels, Mapping):
        return {name: len(labels[name][1]) for name in names}
    first = keras.tree.flatten(labels[1])[0]
    return dict.fromkeys(names, len(first))
