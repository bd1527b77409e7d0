"""Taped forward passes over a whole batch or its micro-batches, and their gradients."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVar

import keras
import tensorflow as tf

from mtk import gradients
from mtk.elements import TaskPass
from mtk.replicas import all_reduce, number_of_replicas
from mtk.sharing.layer_calls import recorded
from mtk.trainer import batch, forward, parts
from mtk.trainer.batch import SubBatch
from mtk.trainer.forward import Forward
from mtk.trainer.spec import StepSpec
from mtk.trainer.state import State, Values

Tensors = TypeVar("Tensors")
Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices | None
Gradients: TypeAlias = dict[int, Gradient]  # By `id` of the variable.


class Totals(NamedTuple):
    """Numbers of the global batch.

    Attributes:
        counts: `(K,)`: labels of each task. (Here and below `(P * K,)`, part by part, if the batch
            is divided into P parts that the combiner compares.)
        divisors: `(K,)`: divisor of the sum of each task's losses.
        shares: For each sub-batch the fraction of its examples on this replica; None for all.
        tasks: For each of the K tasks the number of its labels and the sum of their weights.
    """

    counts: tf.Tensor
    divisors: tf.Tensor
    shares: list[tf.Tensor] | None
    tasks: list[TaskPass]


@dataclass(frozen=True, eq=False)
class TapedForward:
    """A forward pass over some examples of a batch, on a tape.

    Attributes:
        spec: The step.
        tape: The persistent tape.
        passed: Result of the pass.
        totals: Numbers of the global batch.
        parts: K scalars: contribution of these examples to each task loss. The loss is their sum
            over all passes and replicas; gradients are computed and summed likewise. They and the
            penalty are multiplied by the loss scale for float16, if there is one.
        stacks: `parts` as tensors `(K,)` on the tape, one for each part of the batch that the
            combiner compares.
        penalty: The pass's share of the regularization losses, or None.
        features: Outputs of the layers that the heads read, if the combiner needs them.
    """

    spec: StepSpec
    tape: tf.GradientTape
    passed: Forward
    totals: Totals
    parts: list[tf.Tensor]
    stacks: list[tf.Tensor]
    penalty: tf.Tensor | None
    features: list[tf.Tensor]

    def gradients(
        self,
        targets: Sequence[tf.Tensor],
        variables: Sequence[keras.Variable],
        factors: Sequence[tf.Tensor],
    ) -> Gradients:
        """Returns the gradients of the sum of `targets` times `factors`."""
        flat = self._flat(variables)
        found = self.tape.gradient(list(targets), flat, output_gradients=list(factors))
        return dict(zip(map(id, variables), self._grouped(variables, found), strict=True))

    def per_task(
        self,
        shared: Sequence[keras.Variable],
        heads: Sequence[Sequence[keras.Variable]],
        chosen: tf.Tensor | None = None,
    ) -> tuple[list[tf.Tensor], list[list[Gradient]]]:
        """Returns the task gradients of shared variables, `(K, *shape)`, and of each head.

        With the indices `(m,)` of chosen tasks, the former are those tasks' only, `(m, *shape)`.
        """
        flat, number = [self._flat(head) for head in heads], len(self.spec.tasks)
        # A pass for one task and part of the batch does not traverse the other parts.
        found = [
            gradients.per_task(
                self.tape,
                self.parts[at * number :][:number],
                stack,
                self._flat(shared),
                flat[at * number :][:number],
                self.spec.strategy,
                _takes_whole_gradients(self.spec),
                chosen,
            )
            for at, stack in enumerate(self.stacks)
        ]
        rows, own = found[0]
        if len(found) > 1:
            rows = [tf.concat(each, 0) for each in zip(*[each for each, _ in found], strict=True)]
            own = [head for _, each in found for head in each]
        return self._grouped(shared, rows), self._of_heads(heads, own)

    def of_features(
        self, heads: Sequence[Sequence[keras.Variable]]
    ) -> tuple[list[tf.Tensor], list[list[Gradient]]]:
        """Returns the task gradients of the features, `(K, B, ...)`, and of each head."""
        flat = [self._flat(head) for head in heads]
        rows, own = gradients.per_task(
            self.tape, self.parts, self.stacks[0], self.features, flat, self.spec.strategy
        )
        return [self._usable(each) for each in rows], self._of_heads(heads, own)

    def from_features(
        self, of_features: Sequence[tf.Tensor], variables: Sequence[keras.Variable]
    ) -> Gradients:
        """Backpropagates combined gradients of the features to the variables before them."""
        factor = 1.0 if self.spec.loss_scale is None else self.spec.loss_scale
        pairs = zip(of_features, self.features, strict=True)
        scaled = [tf.cast(gradient * factor, feature.dtype) for gradient, feature in pairs]
        return self.gradients(self.features, variables, scaled)

    def weighted(
        self, weights: tf.Tensor, variables: Sequence[keras.Variable], with_penalty: bool = True
    ) -> Gradients:
        """Returns the gradients of the weighted sum of task losses, and of the penalty."""
        targets, factors = self.stacks[:1], [weights]
        if with_penalty and self.penalty is not None:
            targets, factors = [*targets, self.penalty], [*factors, tf.ones_like(self.penalty)]
        return self.gradients(targets, variables, factors)

    def of_penalty(self) -> Gradients:
        """Returns the gradients of the regularization losses for all trainable variables."""
        if self.penalty is None:
            return {}
        variables = self.spec.network.trainable_variables
        return self.gradients([self.penalty], variables, [tf.ones_like(self.penalty)])

    def _flat(self, variables: Sequence[keras.Variable]) -> list[tf.Tensor]:
        """Returns the variables, each followed by the values that layers assigned to it."""
        return [
            tensor
            for variable in variables
            for tensor in (variable.value, *self.passed.sources.get(id(variable), ()))
        ]

    def _grouped(self, variables: Sequence[keras.Variable], found: Sequence[Any]) -> list[Any]:
        """Returns the gradients of variables from those of the tensors of `_flat`."""
        rest = map(self._usable, found)
        return [_added([next(rest) for _ in self._flat([variable])]) for variable in variables]

    def _of_heads(
        self, heads: Sequence[Sequence[keras.Variable]], found: Sequence[Sequence[Any]]
    ) -> list[list[Gradient]]:
        return [self._grouped(head, own) for head, own in zip(heads, found, strict=True)]

    def _usable(self, gradient: Any) -> Any:
        """Removes the loss scale, which can overflow Gramians, and gradients of empty batches."""
        if gradient is None:
            return None
        scale, examples = self.spec.loss_scale, self.passed.examples
        if scale is not None:
            # In float32: a float16 gradient without its scale may vanish.
            gradient = tf.cast(tf.convert_to_tensor(gradient), tf.float32) * (1.0 / scale)
        if number_of_replicas() > 1 and not isinstance(examples, int):
            gradient = tf.convert_to_tensor(gradient)  # Gradients of an empty batch are NaN.
            gradient = tf.where(examples > 0, gradient, tf.zeros_like(gradient))
        return gradient


class Passes:
    """The passes of a step over its batch, for sums over the examples.

    Args:
        spec: The step.
        state: State to start from.
        sub_batches: The replica's part of the batch.
        carried: Values that replace those of variables when passes are repeated; the metrics are
            not updated then.

    Attributes:
        totals: Numbers of the global batch.
    """

    totals: Totals
    _task_losses: tf.Tensor | None = None

    def __init__(
        self,
        spec: StepSpec,
        state: State,
        sub_batches: Sequence[SubBatch],
        carried: Values | None = None,
    ):
        self.spec, self.state = spec, state
        self.sub_batches, self.carried = sub_batches, carried

    @property
    def present(self) -> tf.Tensor:
        """Boolean tensor `(K,)`: which tasks have labels."""
        return self.totals.counts > 0

    @property
    def task_losses(self) -> tf.Tensor:
        """Tensor `(K,)`: the task losses of the global batch."""
        # Not `cached_property`: in Python 3.11 replicas share its lock, and would deadlock.
        if self._task_losses is None:
            losses = tf.math.divide_no_nan(self._sums(), self.totals.divisors)
            self._task_losses = all_reduce(losses)
        return self._task_losses

    def _sums(self) -> tf.Tensor:
        """Returns the sum of each task's losses on this replica, `(K,)`."""
        raise NotImplementedError

    def accumulate(self, part: Callable[[TapedForward], Tensors]) -> Tensors:
        """Returns `part(pass)`, a structure of tensors and None, summed over this replica's passes.

        Args:
            part: Computes the contribution of some examples to a sum over the batch.
        """
        raise NotImplementedError

    def written(self) -> tuple[Values, dict[str, tf.Tensor]]:
        """Returns the values that the passes wrote, by `id` of the variable, and the logs."""
        raise NotImplementedError

    def record(
        self,
        sub_batches: Sequence[SubBatch],
        carried: Values | None,
        observe: bool,
        totals: Totals | None = None,
    ) -> TapedForward:
        """Runs a taped forward pass, with task losses on the scale of the global batch.

        Args:
            sub_batches: Some examples of the batch.
            carried: Values to start from, by `id` of the variable.
            observe: Whether to update the metrics.
            totals: Numbers of the global batch, if known.
        """
        spec = self.spec
        layers = list({id(layer): layer for layer, _ in spec.features}.values())
        divided = parts.divided(sub_batches, spec.combiner.batch_parts)
        shares = shares_of(divided) if totals is None else totals.shares
        told = None
        if observe and spec.observe is not None:
            whole = None if totals is None else totals.tasks
            told = functools.partial(spec.observe, batch.all_inputs(sub_batches), whole=whole)
        with tf.GradientTape(persistent=True) as tape:
            with recorded(layers) as calls:
                passed = forward.run(
                    spec.network, spec.tasks, divided, self.state, carried, tape, told, shares
                )
            if totals is None:
                with tape.stop_recording():
                    totals = count(spec, passed, shares)
            if spec.number_of_passes > 1:
                divisors = tf.unstack(totals.divisors)
            else:  # On one device no task has to wait for another's forward pass.
                divisors = spec.divisors(passed.tasks)
            contributions = [
                tf.math.divide_no_nan(task.total if task.trained is None else task.trained, divisor)
                for task, divisor in zip(passed.tasks, divisors, strict=True)
            ]
            penalty = _penalty(spec, passed, shares)
            if spec.loss_scale is not None:
                contributions = [part * spec.loss_scale for part in contributions]
                penalty = None if penalty is None else penalty * spec.loss_scale
            size = len(spec.tasks)
            starts = range(0, len(contributions), size)
            stacks = [tf.stack(contributions[at : at + size]) for at in starts]
        found = {(id(call.layer), call.number): call.outputs[0] for call in calls}
        features = [found[id(layer), number] for layer, number in spec.features]
        return TapedForward(spec, tape, passed, totals, contributions, stacks, penalty, features)


