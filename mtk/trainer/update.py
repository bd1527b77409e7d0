"""Applies the result of a step, unless it is not finite and such steps are skipped."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from mtk.finite import all_finite, nan_unless
from mtk.gradients import scaled
from mtk.trainer.spec import StepSpec
from mtk.trainer.state import Change, State
from mtk.trainer.step import StepResult, task_losses_after


def apply(result: StepResult, optimizer: keras.optimizers.Optimizer, skip: bool) -> None:
    """Writes the changes of a step, and lets the optimizer update the variables."""
    finite = result.finite
    for change in result.changes:
        change.write(finite if skip else None)
    for variable, before, _ in result.state.in_place if skip else ():
        Change(variable, before, variable).write(finite)
    _apply_gradients(optimizer, result.gradients, result.variables, finite, skip)


def after_step(spec: StepSpec, result: StepResult, skip: bool) -> None:
    """Passes the task losses after the update to the combiner."""
    combiner, after = spec.combiner, task_losses_after(spec, result)
    with State().scope({}) as scope:
        combiner.after_step(result.task_losses, after, result.present)
    finite = result.finite & all_finite([after])
    for change in scope.changes():
        change.write(finite if skip else None)
    # If the losses after the step are not finite, the combiner's state is restored.
    own = {id(v) for v in combiner.variables} if skip else set()
    for variable, before, _ in result.changes:
        if id(variable) in own:
            Change(variable, before, variable.value).write(finite)


def _apply_gradients(
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[Any],
    variables: Sequence[keras.Variable],
    finite: tf.Tensor,
    skip: bool,
) -> None:
    """Applies gradients; `finite` is the same on all replicas."""
    is_scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    context = tf.distribute.get_replica_context()
    if context is not None and not (tf.distribute.has_strategy() or is_scaled):
        # Keras would sum over replicas, by an operation that TensorFlow keeps, with the step's
        # graph, for the life of the process. Outside of a replica context it does not.
        arguments = (optimizer, gradients, variables, finite, skip)
        context.merge_call(lambda _: _apply_gradients(*arguments))
    elif is_scaled:
        # It skips such steps itself; a NaN loss must count as an overflow too.
        factor = nan_unless(finite, 1.0)
        optimizer.apply([scaled(gradient, factor) for gradient in gradients], variables)
    elif skip:
        _apply_if(finite, optimizer, gradients, variables)
    else:
        optimizer.apply(gradients, variables)


def _apply_if(
    finite: tf.Tensor,
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[Any],
    variables: Sequence[keras.Variable],
) -> None:
    def take() -> tf.Tensor:
        optimizer.apply(gradients, variables)
        return tf.constant(True)

    if tf.__internal__.distribute.strategy_supports_no_merge_call():
        tf.cond(finite, take, lambda: tf.constant(False))
        return

    # Replicas that synchronize within a step cannot do so inside a conditional, so that it is
    # evaluated once for all of them.
    def together(strategy: tf.distribute.Strategy, finite: tf.Tensor, gradients: list) -> None:
        def take_all() -> tf.Tensor:
            strategy.extended.call_for_each_replica(
                lambda own: optimizer.apply(own, variables), args=(gradients,)
            )
            return tf.constant(True)

        first = strategy.experimental_local_results(finite)[0]
        tf.cond(first, take_all, lambda: tf.constant(False))

    tf.distribute.get_replica_context().merge_call(together, args=(finite, list(gradients)))
