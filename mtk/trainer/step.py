"""One training step, as a replica takes it."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from mtk.gradients import choose, summed_rows
from mtk.trainer import batches, finiteness, forward, products
from mtk.trainer.micro_batches import MicroBatches
from mtk.trainer.passes import AtOnce, Gradient, Place, Setting
from mtk.trainer.update import Update

if TYPE_CHECKING:
    from mtk.trainer.model import MultiTaskModel


def training_step(model: "MultiTaskModel", data: Any, measured: bool) -> None:
    """Takes one step: forward, gradient, combine, L2, clip, apply, note.

    A combiner is not linear, so it must see the whole global batch: the task losses and gradients
    are summed over the replicas before it. From there on every replica does the same.

    Args:
        model: The model.
        data: This replica's part of the global batch.
        measured: Whether to take the gradient of each task.
    """
    shares = batches.parse(data, model.task_names)
    context = tf.distribute.get_replica_context()
    state = forward.State(model.network, context.replica_id_in_sync_group)
    places = watched(model, batches.is_shared_input(shares))
    scale = _loss_scale(model)
    whole = measured and scale is None and _takes_whole_gradients(model)
    linear = _linear(model) if whole and batches.is_shared_input(shares) else []
    sparse = whole and not model.jit_compile  # XLA needs to know how many rows are touched.
    setting = Setting(model, state, places, scale, model.micro_batches, linear, sparse)
    before = finiteness.Before(model) if model.skips_steps else None
    passes = (AtOnce if model.micro_batches == 1 else MicroBatches)(setting, shares)
    outcome = _update(model, shares)(passes, measured)
    descent = _descent(model, outcome.gradients, scale)
    finite = finiteness.all_finite([passes.task_losses, *(g for g, _ in descent)])
    finiteness.apply(model, descent, finite)
    accepted = finite if model.skips_steps else None
    state.write(passes.changes(), context.num_replicas_in_sync, accepted)
    if model.combiner.watches_step:
        after = passes.losses_now()
        model.combiner.after_step(passes.task_losses, after, passes.present)
        accepted = None if accepted is None else accepted & finiteness.all_finite([after])
    model.last_weights.assign(outcome.task_weights)
    if outcome.gramian is not None:
        model.last_gramian.assign(outcome.gramian)
    model.task_metrics.update_weights(outcome.task_weights)
    if before is not None:
        before.restore_unless(finite, accepted)
    finiteness.note(model, passes.task_losses, outcome.gramian, finite)


def _takes_whole_gradients(model: "MultiTaskModel") -> bool:
    """Whether the combiner only weighs task gradients, and these come from one pass.

    What several replicas or micro-batches find is added up first, tensor by tensor.
    """
    parts = tf.distribute.get_replica_context().num_replicas_in_sync * model.micro_batches
    combiner = model.combiner
    return parts == 1 and combiner.at == "parameters" and not combiner.changes_gradients


def _linear(model: "MultiTaskModel") -> list[products.Linear]:
    """Returns the layers whose kernels' Gramian can do without their task gradients."""
    shared = {id(v) for v in model.structure.shared}
    return [each for each in model.structure.linear if id(each.kernel) in shared]


def _update(model: "MultiTaskModel", shares: Sequence[batches.Share]) -> Update:
    shared_input = batches.is_shared_input(shares)
    return Update(
        model.combiner,
        model.network.trainable_variables,
        model.task_names,
        lambda: model.structure,
        choose(model.gradients, len(model.tasks), shared_input),
    )


def watched(model: "MultiTaskModel", shared_input: bool) -> list[Place]:
    """Returns the layers, and which of their calls, whose outputs the combiner asks for."""
    if model.combiner.reads != "losses" and not model.structure.shared:
        raise ValueError(
            f"{type(model.combiner).__name__} combines the gradients of shared variables, but no "
            "trainable variable is reached by two tasks. Unfreeze some, name `shared=`, build the "
            "network before the model, or use StaticWeights."
        )
    if model.combiner.at != "representation" or len(model.tasks) == 1:
        return []
    if not shared_input:
        raise ValueError(
            "`at='representation'` needs tasks that share their input; here each task has its "
            "own. Use `at='parameters'`."
        )
    if model.combiner.reads == "gradients" and model.structure.both_sides:
        raise ValueError(
            "These variables act both before and behind the representation: "
            f"{[v.path for v in model.structure.both_sides]}. Combine at='parameters', or name a "
            "representation that separates trunk and heads."
        )
    if not model.structure.representation:
        raise ValueError(
            "The features that the heads read are not the output of any layer. Make them one, "
            "and name it: `MultiTaskModel(..., representation='<layer name>')`."
        )
    return model.structure.representation


def _loss_scale(model: "MultiTaskModel") -> tf.Tensor | None:
    """Returns the factor that keeps float16 gradients from vanishing, or None."""
    optimizer = model.optimizer
    if hasattr(optimizer, "inner_optimizer") or getattr(optimizer, "loss_scale_factor", None):
        return tf.convert_to_tensor(optimizer.scale_loss(tf.constant(1.0)))
    return None


def _descent(
    model: "MultiTaskModel", gradients: Sequence[Gradient], scale: tf.Tensor | None
) -> list[tuple[Gradient, keras.Variable]]:
    """Adds L2 and clips; returns this replica's share of the sum that the optimizer will take."""
    variables = model.network.trainable_variables
    pairs = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
    if not pairs:
        raise ValueError(
            "No task's loss has a gradient by any trainable variable of the network. Is something "
            "trainable, and was the network built before its layers ran inside a `tf.function`?"
        )
    if len(pairs) < len(variables):
        paths = [v.path for g, v in zip(gradients, variables, strict=True) if g is None]
        warnings.warn(f"No task reaches these variables, they stay as is: {paths}", stacklevel=2)
    # Rows of an embedding that occur more than once: optimizers square them, and norms are taken.
    add_up = tf.convert_to_tensor if model.jit_compile else summed_rows
    found = [add_up(gradient) for gradient, _ in pairs]
    if model.weight_decay:
        found = [
            tf.convert_to_tensor(gradient) + model.weight_decay * tf.convert_to_tensor(v.value)
            for gradient, v in pairs
        ]
    if model.clip_norm is not None:
        found, _ = tf.clip_by_global_norm(found, model.clip_norm)
    replicas = tf.distribute.get_replica_context().num_replicas_in_sync
    if scale is not None or replicas > 1:
        factor = (1.0 if scale is None else scale) / replicas
        found = [_scaled(gradient, factor) for gradient in found]
    return list(zip(found, [variable for _, variable in pairs], strict=True))


def _scaled(
    gradient: tf.Tensor | tf.IndexedSlices, factor: tf.Tensor | float
) -> tf.Tensor | tf.IndexedSlices:
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values * factor, gradient.indices, gradient.dense_shape)
    return gradient * factor
