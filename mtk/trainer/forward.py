"""Forward passes whose side effects (moving statistics, dropout seeds) are values."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mtk.tasks import Elements, Task
from mtk.trainer.batches import Label, Share

# Any odd number spreads replicas over the seeds; this one is 2^32 divided by the golden ratio.
_SEED_STRIDE = 0x9E3779B9


class Losses(NamedTuple):
    """What one forward pass over a batch gives.

    Attributes:
        sums: K scalars: each task's loss, summed over its labelled elements on this replica.
        counts: K scalars: their number (the sum of their weights) on this replica.
        regularization: Scalar: weight regularizers and `add_loss`, the mean over shares.
        outputs: Per task `(y_true, y_pred, weights)`, for the metrics.
        state: The network's state after the pass, by index of its variable.
    """

    sums: list[tf.Tensor]
    counts: list[tf.Tensor]
    regularization: tf.Tensor | None
    outputs: list[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]
    state: dict[int, tf.Tensor]


class State:
    """The non-trainable variables of a network, read once and written once a step.

    Every forward pass starts from the values read here, so that

    * each share of a batch normalizes by itself, and moving statistics take one update a step:
      the mean over shares;
    * a second pass over the same batch draws the same dropout masks and changes nothing;
    * replicas draw different dropout masks: each folds its number into the seeds it sees.

    Args:
        network: A built Keras model.
        replica: Number of this replica, an integer or a scalar tensor.
    """

    def __init__(self, network: keras.Model, replica: int | tf.Tensor = 0):
        self.variables = network.non_trainable_variables
        self.stored = [tf.convert_to_tensor(v.value) for v in self.variables]
        offset = tf.cast(replica, tf.int64) * _SEED_STRIDE
        self.seen = [
            tf.stack([value[0] + tf.cast(offset, value.dtype), value[1]])
            if _is_seed(variable)
            else value
            for variable, value in zip(self.variables, self.stored, strict=True)
        ]

    def scope(self, seeds: dict[int, tf.Tensor]) -> keras.StatelessScope:
        """Returns a scope in which the network sees this state, with `seeds` moved on."""
        values = [seeds.get(i, value) for i, value in enumerate(self.seen)]
        mapping = list(zip(self.variables, values, strict=True))
        return keras.StatelessScope(mapping, collect_losses=True)

    def changes(self, scope: keras.StatelessScope) -> dict[int, tf.Tensor]:
        """Returns the values that a pass has changed, by index of the variable."""
        found = {}
        for index, (variable, value) in enumerate(zip(self.variables, self.seen, strict=True)):
            new = scope.get_current_value(variable)
            if new is not None and new is not value:
                found[index] = new
        return found

    def seeds(self) -> dict[int, tf.Tensor]:
        """Returns the seeds as a replica sees them, by index of the variable."""
        return self.seeds_in(dict(enumerate(self.seen)))

    def seeds_in(self, changes: dict[int, tf.Tensor]) -> dict[int, tf.Tensor]:
        """Returns those of `changes` that are seeds, for the next pass to go on from."""
        return {i: value for i, value in changes.items() if _is_seed(self.variables[i])}

    def write(
        self, changes: dict[int, tf.Tensor], replicas: int, accepted: tf.Tensor | None = None
    ) -> None:
        """Assigns the changed values: seeds without the replica's number, statistics averaged.

        Args:
            changes: From `changes`.
            replicas: Number of replicas.
            accepted: Boolean scalar: whether the step counts. Otherwise all stays as it was.
        """
        for index, value in changes.items():
            variable = self.variables[index]
            if _is_seed(variable):
                value = tf.stack([self.stored[index][0], value[1]])
            elif replicas > 1 and value.dtype.is_floating:
                context = tf.distribute.get_replica_context()
                value = context.all_reduce(tf.distribute.ReduceOp.MEAN, value)
            if accepted is not None:
                value = tf.where(accepted, value, self.stored[index])
            variable.assign(value)


def run(
    network: keras.Model,
    tasks: Sequence[Task],
    shares: Sequence[Share],
    state: State | None,
    seeds: dict[int, tf.Tensor] | None = None,
) -> Losses:
    """Runs the network over the shares of a batch.

    Args:
        network: Its output is `{task: prediction}`, or one tensor that serves every task.
        tasks: The K tasks.
        shares: The batch, from `batches.parse`.
        state: State to train from; None runs the network for inference.
        seeds: Seeds to go on from, by index of their variable; the state's, by default.

    Raises:
        ValueError: If the network's outputs do not match the tasks.
    """
    sums: list[tf.Tensor] = [tf.constant(0.0)] * len(tasks)
    counts: list[tf.Tensor] = [tf.constant(0.0)] * len(tasks)
    outputs: list[Any] = [None] * len(tasks)
    penalties: list[tf.Tensor] = []
    all_changes: list[dict[int, tf.Tensor]] = []
    seeds = dict(seeds or {})
    for share in shares:
        if state is None:
            predictions = network(share.inputs, training=False)
        else:
            with state.scope(seeds) as scope:
                predictions = network(share.inputs, training=True)
            penalties += [tf.add_n(scope.losses)] if scope.losses else []
            all_changes.append(state.changes(scope))
            seeds.update(state.seeds_in(all_changes[-1]))
        known: dict[tuple[Any, ...], Elements] = {}
        for label in share.labels:
            task = tasks[label.task]
            y_pred = _prediction(predictions, task, tasks, share)
            elements = _elements(task, label, y_pred, known)
            sums[label.task] = tf.reduce_sum(
                tf.where(elements.weights > 0, elements.values * elements.weights, 0.0)
            )
            counts[label.task] = tf.reduce_sum(elements.weights)
            outputs[label.task] = (elements.labels, y_pred, elements.weights)
    penalties = [penalty / len(shares) for penalty in penalties]
    penalties += [v.regularizer(v) for v in network.trainable_variables if v.regularizer]
    penalty = tf.add_n(penalties) if penalties else None
    return Losses(sums, counts, penalty, outputs, _mean_of(all_changes))


def _elements(
    task: Task, label: Label, y_pred: tf.Tensor, known: dict[tuple[Any, ...], Elements]
) -> Elements:
    """Computes a loss that several tasks of a mixed batch share once, then picks a task's part."""
    key = (id(task.loss), task.missing, id(label.y_true), id(y_pred), id(label.mask))
    if key not in known:
        known[key] = _masked(task.elements(label.y_true, y_pred, label.mask), y_pred)
    if label.member is None:
        return known[key]
    values = known[key].values
    member = tf.reshape(label.member, [-1] + [1] * (values.shape.rank - 1))
    return known[key]._replace(weights=known[key].weights * member)


