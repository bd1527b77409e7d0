"""A batch in parts: activations of one part at a time, and a step like that of the whole."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from mtk.trainer import forward
from mtk.trainer.batches import Share
from mtk.trainer.passes import Recorded, Setting, Tensors, all_reduce, record
from mtk.trainer.products import Product


class MicroBatches:
    """Passes over one micro-batch after the other, in a loop.

    What is labelled is counted before any of them, so that each part of a task loss is that of the
    whole batch, and what is computed of the parts adds up. A combiner sees only the sums, as it
    sees only the sums over replicas. Where it must know something of the whole batch before the
    backward pass (losses, the Gramian at the features), the forward pass is done twice.

    Each micro-batch normalizes by itself; dropout draws another mask for each.

    Args:
        setting: What passes have in common.
        shares: The replica's part of the batch.

    Raises:
        ValueError: If the batch cannot be divided.
    """

    def __init__(self, setting: Setting, shares: Sequence[Share]):
        self.setting = setting
        self.parts = tf.nest.map_structure(
            lambda part: _divided(part, setting.micro_batches), list(shares)
        )
        model = setting.model
        # Counts depend on labels and masks alone: in a graph, the rest of this pass is left out.
        whole = forward.run(model.network, model.tasks, shares, setting.state)
        self.counts = all_reduce(tf.stack(whole.counts))
        self.present = self.counts > 0
        self.products: list[Product] = []
        self._first: _Total | None = None

    @property
    def task_losses(self) -> tf.Tensor:
        return self._global(self._known())

    def add_up(self, part: Callable[[Recorded], Tensors]) -> Tensors:
        total = self._loop(part, with_metrics=self._first is None)
        self._first = self._first or total
        return total.found

    def changes(self) -> dict[int, tf.Tensor]:
        """Returns the network's state after the step; the metrics know already what was seen."""
        number = self.setting.micro_batches
        return {
            index: value / number if value.dtype.is_floating else value
            for index, value in self._known().changes.items()
        }

    def losses_now(self) -> tf.Tensor:
        """Returns the task losses `(K,)` of the global batch with the weights of now."""
        return self._global(self._loop(lambda _: [], with_metrics=False))

    def _known(self) -> "_Total":
        """Returns what the first passes over the batch have found, and makes them if need be."""
        if self._first is None:
            self.add_up(lambda _: [])
        assert self._first is not None
        return self._first

    def _global(self, total: "_Total") -> tf.Tensor:
        return all_reduce(tf.math.divide_no_nan(total.sums, self.counts))

    def _loop(self, part: Callable[[Recorded], Any], with_metrics: bool) -> "_Total":
        setting, seeds = self.setting, self.setting.state.seeds()

        def one(index: tf.Tensor, seeds: dict[int, tf.Tensor]) -> _Total:
            shares = tf.nest.map_structure(
                lambda part: part[index] if tf.is_tensor(part) else part, self.parts
            )
            recorded, passed, _ = record(setting, shares, self.counts, seeds)
            if with_metrics:
                setting.model.task_metrics.update(passed)
            found = tf.nest.map_structure(_dense, part(recorded))
            return _Total(found, tf.stack(passed.sums), passed.state)

        # Traced once for its two calls: the first gives the loop its shapes.
        step = one if tf.executing_eagerly() else tf.function(one, autograph=False)
        first = step(tf.constant(0), seeds)

        def body(index: tf.Tensor, leaves: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
            total = _packed(first, leaves)
            new = step(index, {**seeds, **setting.state.seeds_in(total.changes)})
            return index + 1, _leaves(total.plus(new))

        _, leaves = tf.while_loop(
            lambda index, _: index < setting.micro_batches,
            body,
            (tf.constant(1), _leaves(first)),
            parallel_iterations=1,
        )
        return _packed(first, leaves)


class _Total(NamedTuple):
    """Sums over the micro-batches seen so far.

    Attributes:
        found: What was computed of them.
        sums: `(K,)`: each task's loss, summed over its labelled elements on this replica.
        changes: By index of the variable, sums of statistics, and last values of all else.
    """

    found: Any
    sums: tf.Tensor
    changes: dict[int, tf.Tensor]

    def plus(self, new: "_Total") -> "_Total":
        changes = {
            index: value + new.changes[index] if value.dtype.is_floating else new.changes[index]
            for index, value in self.changes.items()
        }
        found = tf.nest.map_structure(
            lambda one, two: None if one is None else one + two, self.found, new.found
        )
        return _Total(found, self.sums + new.sums, changes)


def _leaves(total: _Total) -> list[tf.Tensor]:
    """Returns the tensors of a structure; a loop cannot carry None."""
    return [leaf for leaf in tf.nest.flatten(total) if leaf is not None]


def _packed(like: _Total, leaves: Sequence[tf.Tensor]) -> _Total:
    rest = iter(leaves)
    flat = [None if leaf is None else next(rest) for leaf in tf.nest.flatten(like)]
    return tf.nest.pack_sequence_as(like, flat)


def _dense(gradient: tf.Tensor | tf.IndexedSlices | None) -> tf.Tensor | None:
    return None if gradient is None else tf.convert_to_tensor(gradient)


def _divided(part: Any, number: int) -> Any:
    """Brings examples `(B, ...)` into the form `(number, B / number, ...)`."""
    if not tf.is_tensor(part):
        return part
    if part.shape.rank == 0:
        raise ValueError(
            "A batch in micro-batches has examples in its first axis; here is a number."
        )
    size = part.shape[0]
    check_divisible(size, number)
    rows = tf.shape(part)[0]
    if size is None:
        message = f"The batch does not divide into micro_batches={number} of one size."
        check = tf.debugging.assert_equal(rows % number, 0, message=message)
        with tf.control_dependencies([check] if check is not None else []):
            rows = tf.identity(rows)
    divided = tf.reshape(part, tf.concat([[number, rows // number], tf.shape(part)[1:]], 0))
    divided.set_shape([number, None if size is None else size // number, *part.shape[1:]])
    return divided


def check_divisible(size: int | None, number: int) -> None:
    """Checks that a number of examples divides into parts of one size.

    Args:
        size: Examples in a batch, or in the share of one task, if their number is known.
        number: Of micro-batches, over all replicas that the batch is for.

    Raises:
        ValueError: If it does not.
    """
    if size is not None and size % number:
        raise ValueError(
            f"{size} examples do not divide into {number} parts of one size, which is "
            "`micro_batches` for each replica. Choose a batch size that is a multiple of it, and "
            "drop a smaller last batch."
        )
