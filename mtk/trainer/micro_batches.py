"""Micro-batches: the step of a whole batch, with the activations of one part at a time."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from mtk.distribution import splitting
from mtk.trainer import batch, forward, parts
from mtk.trainer.backward import Passes, TapedForward, Tensors, count, shares_of
from mtk.trainer.batch import SubBatch
from mtk.trainer.state import State, Values


class MicroBatches(Passes):
    """Passes over the micro-batches, in a loop.

    Labels are counted first, so that the losses of micro-batches are on the scale of the whole
    batch, and their gradients can be summed. A combiner receives only the sums, as for replicas. If
    it needs values of the whole batch before the backward pass (losses, the Gramian at the
    features), the forward pass runs twice.

    Batch normalization uses each micro-batch's statistics; dropout draws a new mask for each.

    Raises:
        ValueError: If the batch cannot be divided, or its size is unknown to XLA.
    """

    def __init__(self, *args: Any):
        super().__init__(*args)
        spec, number = self.spec, self.spec.combiner.batch_parts
        all_parts = spec.arguments.micro_batches * number
        self.sizes = [number * batch.size_of_part(part, all_parts) for part in self.sub_batches]
        if spec.dense and not all(isinstance(size, int) for size in self.sizes):
            raise ValueError(
                "XLA needs a fixed micro-batch size, but the batch size is not fixed here. Use "
                "batches of one size, `.batch(size, drop_remainder=True)`, or `jit_compile=False`."
            )
        # Counts depend only on labels and masks: in a graph, the rest of this pass is pruned.
        divided = parts.divided(self.sub_batches, number)
        passed = forward.run(spec.network, spec.tasks, divided, self.state)
        self.totals = count(spec, passed, shares_of(divided))
        self.state.rewind()
        self._first: _Total | None = None

    def _sums(self) -> tf.Tensor:
        return self._known().sums

    def accumulate(self, part: Callable[[TapedForward], Tensors]) -> Tensors:
        structure: list[Any] = []

        def of_part(taped: TapedForward) -> list[tf.Tensor]:
            structure[:] = [part(taped)]
            known = [leaf for leaf in tf.nest.flatten(structure) if leaf is not None]
            return [tf.convert_to_tensor(leaf) for leaf in known]  # A loop cannot carry None.

        total = self._loop(of_part, observe=self._first is None and self.carried is None)
        self._first = self._first or total
        rest = iter(total.found)
        return tf.nest.map_structure(lambda x: None if x is None else next(rest), structure[0])

    def written(self) -> tuple[Values, dict[str, tf.Tensor]]:
        number, known = self.spec.arguments.micro_batches, self._known()
        values = {
            key: value / number if self.state.is_statistic(key) else value
            for key, value in known.values.items()
        }
        return values, known.logs

    def _known(self) -> "_Total":
        """Returns the totals of the first passes over the batch, which are made if needed."""
        if self._first is None:
            self.accumulate(lambda _: [])
        assert self._first is not None
        return self._first

    def _loop(self, part: Callable[[TapedForward], list[tf.Tensor]], observe: bool) -> "_Total":
        spec, state = self.spec, self.state
        start = dict(self.carried or {})

        def one(index: tf.Tensor, going_on: Values) -> _Total:
            each = zip(self.sub_batches, self.sizes, strict=True)
            here = [_part(sub_batch, index, size) for sub_batch, size in each]
            taped = self.record(here, {**start, **going_on}, observe, self.totals)
            sums = tf.stack([task.total for task in taped.passed.tasks])
            logs = tf.nest.map_structure(tf.convert_to_tensor, taped.passed.logs)
            return _Total(part(taped), sums, taped.passed.values, logs)

        # Traced once for its two calls; the first gives the loop its shapes.
        step = one if tf.executing_eagerly() else tf.function(one, autograph=False)
        metrics = spec.metric_variables if observe else ()
        going_on = state.going_on_from({**state.starting(metrics), **start})
        state.rewind()
        first = step(tf.constant(0), going_on)

        def body(index: tf.Tensor, total: _Total) -> tuple[tf.Tensor, _Total]:
            state.rewind(everything=False)
            new = step(index, {**going_on, **state.going_on_from(total.values)})
            return index + 1, total.plus(new, state)

        _, total = tf.while_loop(
            lambda index, _: index < spec.arguments.micro_batches,
            body,
            (tf.constant(1), first),
            parallel_iterations=1,
        )
        return total


class _Total(NamedTuple):
    """Sums over the micro-batches so far.

    Attributes:
        found: Sums of the results.
        sums: `(K,)`: each task's loss, summed over its labelled elements on this replica.
        values: By `id` of the variable, sums of statistics, and last values of all others.
        logs: The last logs.
    """

    found: list[tf.Tensor]
    sums: tf.Tensor
    values: Values
    logs: dict[str, tf.Tensor]

    def plus(self, new: "_Total", state: State) -> "_Total":
        values = {
            key: value + new.values[key] if state.is_statistic(key) else new.values[key]
            for key, value in self.values.items()
        }
        found = [one + two for one, two in zip(self.found, new.found, strict=True)]
        return _Total(found, self.sums + new.sums, values, new.logs)


def _part(sub_batch: SubBatch, index: tf.Tensor, size: int | tf.Tensor) -> SubBatch:
    """Returns a micro-batch, of static size if that of the batch is."""
    first = index * size

    def rows(part: Any) -> Any:
        if isinstance(part, (tf.Tensor, tf.RaggedTensor)):
            # Not sliced: for XLA, a slice between two dynamic indices has an unknown size.
            return tf.gather(part, first + tf.range(size))
        return splitting.rows(part, first, first + size)

    return tf.nest.map_structure(rows, sub_batch)
