"""MetaBalance: auxiliary gradients scaled to the target's norm, variable by variable."""

import keras
import tensorflow as tf

from mtk.combiners.base import Combined, Combiner
from mtk.combiners.buffers import by_task, of_present, shared_paths
from mtk.ranges import check_rate, check_share


@keras.saving.register_keras_serializable("mtk")
class MetaBalance(Combiner):
    """Scales the gradients of auxiliary tasks toward the target's norm, in each variable.

    With `m_i` the moving average of the norm of task i's gradient for a variable, and `m_0` that of
    the target task, an auxiliary gradient is multiplied by `(1 - r) + r m_0 / m_i`. The direction
    is the mean: the mean scale. (The authors take the sum.)

    Departures: an average starts with the first nonzero norm, and an auxiliary gradient is
    unchanged until its task and the target both have one. The reported task weights are the factors
    over K, averaged over the variables.

    Permuting the auxiliary tasks permutes the weights, and scaling all gradients scales the result;
    it may conflict with a gradient. A step holds all K gradients; the state is K numbers per
    variable. Heads are trained by their own gradients, divided by the number of tasks.

    Args:
        target: Name of the task that the auxiliary tasks serve; the first one by default.
        relax: r, from 0 (gradients unchanged) to 1 (all as long as the target's).
        beta: Weight of the past in the averages, in `[0, 1)`.

    Raises:
        ValueError: If a number is out of range or, once the tasks are known, the target is not one
            of them.

    Reference:
        He et al., *MetaBalance: Improving Multi-Task Recommendations via Adapting Gradient
        Magnitudes of Auxiliary Tasks* (2022), algorithm 1, strategy C.
    """

    reads = "gradients"

    def __init__(
        self,
        target: str | None = None,
        relax: float = 0.7,
        beta: float = 0.9,
        name: str | None = None,
    ):
        check_share(relax=relax)
        check_rate(beta=beta)
        super().__init__(name=name)
        self.target = target
        self.relax = relax
        self.beta = beta

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        names = self.task_names or ()
        if self.target is not None and self.target not in names:
            raise ValueError(
                f"`target` must be the name of a task, one of {list(names)}. Received: "
                f"{self.target!r}"
            )
        self.main = 0 if self.target is None else names.index(self.target)
        self.known = {path: index for index, path in enumerate(self.variable_shapes)}
        if not self.known:
            raise ValueError(
                "MetaBalance keeps state for each variable, but was built without the "
                "variables' shapes. Call `bind_shapes({path: shape})` first."
            )
        self.norms = self.add_state("norms", (len(self.known), num_tasks))

    def call(
        self,
        task_gradients: list[tf.Tensor],
        task_losses: tf.Tensor,
        present: tf.Tensor,
        counts: tf.Tensor,
    ) -> Combined:
        del task_losses, counts
        task_gradients = of_present(task_gradients, present)
        factors = self._factors(task_gradients, present)
        number = tf.reduce_sum(tf.cast(present, tf.float32))
        weights = tf.math.divide_no_nan(tf.where(present, factors, 0.0), number)
        combined = [
            tf.reduce_sum(rows * by_task(own, rows), 0)
            for rows, own in zip(task_gradients, tf.unstack(weights), strict=True)
        ]
        return Combined(combined, tf.reduce_mean(weights, 0))

    def _factors(self, task_gradients: list[tf.Tensor], present: tf.Tensor) -> tf.Tensor:
        """Updates the averages; returns the factor of each gradient, `(variables, K)`."""
        rows = [self.known[path] for path in shared_paths(self, len(task_gradients))]
        flat = [tf.reshape(each, (self.num_tasks, -1)) for each in task_gradients]
        found = tf.stack([tf.norm(each, axis=1) for each in flat])
        before = tf.gather(self.norms, rows)
        moved = self.beta * before + (1.0 - self.beta) * found
        now = tf.where(present, tf.where(before > 0.0, moved, found), before)
        places = [[row] for row in rows]
        self.norms.assign(tf.tensor_scatter_nd_update(self.norms, places, now))
        main = now[:, self.main, None]
        ratio = tf.where((now > 0.0) & (main > 0.0), tf.math.divide_no_nan(main, now), 1.0)
        return (1.0 - self.relax) + self.relax * ratio
