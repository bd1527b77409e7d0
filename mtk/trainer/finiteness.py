"""Steps whose losses or gradient are infinite or NaN: seen, noted, and left out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from mtk.trainer.passes import Gradient

if TYPE_CHECKING:
    from mtk.trainer.model import MultiTaskModel

# After so many steps skipped in a row nothing trains any more.
MOST_IN_A_ROW = 100


def all_finite(tensors: Sequence[Gradient]) -> tf.Tensor:
    """Returns whether all elements of all tensors are finite, a boolean scalar.

    Losses alone do not tell: ReLU and max-pooling turn NaN into numbers on CPUs.
    """
    # A sum is finite only if all its terms are; one that overflows is as good as infinite.
    sums = [tf.reduce_sum(getattr(tensor, "values", tensor)) for tensor in tensors]
    return tf.reduce_all(tf.math.is_finite(tf.stack(sums)))


class Before:
    """What a step changes besides weights and the optimizer, as it was before.

    Args:
        model: The model.
    """

    def __init__(self, model: "MultiTaskModel"):
        metrics = [v for metric in model.metrics for v in metric.variables]
        self.others = _values([*metrics, model.last_weights, model.last_gramian])
        self.combiner = _values(model.combiner.variables)

    def restore_unless(self, finite: tf.Tensor, learned: tf.Tensor) -> None:
        """Brings everything back after a step that does not count.

        Args:
            finite: Boolean scalar: whether the step counts.
            learned: Boolean scalar: whether the combiner's state counts too. It does not where the
                losses after the step, from which it learned, are not finite.
        """
        for pairs, accepted in ((self.others, finite), (self.combiner, learned)):
            for variable, value in pairs:
                variable.assign(tf.where(accepted, variable.value, value))


def apply(
    model: "MultiTaskModel",
    descent: Sequence[tuple[Gradient, keras.Variable]],
    finite: tf.Tensor,
) -> None:
    """Hands gradients to the optimizer, unless they are not finite and such steps are skipped.

    Args:
        model: The model.
        descent: Gradients and their variables.
        finite: Boolean scalar, the same on all replicas.
    """
    optimizer, variables = model.optimizer, [variable for _, variable in descent]
    gradients = [gradient for gradient, _ in descent]
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        # It skips such steps by itself; a loss that is no number must count as an overflow too.
        optimizer.apply([_nan_unless(finite, gradient) for gradient in gradients], variables)
    elif model.skips_steps:
        _apply_if(finite, optimizer, gradients, variables)
    else:
        optimizer.apply(gradients, variables)


def _apply_if(
    finite: tf.Tensor,
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[Gradient],
    variables: Sequence[keras.Variable],
) -> None:
    def take() -> tf.Tensor:
        optimizer.apply(gradients, variables)
        return tf.constant(True)

    if tf.__internal__.distribute.strategy_supports_no_merge_call():
        tf.cond(finite, take, lambda: tf.constant(False))
        return

    # Replicas that meet in the middle of a step cannot do so inside a conditional: it is taken
    # for all of them.
    def together(strategy: tf.distribute.Strategy, finite: tf.Tensor, gradients: list) -> None:
        def take_all() -> tf.Tensor:
            strategy.extended.call_for_each_replica(
                lambda own: optimizer.apply(own, variables), args=(gradients,)
            )
            return tf.constant(True)

        first = strategy.experimental_local_results(finite)[0]
        tf.cond(first, take_all, lambda: tf.constant(False))

    tf.distribute.get_replica_context().merge_call(together, args=(finite, list(gradients)))


def note(
    model: "MultiTaskModel",
    task_losses: tf.Tensor,
    gramian: tf.Tensor | None,
    finite: tf.Tensor,
) -> None:
    """Counts skipped steps, and notes the step that ends the training and its tasks.

    With float16 a gradient that overflows is nothing but a scale too high; a loss is not.

    Args:
        model: The model, whose optimizer has been applied.
        task_losses: Tensor `(K,)`.
        gramian: Tensor `(K, K)`, if this step has one.
        finite: Boolean scalar: whether losses and gradient are.
    """
    skipped = tf.cast(~finite, tf.int64) if model.skips_steps else tf.constant(0, tf.int64)
    model.skipped_steps.assign_add(skipped)
    in_a_row = tf.where(finite, tf.zeros((), tf.int64), model.skipped_in_a_row + skipped)
    model.skipped_in_a_row.assign(in_a_row)
    failed = in_a_row >= MOST_IN_A_ROW
    if model.on_nonfinite == "stop":
        failed |= ~(all_finite([task_losses]) if model.skips_steps else finite)
    bad = ~tf.math.is_finite(task_losses)
    if gramian is not None:
        bad |= ~tf.math.is_finite(tf.linalg.diag_part(gramian))
    step = tf.cast(model.optimizer.iterations, tf.int64) + model.skipped_steps
    known = tf.convert_to_tensor(model.nonfinite_step.value)
    new = failed & (known < 0)
    model.nonfinite_step.assign(tf.where(new, step, known))
    tasks = tf.convert_to_tensor(model.nonfinite_tasks.value)
    model.nonfinite_tasks.assign(tf.where(new, tf.cast(bad, tf.float32), tasks))
    if gramian is not None:
        measured = tf.convert_to_tensor(model.last_measured.value)
        accepted = tf.where(finite, step, measured) if model.skips_steps else step
        model.last_measured.assign(accepted)


def _nan_unless(finite: tf.Tensor, gradient: Gradient) -> Gradient:
    nan = tf.where(finite, 0.0, float("nan"))
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values + nan, gradient.indices, gradient.dense_shape)
    return gradient + nan


def _values(variables: Sequence[keras.Variable]) -> list[tuple[keras.Variable, tf.Tensor]]:
    # A copy: on some devices a read shares its memory with the variable.
    return [(v, tf.identity(tf.convert_to_tensor(v.value))) for v in variables]
