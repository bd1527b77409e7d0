"""Forward passes over the sub-batches of a batch."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import keras
import tensorflow as tf

from mtk.distribution import splitting
from mtk.elements import Elements, TaskPass, summed
from mtk.output_paths import at
from mtk.replicas import all_reduce
from mtk.sharing.layer_calls import all_layers
from mtk.tasks import Task
from mtk.trainer import batch, conditional, parts
from mtk.trainer.batch import Label, SubBatch
from mtk.trainer.state import State, Values, of_share


class Forward(NamedTuple):
    """Result of the forward passes over a batch.

    Attributes:
        tasks: K task results; if the batch is in P parts that a combiner compares, K for each part.
        examples: Number of examples on this replica.
        added_losses: Scalar: losses added by layers (`add_loss`, activity regularizers), as the
            mean over sub-batches of this replica's share; None if there are none.
        values: Values that the passes wrote, by `id` of the variable.
        sources: Values that layers assigned to trainable variables, by `id` of the variable.
        logs: Return value of `observe`.
    """

    tasks: list[TaskPass]
    examples: int | tf.Tensor
    added_losses: tf.Tensor | None
    values: Values
    sources: dict[int, list[tf.Tensor]]
    logs: dict[str, Any]


LabelElements: TypeAlias = list[tuple[Label, Elements]]  # Of the labels of a sub-batch.
# Updates the metrics with a pass: called with the K task results and the penalty; returns logs.
Observe: TypeAlias = Callable[[list[TaskPass], tf.Tensor], dict[str, Any]]


def run(
    network: keras.Model,
    tasks: Sequence[Task],
    sub_batches: Sequence[SubBatch],
    state: State,
    carried: Values | None = None,
    tape: tf.GradientTape | None = None,
    observe: Observe | None = None,
    shares: Sequence[tf.Tensor] | None = None,
) -> Forward:
    """Runs the network for training over the sub-batches of a batch.

    Args:
        network: Its output is `{task: prediction}`, a list in task order, or one tensor for all
            tasks.
        tasks: The K tasks.
        sub_batches: The batch, from `batch.parse`; divided, if a combiner compares its parts.
        state: State to train from, which is not modified.
        carried: Values to start from, by `id` of the variable.
        tape: Tape to watch the values that layers write.
        observe: Called with the results of the passes.
        shares: For each sub-batch the fraction of its examples on this replica; None for all.

    Raises:
        ValueError: If the network's outputs do not match the tasks.
    """
    each: list[LabelElements] = []
    losses: list[tf.Tensor] = []
    added: list[tf.Tensor] = []
    written: list[Values] = []
    sources: dict[int, list[tf.Tensor]] = {}
    carried, number = dict(carried or {}), len(sub_batches)
    # Synchronized layers count the examples of all replicas.
    pads = shares is not None and not any(
        getattr(layer, "synchronized", False) for layer in all_layers(network)
    )
    for index, part in enumerate(sub_batches):
        if index:
            state.rewind(everything=False)
        with state.scope(carried, tape) as scope:
            outputs = _outputs(network, part, pads)
            # Within the scope, since losses may write their state, as layers do.
            each.append(task_elements(tasks, part, outputs, training=True))
        here = [_sum([loss]) for loss in scope.losses]
        losses += here
        added += here if shares is None else [of_share(loss, shares[index]) for loss in here]
        new = scope.values()
        if pads:
            new = state.of_examples(new, carried, batch.size(part.inputs))
        written.append(new)
        carried.update(state.going_on_from(new))
        for key, values in scope.sources.items():
            sources[key] = sources.get(key, []) + values
    found = _results(tasks, sub_batches, each)
    logs: dict[str, Any] = {}
    if observe is not None:
        regularizers = [v.regularizer(v) for v in network.trainable_variables if v.regularizer]
        penalty = _sum(losses) / number + _sum(regularizers)
        with state.scope(carried) as scope:
            logs = observe(parts.passes_of_whole(found, len(tasks)), penalty)
        written.append(scope.values())
    # What `observe` writes depends on all sub-batches.
    of_written = shares and [*shares, tf.add_n(shares) / len(shares)]
    examples = sum(batch.size(part.inputs) for part in sub_batches)
    added_losses = tf.add_n(added) / number if added else None
    return Forward(found, examples, added_losses, state.merge(written, of_written), sources, logs)


def infer(
    network: keras.Model, tasks: Sequence[Task], sub_batches: Sequence[SubBatch]
) -> tuple[list[TaskPass], tf.Tensor]:
    """Runs the network for inference, where layers may update their variables.

    Returns:
        The K task results, and the losses of layers and regularizers for these examples.
    """
    each: list[LabelElements] = []
    losses: list[tf.Tensor] = []
    for part in sub_batches:
        outputs = _call(network, conditional.at_preference(network, part.inputs), False)
        each.append(task_elements(tasks, part, outputs, training=False))
        losses += network.losses
    return _results(tasks, sub_batches, each), _sum(losses) / len(sub_batches)


def _results(
    tasks: Sequence[Task], sub_batches: Sequence[SubBatch], each: Sequence[LabelElements]
) -> list[TaskPass]:
    """Returns the task results; the parts that a combiner compares are in sequence."""
    zero = tf.constant(0.0)
    found = [TaskPass(zero, zero, zero, None)] * (len(tasks) * (1 + sub_batches[-1].part))
    for part, of_part in zip(sub_batches, each, strict=True):
        for label, elements in of_part:
            found[part.part * len(tasks) + label.task] = summed(elements, label.importance)
    return found


def _sum(losses: Sequence[tf.Tensor]) -> tf.Tensor:
    scalars = [tf.reduce_sum(tf.cast(loss, tf.float32)) for loss in losses]
    return tf.add_n([tf.constant(0.0), *scalars])


def of_all_replicas(passed: Sequence[TaskPass]) -> list[TaskPass]:
    """Returns task results with label counts and weights summed over all replicas."""
    own = [tf.stack([task.count for task in passed]), tf.stack([task.weight for task in passed])]
    each = zip(passed, *map(tf.unstack, all_reduce(own)), strict=True)
    return [task._replace(count=count, weight=weight) for task, count, weight in each]


def _call(network: keras.Model, inputs: Any, training: bool) -> Any:
    """Calls the network as Keras' `fit` and `evaluate` do.

    A network whose `call` has no argument `training` does not receive it.
    """
    told = {"training": training} if network._call_has_training_arg else {}
    return network(inputs, **told)


def _outputs(network: keras.Model, part: SubBatch, pads: bool) -> Any:
    """Runs the network; an empty batch of a replica is replaced by an example of zeros.

    Means over an empty batch are NaN, as is all that depends on them, although no task does.
    """
    size, inputs = batch.size(part.inputs), conditional.at_preference(network, part.inputs)
    if not pads or isinstance(size, int):
        return _call(network, inputs, True)

    def without_padding(output: Any) -> Any:
        found = output[:size] if tf.is_tensor(output) and output.shape.rank else output
        mask = getattr(output, "_keras_mask", None)
        if mask is not None:
            found._keras_mask = mask[:size]
        return found

    outputs = _call(network, splitting.never_empty(inputs, size), True)
    return tf.nest.map_structure(without_padding, outputs)


def task_elements(
    tasks: Sequence[Task], part: SubBatch, outputs: Any, training: bool
) -> LabelElements:
    """Computes the losses; a loss shared by several tasks of a mixed batch only once.

    Class weights apply in training only.
    """
    groups: dict[tuple[Any, ...], list[Label]] = {}
    predictions = {label.task: _prediction(outputs, label, tasks) for label in part.labels}
    for label in part.labels:
        task, y_pred = tasks[label.task], predictions[label.task]
        if label.member is None:
            task.check_labels(label.y_true, y_pred)
        same = (task.missing, task.mask_zero, id(task.class_weight))
        key = (id(task.loss), *same, id(label.y_true), id(y_pred), id(label.mask))
        groups.setdefault(key, []).append(label)
    found = []
    for labels in groups.values():
        first, task = labels[0], tasks[labels[0].task]
        mask = first.mask
        if first.member is not None and len(groups) > 1:
            # Labels of other tasks may be invalid for this loss.
            own = tf.add_n([label.member for label in labels])
            mask = own if mask is None else _of_member(tf.cast(mask, tf.float32), own)
        elements = task.elements(first.y_true, predictions[first.task], mask, training)
        found += [(label, _members(elements, label.member)) for label in labels]
    return found


def _members(elements: Elements, member: tf.Tensor | None) -> Elements:
    if member is None:
        return elements
    weights = _of_member(elements.weights, member)
    there = tf.ones_like(weights) if elements.labelled is None else elements.labelled
    return elements._replace(weights=weights).of(_of_member(there, member) != 0)


def _of_member(weights: tf.Tensor, member: tf.Tensor) -> tf.Tensor:
    return weights * tf.reshape(member, [-1] + [1] * (weights.shape.rank - 1))


def _prediction(outputs: Any, label: Label, tasks: Sequence[Task]) -> tf.Tensor:
    task = tasks[label.task]
    has_one = len(tasks) == 1 or label.member is not None or label.has_own_input
    if tf.is_tensor(outputs) and has_one:
        return outputs
    if isinstance(outputs, dict) and task.name in outputs:
        return outputs[task.name]
    if task.path is not None and (found := at(outputs, task.path)) is not None:
        return found
    if isinstance(outputs, (list, tuple)) and len(outputs) == len(tasks):
        return outputs[label.task]
    names = [each.name for each in tasks]
    kind = list(outputs) if isinstance(outputs, dict) else type(outputs).__name__
    if isinstance(outputs, (list, tuple)):
        kind = f"{kind} of {len(outputs)}"
    raise ValueError(
        "The network's outputs do not match the tasks. Its output must be a dict with the keys "
        f"{names}, or a list in their order; a single tensor is allowed only if each example "
        f"belongs to one task. Received: {kind}"
    )
