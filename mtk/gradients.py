"""Per-task gradients: strategies to compute them, their Gramian and their weighted sum."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import tensorflow as tf

GradientStrategy = Literal["auto", "unrolled", "loop", "vectorized", "share"]

# At 8 tasks both take the same time on CPUs, at 2 the unrolled passes may run in parallel, and at
# 40 their graph takes too long to trace (`tools/benchmark.py ways`). The bound is a choice.
_UNROLLED_AT_MOST = 12
# Number of elements of all per-task gradients below which memory does not matter: 64 MiB.
_SMALL = 2**24


class TouchedRows(NamedTuple):
    """The task gradients of an embedding, without the rows that no task touches.

    Attributes:
        values: Tensor `(K, R, ...)`.
        indices: Tensor `(R,)`: indices of the variable's rows, each once.
        shape: Shape of the variable.
    """

    values: tf.Tensor
    indices: tf.Tensor
    shape: tf.Tensor


TaskGradient: TypeAlias = tf.Tensor | TouchedRows


def choose(strategy: GradientStrategy, num_tasks: int, shared_input: bool) -> GradientStrategy:
    """Returns the strategy to compute per-task gradients, with `"auto"` resolved.

    * `"unrolled"`: one backward pass per task, in parallel in the graph.
    * `"loop"`: one backward pass per task in a `tf.while_loop`: a graph of constant size.
    * `"vectorized"`: `GradientTape.jacobian` with `pfor`, all tasks at once; for accelerators.
    * `"share"`: one backward pass per task over its own share of the batch.
    * `"auto"`: by measurement on CPUs (see `tools/benchmark.py`): `"share"` if each task has its
      own input, otherwise `"unrolled"` for few tasks and `"loop"` for many.

    Args:
        strategy: The requested strategy.
        num_tasks: K.
        shared_input: Whether one forward pass serves all tasks.

    Raises:
        ValueError: If the strategy is unknown or does not fit the batch.
    """
    if strategy not in get_args(GradientStrategy):
        raise ValueError(
            f"Unknown strategy for per-task gradients: {strategy!r}. Known strategies: "
            f"{get_args(GradientStrategy)}"
        )
    if strategy == "auto":
        if not shared_input:
            return "share"
        return "unrolled" if num_tasks <= _UNROLLED_AT_MOST else "loop"
    if strategy == "share" and shared_input:
        raise ValueError(
            "`gradients='share'` needs a batch with separate inputs for each task, `{task: (x, "
            "y)}`. This batch has one input for all tasks: use 'unrolled', 'loop' or 'auto'."
        )
    return strategy


def per_task(
    tape: tf.GradientTape,
    losses: Sequence[tf.Tensor],
    stacked: tf.Tensor,
    shared: Sequence[tf.Tensor],
    heads: Sequence[Sequence[tf.Tensor]],
    strategy: GradientStrategy,
    sparse: bool = False,
    chosen: tf.Tensor | None = None,
) -> tuple[list[TaskGradient], list[list[tf.Tensor | None]]]:
    """Computes the gradient of each task, or of some of them.

    Args:
        tape: A persistent tape that has recorded the losses.
        losses: K scalars.
        stacked: The losses as one tensor `(K,)`, recorded on the tape too.
        shared: Variables or tensors to differentiate every task's loss with respect to.
        heads: For each task, those to differentiate only its loss with respect to.
        strategy: `"unrolled"`, `"loop"`, `"vectorized"` or `"share"`.
        sparse: Whether the gradients of embeddings may be `TouchedRows`. (XLA does not support
            them, and those of different replicas cannot be summed row by row.)
        chosen: Integer tensor `(m,)`: tasks to which the passes through `shared` are restricted,
            unrolled or in a loop.

    Returns:
        A list with one tensor `(K, *shape)`, or `(m, *shape)`, for each of `shared`, zero for tasks
        that it does not affect, and for each of the K tasks the list of its heads' gradients.
    """
    if chosen is None and strategy in ("unrolled", "share"):
        return _unrolled(tape, losses, shared, heads, sparse)
    if chosen is not None and strategy != "loop" and chosen.shape[0] <= _UNROLLED_AT_MOST:
        rows = _picked(tape, stacked, list(shared), chosen)
    elif chosen is None and strategy == "vectorized":
        rows = _vectorized(tape, stacked, list(shared))
    else:
        each = tf.range(len(losses)) if chosen is None else chosen
        rows = _looped(tape, stacked, list(shared), each)
    flat = [source for head in heads for source in head]
    # A head is reached by its own task only, so the gradient of the sum is the gradient of each.
    found = iter(tape.gradient(stacked, flat) if flat else [])
    return rows, [[next(found) for _ in head] for head in heads]


def _vectorized(
    tape: tf.GradientTape, stacked: tf.Tensor, sources: Sequence[tf.Tensor]
) -> list[tf.Tensor]:
    try:
        rows = tape.jacobian(stacked, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    except ValueError as error:
        raise ValueError(
            "`gradients='vectorized'` needs TensorFlow's `pfor`, which cannot vectorize the "
            "gradients of this network. Use 'unrolled', 'loop' or 'auto'."
        ) from error
    return [tf.convert_to_tensor(row) for row in rows]


def _looped(
    tape: tf.GradientTape, stacked: tf.Tensor, sources: Sequence[tf.Tensor], tasks: tf.Tensor
) -> list[tf.Tensor]:
    # Not `jacobian(experimental_use_pfor=False)`, which assumes the losses' dtype for all gradients
    # and fails for bfloat16 features.
    number = stacked.shape[0]

    def of_task(k: tf.Tensor) -> list[tf.Tensor]:
        start = tf.one_hot(k, number, dtype=stacked.dtype)
        found = tape.gradient(stacked, sources, output_gradients=start)
        return [_dense(gradient, v) for gradient, v in zip(found, sources, strict=True)]

    types = [tf.as_dtype(source.dtype).base_dtype for source in sources]
    # One iteration at a time: parallel ones would each hold copies of all intermediate values.
    return tf.map_fn(of_task, tasks, fn_output_signature=types, parallel_iterations=1)


def _picked(
    tape: tf.GradientTape, stacked: tf.Tensor, sources: Sequence[tf.Tensor], tasks: tf.Tensor
) -> list[tf.Tensor]:
    """Makes a pass for each of a few tasks, which are only known within the step."""
    # As in `_unrolled`.
    one_by_one = tasks.shape[0] * sum(v.shape.num_elements() or 0 for v in sources) > _SMALL
    each: list[list[tf.Tensor]] = []
    before: list[tf.Tensor] = []
    for task in tf.unstack(tasks):
        with tf.control_dependencies(before):
            start = tf.one_hot(task, stacked.shape[0], dtype=stacked.dtype)
        found = tape.gradient(stacked, sources, output_gradients=start)
        rows = [_dense(gradient, v) for gradient, v in zip(found, sources, strict=True)]
        before = rows if one_by_one else []
        each.append(rows)
    return [tf.stack(rows) for rows in zip(*each, strict=True)]


def _unrolled(
    tape: tf.GradientTape,
    losses: Sequence[tf.Tensor],
    shared: Sequence[tf.Tensor],
    heads: Sequence[Sequence[tf.Tensor]],
    sparse: bool,
) -> tuple[list[TaskGradient], list[list[tf.Tensor | None]]]:
    shared_rows, head_rows = [], []
    # Parallel passes use two cores better, but each needs its own memory: where gradients are
    # large, they run one after another.
    one_by_one = len(losses) * sum(v.shape.num_elements() or 0 for v in shared) > _SMALL
    before: list[tf.Tensor] = []
    for loss, head in zip(losses, heads, strict=True):
        with tf.control_dependencies(before):
            start = tf.ones_like(loss)
        found = tape.gradient(loss, [*shared, *head], output_gradients=start)
        if one_by_one:
            before = [g for g in found if g is not None]
        shared_rows.append(found[: len(shared)])
        head_rows.append(found[len(shared) :])
    # Stacked after the last pass has freed its memory. (The rows of a variable are freed as soon as
    # they are stacked.)
    with tf.control_dependencies(before):
        by_variable = zip(*shared_rows, strict=True)
        stacked = [_stacked(g, v, sparse) for g, v in zip(by_variable, shared, strict=True)]
    return stacked, head_rows


def _stacked(
    rows: Sequence[tf.Tensor | tf.IndexedSlices | None], source: tf.Tensor, sparse: bool
) -> TaskGradient:
    if sparse and all(isinstance(row, tf.IndexedSlices) for row in rows):
        return _touched(rows, source)
    return tf.stack([_dense(row, source) for row in rows])


def _touched(slices: Sequence[tf.IndexedSlices], source: tf.Tensor) -> TouchedRows:
    indices, places = tf.unique(tf.concat([s.indices for s in slices], 0))
    number = tf.size(indices)
    # Task k's rows begin at k * number, so that one call sums duplicate rows of each task.
    task = tf.repeat(tf.range(len(slices)), [tf.size(s.indices) for s in slices])
    values = tf.concat([s.values for s in slices], 0)
    rows = tf.math.unsorted_segment_sum(values, places + task * number, len(slices) * number)
    values = tf.reshape(rows, tf.concat([[len(slices), -1], tf.shape(values)[1:]], 0))
    return TouchedRows(values, indices, tf.shape(source))


def _dense(gradient: tf.Tensor | tf.IndexedSlices | None, source: tf.Tensor) -> tf.Tensor:
    if gradient is None:
        return tf.zeros_like(source)
    return tf.convert_to_tensor(gradient)


def summed_rows(gradient: tf.Tensor | tf.IndexedSlices) -> tf.Tensor | tf.IndexedSlices:
    """Sums the slices of a gradient that belong to the same row of its variable.

    A backward pass gives an embedding's gradient as one slice per token, and an optimizer that
    squares slices would use the sum of squares instead of the square of the sum.

    Args:
        gradient: A gradient; a dense one is returned unchanged.
    """
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    indices, places = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, places, tf.size(indices))
    return tf.IndexedSlices(values, indices, gradient.dense_shape)


def scaled(gradient: tf.Tensor | tf.IndexedSlices, factor: tf.Tensor | float) -> Any:
    """Returns a dense or sparse gradient times a factor.

    Args:
        gradient: The gradient.
        factor: Scalar.
    """
    if isinstance(gradient, tf.IndexedSlices):
        values = scaled(gradient.values, factor)
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    return gradient * tf.cast(factor, gradient.dtype)


def gramian(task_gradients: Sequence[TaskGradient]) -> tf.Tensor:
    """Returns the inner products of the task gradients.

    Sums over the variables without forming the `(K, P)` matrix of all gradients.

    Args:
        task_gradients: List with one tensor `(K, *variable.shape)`, or `TouchedRows`, per variable.

    Returns:
        Tensor `(K, K)`, float32. Norms below about 1e-19 underflow to zero, and norms above 1e19
        overflow to infinity.
    """
    products = []
    for found in task_gradients:
        stacked = found.values if isinstance(found, TouchedRows) else found
        rows = tf.reshape(stacked, (stacked.shape[0], -1))
        if rows.dtype != tf.float64:
            rows = tf.cast(rows, tf.float32)
        products.append(tf.cast(tf.matmul(rows, rows, transpose_b=True), tf.float32))
    return tf.add_n(products)


def weighted_sum(
    task_gradients: Sequence[TaskGradient], weights: tf.Tensor
) -> list[tf.Tensor | tf.IndexedSlices]:
    """Returns `sum_k weights[k] * gradient_k` for each variable.

    Args:
        task_gradients: List with one tensor `(K, *variable.shape)`, or `TouchedRows`, per variable.
        weights: Tensor `(K,)`.

    Returns:
        List with one tensor of the variable's shape per variable; `IndexedSlices` for
        `TouchedRows`.
    """
    return [_weighted(found, weights) for found in task_gradients]


def _weighted(found: TaskGradient, weights: tf.Tensor) -> tf.Tensor | tf.IndexedSlices:
    if isinstance(found, TouchedRows):
        return tf.IndexedSlices(_weighted(found.values, weights), found.indices, found.shape)
    if found.dtype == tf.float64:
        return tf.tensordot(tf.cast(weights, tf.float64), found, 1)
    # The combiner's weights must not be rounded to bfloat16 or float16.
    return tf.cast(tf.tensordot(weights, tf.cast(found, tf.float32), 1), found.dtype)
