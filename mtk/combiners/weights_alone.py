"""Task weights of a method for a Gramian, without a model."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf


class Weights(list[keras.Variable]):
    """A list of a layer's variables that can be called, as Keras and MTL both say `weights`.

    Args:
        variables: The variables.
        function: The function called; see `Combiner.weights_of`.
    """

    def __init__(self, variables: Sequence[keras.Variable], function: Callable[..., Any]):
        super().__init__(variables)
        self._function = function

    def __hash__(self) -> int:  # type: ignore[override]
        """Makes it hashable, so that `tf.function` accepts it as a function."""
        return id(self)

    def __call__(self, gramian: Any, task_losses: Any = None) -> Any:
        return self._function(gramian, task_losses)


def find(combiner: Any, gramian: Any, task_losses: Any) -> Any:
    """Returns the weights of a combiner for a Gramian; see `Combiner.weights_of`.

    Args:
        combiner: A `Combiner`, which is not changed.
        gramian: Array or tensor `(..., K, K)`.
        task_losses: Array or tensor `(..., K)`, or None.

    Raises:
        ValueError: If the shapes do not match, the combiner needs more than inner products, or its
            losses are missing.
    """
    _check(combiner, task_losses)
    given = _real("A Gramian", gramian)
    square = given.shape[-2:] if given.shape.rank else tf.TensorShape(None)
    if square.rank != 2 or not square[0] or square[0] != square[1]:
        raise ValueError(
            "A Gramian must be square, `(..., K, K)` with a known K; see `mtk.gramian`. "
            f"Received: an array of shape {given.shape}"
        )
    losses = tf.ones(tf.shape(given)[:-1]) if task_losses is None else task_losses
    losses = _real("The vector of task losses", losses)
    if not losses.shape.is_compatible_with(given.shape[:-1]):
        raise ValueError(
            f"The task losses for Gramians of shape {tuple(given.shape)} must have the shape "
            f"{tuple(given.shape[:-1])}. Received: {tuple(losses.shape)}"
        )
    found = _function(combiner, int(given.shape[-1]))(given, losses)
    return found if tf.is_tensor(gramian) or tf.inside_function() else found.numpy()


def _real(what: str, given: Any) -> tf.Tensor:
    """Returns real numbers as a float32 tensor."""
    tensor = tf.convert_to_tensor(given)
    if not (tensor.dtype.is_floating or tensor.dtype.is_integer):
        raise ValueError(f"{what} must contain real numbers. Received: {given!r}")
    return tf.cast(tensor, tf.float32)


def _check(combiner: Any, task_losses: Any) -> None:
    """Checks that inner products and losses suffice for a method."""
    name, why = _name(combiner), ""
    if combiner.needs_post_update_loss:
        why = "learns from the losses after each update, which it gets through `after_step`"
    elif combiner.weighs_examples:
        why = "weights each example of a batch"
    elif combiner.changes_gradients:
        why = "works on the gradients themselves, not on their inner products"
    if why:
        raise ValueError(
            f"{name} {why}, so it cannot compute weights from a Gramian. Call it with the "
            "gradients of a step, `combiner(task_gradients, task_losses)`, or train with "
            "`MultiTaskModel`."
        )
    reads_losses = combiner.reads == "losses" and not getattr(combiner, "loss_independent", False)
    if reads_losses and task_losses is None:
        raise ValueError(
            f"{name} computes its weights from the task losses; the Gramian only tells the "
            "number of tasks. Call `weights(gramian, task_losses)`."
        )


def _name(combiner: Any) -> str:
    inside = getattr(combiner, "combiner", None)
    return type(combiner).__name__ + (f" around {_name(inside)}" if inside else "")


def _function(combiner: Any, num_tasks: int) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns a function of Gramians and losses, computed by a copy without a model."""
    known = combiner.without_model
    if num_tasks not in known:
        with tf.init_scope():  # Variables outlive the function that is being traced.
            copy = combiner.copy()
            copy.bind(combiner.task_names or [str(k) for k in range(num_tasks)], [])
            copy.build(num_tasks)

        def of_one(each: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            return copy.gramian_weights(*each, tf.fill([num_tasks], True))

        @tf.function(autograph=False, reduce_retracing=True)
        def of_all(gramians: tf.Tensor, losses: tf.Tensor) -> tf.Tensor:
            if gramians.shape.rank == 2:
                return of_one((gramians, losses))
            flat = (
                tf.reshape(gramians, [-1, num_tasks, num_tasks]),
                tf.reshape(losses, [-1, num_tasks]),
            )
            # Sequentially, so that random draws and state continue.
            found = tf.map_fn(of_one, flat, parallel_iterations=1, fn_output_signature=tf.float32)
            return tf.reshape(found, tf.shape(losses))

        known[num_tasks] = of_all
    return known[num_tasks]
