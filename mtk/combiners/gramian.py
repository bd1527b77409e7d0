"""What the combiners share that read the Gramian of the task gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from mtk import gradients
from mtk.combiners.base import Combined, Combiner, Held, Place
from mtk.ranges import check_count


class Weights(list[keras.Variable]):
    """The variables of a layer, and a function: Keras has the name that the field has too.

    Args:
        variables: The variables.
        function: What a call calls; see `GramianCombiner.weights_of`.
    """

    def __init__(self, variables: Sequence[keras.Variable], function: Callable[..., Any]):
        super().__init__(variables)
        self._function = function

    def __hash__(self) -> int:  # type: ignore[override]
        """Lets `tf.function` take it for a function."""
        return id(self)

    def __call__(self, gramian: Any, task_losses: Any = None) -> Any:
        return self._function(gramian, task_losses)


class GramianCombiner(Combiner):
    """A combiner that needs only the inner products of the task gradients.

    The inner products are in float32, which holds those of gradients with norms from 1e-18 to
    1e19. A shorter gradient counts as zero; a longer one makes weights that are NaN, which ends a
    run as diverged. Multiply such losses by a constant, or use `loss_weights`.

    Args:
        at: Where the gradients are taken; see `Combiner`.
        update_every: Compute new weights every this many steps. In between, the last ones serve
            and the step costs one backward pass.

    Raises:
        ValueError: If `update_every` is less than one.
    """

    reads = "gramian"

    def __init__(self, at: Place = "parameters", update_every: int = 1, name: str | None = None):
        check_count(update_every=update_every)
        super().__init__(name=name)
        self.at = at
        self.update_every = update_every
        self._without_model = Held({})  # By the number of tasks.

    @property
    def changes_gradients(self) -> bool:
        return type(self).call is not GramianCombiner.call

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        # K times the last weights, so that 1 is neutral for a task that was absent then.
        self.last_weights = self.add_state("last_weights", (num_tasks,), initial=1.0)

    def task_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        """Returns the weights of the task gradients in the combined one.

        Args:
            gramian: Tensor `(K, K)` of inner products, float32; rows of absent tasks are zero.
            task_losses: Tensor `(K,)`; zero for an absent task.
            present: Boolean tensor `(K,)`.

        Returns:
            Tensor `(K,)`, float32, zero for an absent task.
        """
        raise NotImplementedError

    @property
    def weights(self) -> "Weights":
        """The layer's variables, as Keras has it; called, the weights for a Gramian.

        See `weights_of`: `MGDA().weights(gramian)` is `MGDA().weights_of(gramian)`.
        """
        return Weights(super().weights, self.weights_of)

    def weights_of(self, gramian: Any, task_losses: Any = None) -> Any:
        """Returns the weights for a Gramian, without a model: for a training loop of one's own.

        Nothing need be bound or built, and what a model knows of this combiner does not change.
        What the method remembers or draws goes on from call to call, for each number of tasks.

        Args:
            gramian: Array or tensor `(..., K, K)` of inner products of task gradients.
            task_losses: Array or tensor `(..., K)`, for methods that read losses; ones by default.

        Returns:
            The weights `(..., K)`, float32: an array for an array, a tensor for a tensor and inside
            a `tf.function`. NaN for a Gramian that is not finite.

        Raises:
            ValueError: If the shapes do not fit.
        """
        given = tf.cast(tf.convert_to_tensor(gramian), tf.float32)
        square = given.shape[-2:] if given.shape.rank else tf.TensorShape(None)
        if square.rank != 2 or square[0] is None or square[0] != square[1]:
            raise ValueError(
                "A Gramian is square, `(..., K, K)` with a known K: see `mtk.gramian`. "
                f"Received: an array of shape {given.shape}"
            )
        losses = tf.ones(tf.shape(given)[:-1]) if task_losses is None else task_losses
        losses = tf.cast(tf.convert_to_tensor(losses), tf.float32)
        if not losses.shape.is_compatible_with(given.shape[:-1]):
            raise ValueError(
                f"The task losses of Gramians {tuple(given.shape)} have the shape "
                f"{tuple(given.shape[:-1])}. Received: {tuple(losses.shape)}"
            )
        found = self._alone(int(given.shape[-1]))(given, losses)
        return found if tf.is_tensor(gramian) or tf.inside_function() else found.numpy()

    def _alone(self, num_tasks: int) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        """Returns a function of Gramians and losses by a copy that serves no model."""
        known = self._without_model.value
        if num_tasks not in known:
            with tf.init_scope():  # Variables outlive the function that is being traced.
                copy = type(self).from_config(self.get_config())
                copy.bind(self.task_names or [str(k) for k in range(num_tasks)], [])
                copy.build(num_tasks)

            def of_one(each: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
                return copy.new_weights(*each, tf.fill([num_tasks], True))

            @tf.function(autograph=False, reduce_retracing=True)
            def of_all(gramians: tf.Tensor, losses: tf.Tensor) -> tf.Tensor:
                if gramians.shape.rank == 2:
                    return of_one((gramians, losses))
                flat = (
                    tf.reshape(gramians, [-1, num_tasks, num_tasks]),
                    tf.reshape(losses, [-1, num_tasks]),
                )
                # One after the other: what is drawn or remembered goes on.
                found = tf.map_fn(
                    of_one, flat, parallel_iterations=1, fn_output_signature=tf.float32
                )
                return tf.reshape(found, tf.shape(losses))

            known[num_tasks] = of_all
        return known[num_tasks]

    def new_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        """As `task_weights`, and remembers them for the steps until the next update.

        A Gramian that is not finite gives weights that are NaN, so that a diverged run is seen.

        Args:
            gramian: Tensor `(K, K)` of inner products; rows of absent tasks may hold anything.
            task_losses: Tensor `(K,)`; zero for an absent task.
            present: Boolean tensor `(K,)`.

        Returns:
            Tensor `(K,)`, float32, zero for an absent task.
        """
        number = tf.reduce_sum(tf.cast(present, tf.float32))
        gramian, finite = self.problem(gramian, present)
        weights = self.task_weights(gramian, task_losses, present)
        weights = tf.where(finite, weights, float("nan"))
        self.last_weights.assign(tf.where(present, weights * number, 1.0))
        return weights

    @staticmethod
    def problem(gramian: tf.Tensor, present: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the Gramian without absent tasks, and whether it was finite.

        If not, all of it is zero: a factorization of NaN would stop the program.

        Args:
            gramian: Tensor `(..., K, K)`.
            present: Boolean tensor `(K,)`.
        """
        gramian = tf.where(present[:, None] & present[None, :], gramian, 0.0)
        finite = tf.reduce_all(tf.math.is_finite(gramian))
        return tf.where(finite, gramian, 0.0), finite

    def cached_weights(self, present: tf.Tensor) -> tf.Tensor:
        """Returns the weights of the last update for the tasks that are present now, `(K,)`.

        Args:
            present: Boolean tensor `(K,)`. A task that was absent then gets the mean weight.
        """
        mask = tf.cast(present, tf.float32)
        return tf.math.divide_no_nan(self.last_weights * mask, tf.reduce_sum(mask))

    def call(
        self,
        task_gradients: list[tf.Tensor],
        task_losses: tf.Tensor,
        present: tf.Tensor,
        counts: tf.Tensor,
    ) -> Combined:
        del counts
        weights = self.new_weights(gradients.gramian(task_gradients), task_losses, present)
        return Combined(gradients.weighted_sum(task_gradients, weights), weights)
