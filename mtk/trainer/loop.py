"""The compiled functions that `fit` and `evaluate` call."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

Logs = dict[str, tf.Tensor]
StepFunction = Callable[[Any], Any]


class Loop:
    """Runs steps on the batches of an iterator and reads the logs after them.

    Unlike Keras' own, it reads the metrics outside of the replicas, where they are the sums over
    all of them.

    Args:
        strategy: The distribution strategy.
        metrics: What to read after the steps.
        jit_compile: Whether to compile each step with XLA.
        eagerly: Whether to run without any graph.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        metrics: Sequence[keras.metrics.Metric],
        jit_compile: bool,
        eagerly: bool,
    ):
        self.strategy = strategy
        self.metrics = list(metrics)
        self.jit_compile = jit_compile
        self.eagerly = eagerly
        self._functions: dict[Any, Any] = {}

    def run(self, iterator: Any, steps: tuple[StepFunction, ...]) -> Logs:
        """Takes the `steps`, each on the next batch, and returns the logs.

        Args:
            iterator: Gives batches, or distributed values of them.
            steps: What to do with each batch. Fewer are taken where the iterator ends.

        Raises:
            StopIteration or tf.errors.OutOfRangeError: If it has ended already.
        """
        if not isinstance(iterator, (tf.data.Iterator, tf.distribute.DistributedIterator)):
            for step, data in zip(steps, iterator, strict=False):
                logs = self._function((step, "batch"), self._on_batch(step))(data)
        else:
            logs = self._function(steps, self._on_iterator(steps))(iterator)
        return logs

    def graph(self, iterator: Any, steps: tuple[StepFunction, ...]) -> tf.Graph:
        """Returns the graph of what `run` would do with an iterator, traced where it is new."""
        traced: Any = self._function(steps, self._on_iterator(steps))
        return traced.get_concrete_function(iterator).graph

    @property
    def tracings(self) -> int:
        """How often steps were traced so far; zero where they run without a graph."""
        return sum(traced.experimental_get_tracing_count() for traced in self._functions.values())

    def _results(self) -> Logs:
        return {metric.name: metric.result() for metric in self.metrics}

    def _function(self, key: Any, python_function: Callable[..., Logs]) -> Callable[..., Logs]:
        if self.eagerly:
            return python_function
        if key not in self._functions:
            self._functions[key] = tf.function(
                python_function, autograph=False, reduce_retracing=True
            )
        return self._functions[key]

    def _on_batch(self, step: StepFunction) -> Callable[..., Logs]:
        replicated = self._replicated(step)

        def on_batch(data: Any) -> Logs:
            replicated(data)
            return self._results()

        return on_batch

    def _on_iterator(self, steps: tuple[StepFunction, ...]) -> Callable[..., Logs]:
        groups = [(step, len(list(same))) for step, same in itertools.groupby(steps)]

        def on_iterator(iterator: Iterator) -> Logs:
            if len(steps) == 1:
                self._replicated(steps[0])(next(iterator))
            else:
                for step, number in groups:
                    self._several(self._replicated(step), number, iterator)
            return self._results()

        return on_iterator

    def _replicated(self, step: StepFunction) -> Callable[[Any], None]:
        def replicated(data: Any) -> None:
            self.strategy.run(step, args=(data,))

        if self.jit_compile and not self.eagerly:
            return tf.function(replicated, autograph=False, jit_compile=True)
        return replicated

    def _several(self, step: Callable[[Any], None], number: int, iterator: Any) -> None:
        def body(i: tf.Tensor) -> tuple[tf.Tensor]:
            batch = iterator.get_next_as_optional()

            def take() -> tf.Tensor:
                step(batch.get_value())
                return i + 1

            return (tf.cond(batch.has_value(), take, lambda: tf.constant(number)),)

        tf.while_loop(lambda i: i < number, body, [tf.constant(0)])
