"""FORUM: lowers all validation losses while the weighted training loss falls too."""

import keras
import tensorflow as tf

from mtk.combiners.adam import TaskAdam
from mtk.combiners.parts import PartsCombiner
from mtk.combiners.simplex_weights import SimplexWeights
from mtk.combiners.solvers.interior_point import minimize
from mtk.combiners.solvers.scaling import solver_dtype
from mtk.ranges import check_nonnegative

# Method of multipliers: penalty on the squared residual of the equation, and number of rounds.
_PRICE = 1e3
_ROUNDS = 2

ROUNDING = 1e-6


@keras.saving.register_keras_serializable("mtk")
class FORUM(PartsCombiner):
    """First-order multi-gradient method for bilevel problems, which learns the loss weights too.

    One half of the batch is for training, the other for validation. With `w = softmax(z)`, q is the
    gradient of the weighted training loss on the first half, and `f_k` that of task k on the
    second, rescaled to the length of q. The network descends

        `sum_k s_k f_k + nu q`,  `nu = max(sum_k s_k p_k, 0)`,  `p_k = rho - q . f_k / |q|^2`,

    whose product with q is at least `rho |q|^2`: the training loss falls too. The shares s are a
    running mean of the points of the simplex that minimize
    `|sum_k s_k f_k + nu q|^2 - nu rho |q|^2` with `nu >= max(sum_k s_k p_k, 0)`. The logits z
    descend `nu` times the gradient of the gap between the weighted training loss and its value
    after further training with the same weights: a task whose loss is about to fall more than
    others' loses weight.

    **Each batch is divided into two parts**; see `PartsCombiner`. A step costs K backward passes
    and holds 2 * K gradients, of half of the batch each.

    Departures from the paper and its authors' code:

    * They train a copy of the network for several steps to estimate how far losses fall. Here it is
      one small step to first order, `J J' w` from the Gramian of the first half, without a copy.
    * The part of the gap's gradient that belongs to z is omitted from products: it is proportional
      to the size of that small step.
    * The gradients `f_k` have the length of q instead of one, so that scaled gradients scale the
      result, and K equal gradients g give g (for `rho <= 1`).
    * The running mean gives the newest shares weight `t^-decay` at step t; the authors' code counts
      epochs.
    * Products are over shared variables only. A head is reached by its own task only, and descends
      the mean over both halves, scaled by the sum of the task's two weights.

    Permuting the tasks permutes the weights, which are nonnegative; they sum to one only for equal
    gradients. The result may conflict with a gradient. The state is 5 * K + 2 numbers.

    Attributes:
        unsolved: Number of steps so far whose shares were not optimal.

    Args:
        rho: Least decrease of the training loss, relative to a step along q.
        learning_rate: Adam's learning rate for z.
        decay: Exponent of the running mean; 0 uses each step's shares without averaging.

    Raises:
        ValueError: If a number is negative or not finite.

    Reference:
        Ye et al., *A First-Order Multi-Gradient Algorithm for Multi-Objective Bi-Level
        Optimization* (2024), algorithm 1.
    """

    batch_parts = 2
    weighs_heads = True

    def __init__(
        self,
        rho: float = 0.1,
        learning_rate: float = 1e-3,
        decay: float = 0.75,
        name: str | None = None,
    ):
        check_nonnegative(learning_rate=learning_rate, rho=rho, decay=decay)
        super().__init__(name=name)
        self.rho = rho
        self.learning_rate = learning_rate
        self.decay = decay

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.step = self.add_state("step", ())
        self.unsolved = self.add_state("unsolved", (), dtype="int64")
        self.logits = self.add_state("logits", (num_tasks,))
        self.task_shares = SimplexWeights(self)
        self.adam = TaskAdam(self, self.learning_rate)

    def part_weights(
        self, products: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        del task_losses
        products = tf.cast(products, solver_dtype())
        training, crossed, validation = (
            products[0, :, 0, :],
            products[0, :, 1, :],
            products[1, :, 1, :],
        )
        weights = self._softmax(present[0], products.dtype)
        gap = tf.linalg.matvec(training, weights)
        length = tf.sqrt(tf.maximum(tf.reduce_sum(weights * gap), 0.0))
        lengths = tf.sqrt(tf.linalg.diag_part(validation))
        directed = lengths > 0.0  # Without a label, a task has no gradient.
        inverse = tf.math.reciprocal_no_nan(lengths)
        cosines = validation * inverse[:, None] * inverse[None, :]
        along = tf.math.divide_no_nan(tf.linalg.matvec(crossed, weights, transpose_a=True), length)
        along *= inverse
        shares = self._shares(cosines, along, directed)
        # Where one half has no gradient, the step is that of the other half, at its own length.
        takes_part = tf.cast(directed, lengths.dtype)
        mean = tf.math.divide_no_nan(tf.reduce_sum(lengths), tf.reduce_sum(takes_part))
        unit = tf.where(length > 0.0, length, mean)
        needed = tf.reduce_sum(shares * (self.rho - along))
        # Where nu should be zero, only rounding error is left, on which Adam would take full steps.
        needed = tf.where(needed > ROUNDING, needed, 0.0)
        nu = tf.where(tf.reduce_any(directed), tf.where(length > 0.0, needed, 0.0), 1.0)
        found = tf.stack([nu * weights, shares * unit * inverse])
        slope = nu * weights * tf.math.divide_no_nan(gap - length**2, length**2)
        change = self.adam.change(
            tf.cast(slope, tf.float32), present[0] & tf.reduce_any(present[1])
        )
        self.logits.assign_add(change)
        return tf.cast(found, tf.float32)

    def _shares(self, cosines: tf.Tensor, along: tf.Tensor, directed: tf.Tensor) -> tf.Tensor:
        """Returns the running mean of the shares of the validation gradients."""
        shares, solved = least(cosines, along, directed, self.rho)
        self.unsolved.assign_add(tf.cast(~solved, tf.int64))
        self.step.assign_add(1.0)
        before = self.task_shares.of(directed)
        after = before + self.step**-self.decay * (tf.cast(shares, tf.float32) - before)
        self.task_shares.keep(after, directed)
        return tf.cast(after, cosines.dtype)

    def _softmax(self, present: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        logits = tf.where(present, self.logits, tf.float32.min)
        return tf.cast(tf.where(present, tf.nn.softmax(logits), 0.0), dtype)


def least(
    cosines: tf.Tensor, along: tf.Tensor, directed: tf.Tensor, rho: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Minimizes `|sum_k s_k f_k + nu q|^2 - nu rho` over shares s and `nu >= max(s . p, 0)`.

    All gradients have length one, and `p = rho - along`. The unknowns are s, nu and the slack of
    `nu - s . p`, all nonnegative. The equation between them is enforced by the method of
    multipliers around the interior-point method.

    Args:
        cosines: Tensor `(K, K)`: cosines of the validation gradients f.
        along: Tensor `(K,)`: their products with q.
        directed: Boolean tensor `(K,)`: which gradients take part.
        rho: Price of nu.

    Returns:
        The shares, tensor `(K,)`, zero if no gradient takes part; and whether they are optimal,
        boolean tensor `()`.

    Reference:
        Nocedal & Wright, *Numerical Optimization* (2006), framework 17.3.
    """
    inside = tf.cast(directed, cosines.dtype)
    size = inside.shape[0]
    square = tf.linalg.set_diag(cosines, tf.ones_like(inside))
    gramian = tf.concat([square, along[:, None]], 1)
    gramian = tf.concat([gramian, tf.concat([along, [1.0]], 0)[None]], 0)
    gramian = tf.pad(gramian, [[0, 1], [0, 1]])
    linear = tf.concat([1.0 - inside, [-rho / 2.0, 0.0]], 0)
    equation = tf.concat([(along - rho) * inside, [1.0, -1.0]], 0)
    normal = tf.pad(inside, [[0, 2]])
    hessian = gramian + _PRICE * equation[:, None] * equation[None, :]
    start = tf.fill([size + 2], tf.math.reciprocal(tf.maximum(tf.reduce_sum(inside), 1.0)))

    def solve(multiplier: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        own = linear + multiplier * equation
        return minimize(lambda x: (tf.linalg.matvec(hessian, x) + own, hessian), start, normal)

    multiplier = tf.zeros([], cosines.dtype)
    for _ in range(_ROUNDS):
        found, solved = solve(multiplier)
        multiplier += _PRICE * tf.reduce_sum(equation * found)
    shares = found[:size] * inside
    return tf.math.divide_no_nan(shares, tf.reduce_sum(shares)), solved
