"""One training step, as computed by a replica, without side effects."""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mtk.combiners import Combiner
from mtk.finite import all_finite, nan_unless
from mtk.gradients import choose, scaled
from mtk.replicas import number_of_replicas
from mtk.sharing import LayerOutput
from mtk.sharing.layer_calls import all_layers
from mtk.trainer import batch, conditional, parts
from mtk.trainer.backward import FullBatch, Gradient, Passes
from mtk.trainer.batch import SubBatch
from mtk.trainer.combine import combine
from mtk.trainer.micro_batches import MicroBatches
from mtk.trainer.spec import StepSpec
from mtk.trainer.state import Change, State, Values


class StepResult(NamedTuple):
    """Result of a step.

    Attributes:
        gradients: Gradients of this replica for the optimizer, which sums over replicas: with L2,
            clipped, multiplied by the loss scale.
        variables: The trainable variables of these gradients.
        task_losses: Tensor `(K,)`, of the global batch.
        present: Boolean tensor `(K,)`: which tasks had labels.
        task_weights: Tensor `(K,)`.
        gramian: Tensor `(K, K)`, or None if the step computed no per-task gradients.
        changes: Changes of the state of network, metrics and combiner.
        finite: Boolean scalar: whether losses and gradient are finite.
        logs: Return value of `compute_metrics`.
        sub_batches: The batch.
        state: The state that the passes started from, with the variables that inner graphs have
            written.
    """

    gradients: list[Gradient]
    variables: list[keras.Variable]
    task_losses: tf.Tensor
    present: tf.Tensor
    task_weights: tf.Tensor
    gramian: tf.Tensor | None
    changes: list[Change]
    finite: tf.Tensor
    logs: dict[str, Any]
    sub_batches: list[SubBatch]
    state: State


def compute(spec: StepSpec, data: Any) -> StepResult:
    """Computes one step: forward pass, gradients, combination, L2, clipping.

    Since a combiner is not linear, it needs the global batch: task losses and gradients are summed
    over the replicas before it. From there on every replica computes the same.

    Args:
        spec: All that does not depend on the batch.
        data: This replica's part of the global batch, in one of the forms of `batch.parse`.
    """
    number = spec.combiner.batch_parts
    sub_batches = conditional.with_drawn(spec.network, spec.combiner, spec.parse(data))
    spec = checked(spec, batch.is_shared_input(sub_batches))
    context = tf.distribute.get_replica_context()
    replica = 0 if context is None else context.replica_id_in_sync_group
    alone = not tf.distribute.has_strategy()
    state = State(spec.metric_variables, spec.written_in_place, replica, makes_seeds=alone)
    passes = _passes(spec, state, sub_batches)
    with State().scope({}) as of_combiner:
        combined = combine(spec, passes)
    values, logs = passes.written()
    variables, gradients = _descent(spec, combined.gradients, values)
    return StepResult(
        gradients=gradients,
        variables=variables,
        task_losses=_of_whole(passes, number),
        present=tf.reduce_any(parts.by_part(passes.present, number), 0),
        task_weights=combined.task_weights,
        gramian=combined.gramian,
        changes=[*state.changes(values, passes.totals.shares is not None), *of_combiner.changes()],
        finite=all_finite([passes.task_losses, *gradients]),
        logs=logs,
        sub_batches=sub_batches,
        state=state,
    )


def _passes(spec: StepSpec, *arguments: Any) -> Passes:
    kind = FullBatch if spec.arguments.micro_batches == 1 else MicroBatches
    return kind(spec, *arguments)


def _of_whole(passes: Passes, number: int) -> tf.Tensor:
    """Returns the task losses `(K,)`; for a batch in parts, the mean over its labels."""
    if number == 1:
        return passes.task_losses
    losses, divisors = (
        parts.by_part(each, number) for each in (passes.task_losses, passes.totals.divisors)
    )
    return tf.math.divide_no_nan(tf.reduce_sum(losses * divisors, 0), tf.reduce_sum(divisors, 0))


def task_losses_after(spec: StepSpec, result: StepResult) -> tf.Tensor:
    """Returns the task losses `(K,)` of a step's batch with the current weights.

    All else is as before the step, such as dropout masks and statistics. Nothing is changed.
    """
    state = result.state
    now = [(v, tf.identity(tf.convert_to_tensor(v))) for v, _, _ in state.in_place]
    state.rewind()
    carried = {
        key: state.shifted(variable, 1, state.before[key])
        for key, variable in state.variables.items()
        if not variable.trainable
    }
    losses = _passes(spec, state, result.sub_batches, carried).task_losses
    with tf.control_dependencies([losses]):
        for variable, value in now:
            variable.assign(value)
    return losses


def checked(spec: StepSpec, shared_input: bool) -> StepSpec:
    """Returns a step with strategy and features resolved for batches of this form.

    Raises:
        ValueError: If strategy, place or parts of the task gradients are incompatible.
    """
    combiner = spec.combiner
    strategy = choose(spec.strategy, len(spec.tasks), shared_input)
    if strategy == "vectorized" and spec.per_task and spec.structure().grouped_convolutions:
        raise ValueError(
            "`gradients='vectorized'` gives wrong results for grouped convolutions: "
            "TensorFlow's `pfor` mixes their channels. Use 'unrolled', 'loop' or 'auto'."
        )
    if combiner.reads != "losses" and not spec.structure().shared:
        raise ValueError(
            f"{type(combiner).__name__} combines the gradients of shared variables, but no "
            "trainable variable is shared by two tasks that have labels in the first batch. "
            "Provide these labels (with a mask if they are missing), unfreeze some variables, set "
            "`shared=`, build the network before the model, or use StaticWeights."
        )
    features: Sequence[LayerOutput] = ()
    if combiner.at == "representation":
        features = _representation(spec, shared_input) if len(spec.tasks) > 1 else ()
    elif combiner.at != "parameters" and combiner.reads == "gradients":
        raise ValueError(
            f"{type(combiner).__name__} merges gradients themselves, so `at` must be all "
            f"shared parameters or the representation. Received: at={combiner.at!r}"
        )
    _check_parts(spec, (1 if shared_input else len(spec.tasks)) * combiner.batch_parts)
    return dataclasses.replace(spec, strategy=strategy, features=features)


