"""What every combiner shares: the three kinds, their state and their contract with the trainer."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import keras
import tensorflow as tf

from mtk import gradients


class Combined(NamedTuple):
    """What a combiner returns.

    Attributes:
        gradients: List with one tensor per shared variable, of the variable's shape: the direction
            that the optimizer descends.
        task_weights: Tensor `(K,)`, the weight that each task had in it.
    """

    gradients: list[tf.Tensor]
    task_weights: tf.Tensor


class Combiner(keras.layers.Layer):
    """Merges the gradients of K tasks into one.

    A combiner is a layer for the sake of its state: variables of a layer are tracked, saved and
    restored with the model. It computes in float32 whatever the dtype policy, because mixed
    precision would turn a gradient of 1e-9 into zero.

    Attributes:
        reads: What the trainer must supply: `"losses"` (one backward pass), `"gramian"` or
            `"gradients"` (per-task gradients).
        at: Where gradients are taken: `"parameters"` (all shared variables),
            `"representation"` (the features that the heads read), `"last_layer"` (the last shared
            layer), or the name of a layer.
        update_every: Steps between two looks at the per-task gradients.
        weighs_heads: Whether a task's own head is scaled by the task's weight. If not, each head
            gets its own gradient divided by the number of tasks present.
        watches_step: Whether `after_step` wants the task losses after the update, at the price of
            a second forward pass.
    """

    reads: ClassVar[Literal["losses", "gramian", "gradients"]]
    weighs_heads: bool = False
    watches_step: ClassVar[bool] = False
    at: str = "parameters"
    update_every: int = 1

    def __init__(self, name: str | None = None):
        super().__init__(name=name, dtype="float32", autocast=False, trainable=False)
        self.task_names: tuple[str, ...] | None = None

    def bind(self, task_names: Sequence[str], variable_paths: Sequence[str]) -> None:
        """Tells the combiner whom it serves; the trainer calls it once, before `build`.

        Args:
            task_names: The K names, in the order of every `(K,)` vector.
            variable_paths: Path of each shared variable, in the order of `task_gradients`.
        """
        del variable_paths
        self.task_names = tuple(task_names)

    def build(self, num_tasks: int) -> None:
        """Creates the state for `num_tasks` tasks."""
        self.num_tasks = num_tasks

    def add_state(
        self, name: str, shape: tuple[int, ...], initial: float = 0.0, dtype: str = "float32"
    ) -> keras.Variable:
        """Adds a variable that is saved with the model and equal on all replicas."""
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=keras.initializers.Constant(initial),
            dtype=dtype,
            trainable=False,
            aggregation="only_first_replica",
        )

    def __call__(
        self,
        task_gradients: Sequence[tf.Tensor],
        task_losses: tf.Tensor,
        present: tf.Tensor | None = None,
        counts: tf.Tensor | None = None,
    ) -> Combined:
        """Combines one step's gradients.

        Args:
            task_gradients: List with one tensor `(K, *variable.shape)` per shared variable.
            task_losses: Tensor `(K,)`.
            present: Boolean tensor `(K,)`: which tasks had a label in the batch. The others are
                taken out of the problem. All, by default.
            counts: Tensor `(K,)`: labels of each task in the global batch. One each, by default.

        Returns:
            A `Combined`.
        """
        task_losses = tf.cast(tf.convert_to_tensor(task_losses), tf.float32)
        if not self.built:
            self.build(int(task_losses.shape[0]))
        if counts is None:
            counts = tf.ones_like(task_losses)
        if present is None:
            present = counts > 0
        task_gradients = [tf.cast(tf.convert_to_tensor(g), tf.float32) for g in task_gradients]
        return super().__call__(
            task_gradients,
            task_losses,
            tf.convert_to_tensor(present),
            tf.cast(tf.convert_to_tensor(counts), tf.float32),
        )

    def call(
        self,
        task_gradients: list[tf.Tensor],
        task_losses: tf.Tensor,
        present: tf.Tensor,
        counts: tf.Tensor,
    ) -> Combined:
        raise NotImplementedError

    def head_weights(self, task_weights: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """Returns what each task's own head is scaled by, `(K,)`: see `weighs_heads`.

        Args:
            task_weights: Tensor `(K,)`, this step's weights.
            present: Boolean tensor `(K,)`.
        """
        if self.weighs_heads:
            return task_weights
        mask = tf.cast(present, tf.float32)
        return tf.math.divide_no_nan(mask, tf.reduce_sum(mask))

    def after_step(self, before: tf.Tensor, after: tf.Tensor, present: tf.Tensor) -> None:
        """Sees the task losses `(K,)` of one batch before and after the update.

        Called only where `watches_step` is set.
        """

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}

    def get_build_config(self) -> None:
        """Leaves a loaded combiner unbuilt: the model builds it when it has told it the tasks."""


class LossCombiner(Combiner):
    """A combiner that weighs tasks by their losses, or by nothing: one backward pass."""

    reads = "losses"
    weighs_heads = True

    def task_weights(
        self, task_losses: tf.Tensor, present: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        """Returns this step's weights.

        Args:
            task_losses: Tensor `(K,)`; zero for an absent task.
            present: Boolean tensor `(K,)`.
            counts: Tensor `(K,)`, labels of each task in the global batch.

        Returns:
            Tensor `(K,)`, zero for an absent task.
        """
        raise NotImplementedError

    def call(
        self,
        task_gradients: list[tf.Tensor],
        task_losses: tf.Tensor,
        present: tf.Tensor,
        counts: tf.Tensor,
    ) -> Combined:
        weights = self.task_weights(task_losses, present, counts)
        return Combined(gradients.weighted_sum(task_gradients, weights), weights)


class GramianCombiner(Combiner):
    """A combiner that needs only the inner products of the task gradients.

    Args:
        at: Where the gradients are taken; see `Combiner`.
        update_every: Compute new weights every this many steps. In between, the last ones serve
            and the step costs one backward pass.
    """

    reads = "gramian"

    def __init__(self, at: str = "parameters", update_every: int = 1, name: str | None = None):
        if update_every < 1:
            raise ValueError(
                f"`update_every` is a number of steps, 1 or more. Received: {update_every}"
            )
        super().__init__(name=name)
        self.at = at
        self.update_every = update_every

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

    def new_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        """As `task_weights`, and remembers them for the steps until the next update.

        A Gramian that is not finite gives weights that are NaN, so that a diverged run is seen.
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

    def kept_weights(self, present: tf.Tensor) -> tf.Tensor:
        """Returns the weights of the last update for the tasks that are present now, `(K,)`."""
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

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "at": self.at, "update_every": self.update_every}