class FullBatch(Passes):
    """One pass over all examples of a replica."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.taped = self.record(self.sub_batches, self.carried, observe=self.carried is None)
        self.totals = self.taped.totals

    def _sums(self) -> tf.Tensor:
        return tf.stack([task.total for task in self.taped.passed.tasks])

    def accumulate(self, part: Callable[[TapedForward], Tensors]) -> Tensors:
        return part(self.taped)

    def written(self) -> tuple[Values, dict[str, tf.Tensor]]:
        return self.taped.passed.values, self.taped.passed.logs


def _takes_whole_gradients(spec: StepSpec) -> bool:
    """Whether the combiner only weighs task gradients, and they come from a single pass.

    Gradients of several replicas or micro-batches are first summed as dense tensors. XLA needs
    static numbers of rows.
    """
    combiner = spec.combiner
    in_parts = spec.number_of_passes > 1 or combiner.batch_parts > 1
    dense = in_parts or spec.dense or spec.loss_scale is not None
    return not dense and combiner.at == "parameters" and not combiner.changes_gradients


def shares_of(sub_batches: Sequence[SubBatch]) -> list[tf.Tensor] | None:
    """Returns the fraction of each sub-batch on this replica; None on one device."""
    replicas = number_of_replicas()
    if replicas == 1:
        return None
    here = tf.stack([tf.cast(batch.size(part.inputs), tf.float32) for part in sub_batches])
    everywhere = all_reduce(here)
    return tf.unstack(tf.where(everywhere > 0, here / everywhere, 1.0 / replicas))


def count(spec: StepSpec, passed: Forward, shares: list[tf.Tensor] | None) -> Totals:
    """Returns the numbers of the global batch from those of this replica."""
    each = forward.of_all_replicas(passed.tasks)
    counts = tf.stack([task.count for task in each])
    divisors = tf.stack(spec.divisors(each))
    if spec.loss_factors is not None and not all(spec.loss_factors):
        # A task whose loss is multiplied by zero counts as absent, like one without a label.
        number = len(passed.tasks) // len(spec.tasks)
        counts *= tf.constant([float(f != 0) for f in spec.loss_factors] * number)
    numbers = [task._replace(elements=None) for task in each]
    return Totals(counts, divisors, shares, parts.passes_of_whole(numbers, len(spec.tasks)))


def _penalty(spec: StepSpec, passed: Forward, shares: list[tf.Tensor] | None) -> tf.Tensor | None:
    """Returns this pass's share of the regularization losses, in proportion to its examples."""
    terms = [] if passed.added_losses is None else [passed.added_losses]
    # A replica without examples also has no share of the regularization of variables.
    share = 1.0 if shares is None else tf.add_n(shares) / len(shares)
    for v in spec.network.trainable_variables:
        if v.regularizer:
            value = passed.sources.get(id(v), [v])[-1]
            terms.append(tf.cast(v.regularizer(value), tf.float32) * share)
    return tf.add_n(terms) / spec.arguments.micro_batches if terms else None


def added(one: Gradients, two: Gradients) -> Gradients:
    """Adds the gradients of the same variables; None is zero."""
    return {key: _added([one.get(key), two.get(key)]) for key in {**one, **two}}


def _added(parts: Sequence[Any]) -> Any:
    there = [part for part in parts if part is not None]
    if len(there) < 2:
        return there[0] if there else None
    dense = [tf.convert_to_tensor(part) for part in there]
    return tf.add_n([tf.cast(part, dense[0].dtype) for part in dense])
