"""The compiled functions that `fit` and `evaluate` call."""

import contextlib
import itertools
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import tensorflow as tf

from mtk.distribution import splitting
from mtk.replicas import all_reduce, number_of_replicas

Logs = dict[str, Any]


class Loop:
    """Runs steps on the batches of an iterator and returns the logs of the last one.

    Args:
        strategy: The distribution strategy.
        step: Function of a batch that runs on each replica and returns logs.
        jit_compile: Whether to compile each step with XLA.
        eagerly: Whether to run without graphs.
        own_logs: Whether logs may hold more than metrics, which are global already.
        tracing: Returns the context in which a step of a given kind is traced.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        step: Callable[[Any], Logs],
        jit_compile: bool,
        eagerly: bool,
        own_logs: bool,
        tracing: Callable[[Any], AbstractContextManager] = contextlib.nullcontext,
    ):
        self.strategy = strategy
        self.step = step
        self.jit_compile = jit_compile
        self.eagerly = eagerly
        several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        self._differ = several and own_logs
        self.tracing = tracing
        self._functions: dict[Any, Any] = {}

    def run(self, iterator: Any, kinds: Sequence[Hashable]) -> Logs:
        """Runs a step of each of the kinds on the next batches, and returns the last logs.

        Args:
            iterator: Iterator of batches, or of distributed values.
            kinds: Argument of `tracing` for each step. Fewer steps run if the iterator ends.

        Raises:
            StopIteration or tf.errors.OutOfRangeError: If the iterator is exhausted.
        """
        in_graph = isinstance(iterator, (tf.data.Iterator, tf.distribute.DistributedIterator))
        if in_graph and not self.eagerly:
            return self._on(iterator, kinds)(iterator)
        logs = None
        for kind, whole in zip(kinds, iterator, strict=False):
            data = splitting.split_batch(whole, self.strategy)
            logs = self._function((kind, _ranks(data)), self._replicated(kind))(data)
        if logs is None:
            raise StopIteration
        return logs

    def graph(self, iterator: Any, kinds: Sequence[Hashable]) -> tf.Graph:
        """Returns the graph that `run` would execute for an iterator, traced if it is new."""
        return self._on(iterator, kinds).get_concrete_function(iterator).graph

    @property
    def tracings(self) -> int:
        """Number of tracings of steps so far; zero if they run without a graph."""
        return sum(traced.experimental_get_tracing_count() for traced in self._functions.values())

    def _on(self, iterator: Any, kinds: Sequence[Hashable]) -> Any:
        key = (tuple(kinds), _ranks(iterator.element_spec))
        return self._function(key, self._on_iterator(kinds))

    def _function(self, key: Any, python_function: Callable[..., Logs]) -> Callable[..., Logs]:
        if self.eagerly:
            return python_function
        if key not in self._functions:
            self._functions[key] = tf.function(
                python_function, autograph=False, reduce_retracing=True
            )
        return self._functions[key]

    def _replicated(self, kind: Hashable) -> Callable[[Any], Logs]:
        def replicated(data: Any) -> Logs:
            with self.tracing(kind):
                logs = self.strategy.run(self._step_after, args=(data,))
            return {name: self._of_replicas(value) for name, value in logs.items()}

        if self.jit_compile and not self.eagerly:
            return tf.function(replicated, autograph=False, jit_compile=True)
        return replicated

    def _step_after(self, data: Any) -> Logs:
        """Runs a step once its batch is there, so that none is counted when the data have ended."""
        data = tf.nest.map_structure(_plain, data)
        parts = tf.nest.flatten(data, expand_composites=True)
        with tf.control_dependencies([part for part in parts if tf.is_tensor(part)]):
            logs = self.step(data)
            return _mean_over_replicas(logs) if self._differ else logs

    def _of_replicas(self, value: Any) -> Any:
        """Returns the mean over replicas; values equal on all of them are unchanged."""
        each = self.strategy.experimental_local_results(value)
        if len(each) == 1:
            return each[0]
        values = [tf.convert_to_tensor(part) for part in each]
        if not values[0].dtype.is_floating:
            return values[0]
        return values[0] + tf.add_n([part - values[0] for part in values]) / len(values)

    def _on_iterator(self, kinds: Sequence[Hashable]) -> Callable[[Any], Logs]:
        if len(kinds) == 1:
            return lambda iterator: self._replicated(kinds[0])(next(iterator))
        # Traced only once, although the first step is outside of the loop.
        steps = {k: tf.function(self._replicated(k), autograph=False) for k in set(kinds)}
        groups = [(kind, len(list(same))) for kind, same in itertools.groupby(kinds[1:])]

        def on_iterator(iterator: Any) -> Logs:
            logs = steps[kinds[0]](next(iterator))
            for kind, number in groups:
                logs = self._several(steps[kind], number, iterator, logs)
            return logs

        return on_iterator

    def _several(self, step: Callable[[Any], Logs], number: int, iterator: Any, logs: Logs) -> Logs:
        """Runs up to `number` more steps; returns the logs of the last one."""
        logs = {name: tf.convert_to_tensor(value) for name, value in logs.items()}

        def body(i: tf.Tensor, logs: Logs) -> tuple[tf.Tensor, Logs]:
            batch = iterator.get_next_as_optional()

            def take() -> tuple[tf.Tensor, Logs]:
                new = step(batch.get_value())
                # A step of another kind may log more; only the names of the first step are logged.
                return i + 1, {name: tf.cast(new[name], logs[name].dtype) for name in logs}

            return tf.cond(batch.has_value(), take, lambda: (tf.constant(number), logs))

        return tf.while_loop(lambda i, _: i < number, body, (tf.constant(0), logs))[1]


def _plain(part: Any) -> Any:
    """Returns None for a None of a generator, in whose place Keras puts an empty optional."""
    return None if isinstance(part, tf.experimental.Optional) else part


def _mean_over_replicas(logs: Logs) -> Logs:
    """Returns logs that are equal on all workers, whose decisions by them must agree."""
    each = {name: tf.convert_to_tensor(value) for name, value in logs.items()}
    floats = {name: value for name, value in each.items() if value.dtype.is_floating}
    number = number_of_replicas()
    return {**each, **{name: value / number for name, value in all_reduce(floats).items()}}


def _ranks(data: Any) -> Hashable:
    """Returns the ranks of a batch or its spec: a trace for several ranks would know none."""
    parts = tf.nest.flatten(data, expand_composites=True)
    return tuple(tf.TensorShape(getattr(part, "shape", None)).rank for part in parts)