def _representation(spec: StepSpec, shared_input: bool) -> Sequence[LayerOutput]:
    """Returns the features that the heads read, or raises a ValueError if they are unusable."""
    structure, combiner = spec.structure(), spec.combiner
    if not shared_input:
        raise ValueError(
            "`at='representation'` needs tasks that share their input, but here each task has "
            "its own input. Use `at='parameters'`."
        )
    if combiner.reads == "gradients" and structure.both_sides:
        raise ValueError(
            "These variables are used both before and after the representation: "
            f"{[v.path for v in structure.both_sides]}. Use at='parameters', or choose a "
            "representation that separates trunk and heads."
        )
    if not structure.representation:
        raise ValueError(
            "The features that the heads read are not the output of a layer. Make them the "
            "output of a layer and give its name: `MultiTaskModel(..., representation='<layer "
            "name>')`."
        )
    own = type(combiner).merge_features is not Combiner.merge_features
    if combiner.reads == "gradients" and spec.number_of_passes > 1 and not own:
        raise ValueError(
            f"{type(combiner).__name__} merges the gradients of features in `call`, which needs "
            "the whole batch. For several replicas or micro-batches, it must define "
            "`merge_features`."
        )
    return structure.representation


def _check_parts(spec: StepSpec, sub_batches: int) -> None:
    """Raises a ValueError if a layer has state that requires batches in one piece."""
    if sub_batches * spec.number_of_passes == 1:
        return
    for layer in all_layers(spec.network):
        if isinstance(layer, keras.layers.RNN) and layer.stateful:
            why = "carries a state for each example from batch to batch. Use `stateful=False`"
        elif any(v.overwrite_with_gradient for v in layer._trainable_variables):
            why = "has float8 scales, which are determined in one pass. Do not quantize it"
        else:
            continue
        raise ValueError(
            f"The layer '{layer.name}' {why}, or do not split batches: split batches "
            "(sub-batches of tasks, micro-batches, replicas, parts that a combiner compares) do "
            "not preserve this."
        )


def _descent(
    spec: StepSpec, gradients: Sequence[Gradient], written: Values
) -> tuple[list[keras.Variable], list[Gradient]]:
    """Adds L2 and clips; returns this replica's share of the sum that the optimizer computes.

    Values that overwrite a variable, as in Keras' float8 layers, are not gradients and are
    unchanged.
    """
    arguments, reached = spec.arguments, _reached(spec.network.trainable_variables, gradients)
    if not reached:
        return [], []
    factor: Any = 1.0 if spec.loss_scale is None else spec.loss_scale
    apart = [(v, scaled(g, factor)) for v, g in reached if v.overwrite_with_gradient]
    variables = [v for v, _ in reached if not v.overwrite_with_gradient]
    found = [g for v, g in reached if not v.overwrite_with_gradient]
    if arguments.weight_decay:
        values = [tf.convert_to_tensor(written.get(id(v), v.value)) for v in variables]
        found = [
            tf.convert_to_tensor(gradient) + tf.cast(arguments.weight_decay * value, gradient.dtype)
            for gradient, value in zip(found, values, strict=True)
        ]
    if number_of_replicas() > 1:
        factor /= number_of_replicas()
    if arguments.clip_norm is not None:
        factor *= _clipping(found, arguments.clip_norm)
    if not isinstance(factor, float) or factor != 1.0:
        found = [scaled(gradient, factor) for gradient in found]
    return [*variables, *(v for v, _ in apart)], [*found, *(value for _, value in apart)]


def _reached(
    variables: Sequence[keras.Variable], gradients: Sequence[Gradient]
) -> list[tuple[keras.Variable, Any]]:
    """Returns the variables that a task depends on, with their gradients; warns of all others."""
    if not variables:
        warnings.warn("The network has no trainable weights.", stacklevel=2)
        return []
    each = list(zip(variables, gradients, strict=True))
    reached = [(v, gradient) for v, gradient in each if gradient is not None]
    if not reached:
        raise ValueError(
            "No task loss has a gradient with respect to any trainable variable of the "
            "network. Check that the network has trainable variables, and that it was built before "
            "its layers ran inside a `tf.function`."
        )
    if paths := [v.path for v, gradient in each if gradient is None]:
        warnings.warn(
            f"No task depends on these variables, so they are not trained: {paths}", stacklevel=2
        )
    return reached


def _clipping(gradients: Sequence[Any], clip_norm: float) -> tf.Tensor:
    """Returns the factor that limits the global norm of gradients to `clip_norm`."""
    norm = tf.linalg.global_norm([tf.cast(gradient, tf.float32) for gradient in gradients])
    factor = clip_norm * tf.minimum(1.0 / norm, 1.0 / clip_norm)
    return nan_unless(tf.math.is_finite(norm), factor)