def _masked(elements: Elements, y_pred: tf.Tensor) -> Elements:
    """Leaves out what a Keras layer has masked, such as padding."""
    mask = getattr(y_pred, "_keras_mask", None)
    if mask is None or mask.shape.rank > elements.weights.shape.rank:
        return elements
    missing_axes = elements.weights.shape.rank - mask.shape.rank
    mask = tf.reshape(mask, tf.concat([tf.shape(mask), [1] * missing_axes], 0))
    return elements._replace(weights=elements.weights * tf.cast(mask, tf.float32))


def _prediction(predictions: Any, task: Task, tasks: Sequence[Task], share: Share) -> tf.Tensor:
    one_for_all = len(share.labels) == 1 or share.labels[0].member is not None
    if tf.is_tensor(predictions) and one_for_all:
        return predictions
    if isinstance(predictions, dict) and task.name in predictions:
        return predictions[task.name]
    found = list(predictions) if isinstance(predictions, dict) else type(predictions).__name__
    raise ValueError(
        f"The network's outputs do not match the tasks. Its output must be a dict with the keys "
        f"{[t.name for t in tasks]}; only where each example belongs to one task it may be one "
        f"tensor. Received: {found}"
    )


def _is_seed(variable: keras.Variable) -> bool:
    return variable.name == "seed_generator_state"


def _mean_of(changes: Sequence[dict[int, tf.Tensor]]) -> dict[int, tf.Tensor]:
    """Averages what several shares changed; of what is not a statistic, takes the last value."""
    merged: dict[int, tf.Tensor] = {}
    for index in sorted({index for change in changes for index in change}):
        values = [change[index] for change in changes if index in change]
        floating = values[0].dtype.is_floating and len(values) > 1
        merged[index] = tf.add_n(values) / len(values) if floating else values[-1]
    return merged
