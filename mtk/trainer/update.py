"""One step's gradient: from the recorded losses of a replica to what the optimizer applies."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

import keras
import tensorflow as tf

from mtk import gradients
from mtk.combiners import Combiner, GramianCombiner, LossCombiner
from mtk.trainer.structure import Structure

Tensors = TypeVar("Tensors")
Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices | None


class Recorded(NamedTuple):
    """What one replica knows of a step after its forward pass.

    Attributes:
        tape: The persistent tape that recorded it.
        parts: K scalars: this replica's part of each task loss. Their sum over replicas is the
            loss; gradients are taken of the parts and summed over replicas.
        stacked: The parts as one tensor `(K,)`, on the tape too.
        penalty: This replica's part of the regularization loss, or None.
        scale: Factor by which parts and penalty are scaled for the sake of float16, or None.
        task_losses: Tensor `(K,)`: the task losses of the global batch.
        counts: Tensor `(K,)`: labelled elements of each task in the global batch.
        features: Outputs of the layers where the heads begin, if the combiner asks for them.
    """

    tape: tf.GradientTape
    parts: list[tf.Tensor]
    stacked: tf.Tensor
    penalty: tf.Tensor | None
    scale: tf.Tensor | None
    task_losses: tf.Tensor
    counts: tf.Tensor
    features: list[tf.Tensor]

    def unscaled(self, found: Sequence[Gradient]) -> list[Gradient]:
        """Removes the scale from gradients: a Gramian of scaled ones would overflow."""
        if self.scale is None:
            return list(found)
        factor = 1.0 / self.scale
        # In float32: a float16 gradient without its scale may vanish.
        dense = [None if g is None else tf.cast(tf.convert_to_tensor(g), tf.float32) for g in found]
        return [None if g is None else g * factor for g in dense]

    def scaled(self, of_features: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Brings gradients of the features back to their scale and type, to go on from there."""
        factor = 1.0 if self.scale is None else self.scale
        pairs = zip(of_features, self.features, strict=True)
        return [tf.cast(gradient * factor, feature.dtype) for gradient, feature in pairs]


class Step(NamedTuple):
    """A step's outcome.

    Attributes:
        gradients: For each trainable variable of the network its gradient on the global batch, or
            None where no task reaches it.
        task_weights: Tensor `(K,)`.
        gramian: Tensor `(K, K)`, or None if this step took no per-task gradients.
    """

    gradients: list[Gradient]
    task_weights: tf.Tensor
    gramian: tf.Tensor | None


def all_reduce(values: Tensors) -> Tensors:
    """Sums a structure of tensors over the replicas, from within a replica."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1 or not tf.nest.flatten(values):
        return values
    return context.all_reduce(tf.distribute.ReduceOp.SUM, values)


class Update:
    """Computes a step's gradient in the way that the combiner needs.

    Args:
        combiner: The built combiner.
        variables: Trainable variables of the network.
        task_names: The K names.
        structure: Called for the network's structure where it is needed.
        way: The way to compute per-task gradients, resolved.
    """

    def __init__(
        self,
        combiner: Combiner,
        variables: Sequence[keras.Variable],
        task_names: Sequence[str],
        structure: Callable[[], Structure],
        way: gradients.Way,
    ):
        self.combiner = combiner
        self.variables = list(variables)
        self.task_names = list(task_names)
        self.structure = structure
        self.way = way

    def __call__(self, step: Recorded, measured: bool) -> Step:
        """Returns the step's outcome.

        Args:
            step: The recorded forward pass.
            measured: Whether to take the gradient of each task. Otherwise the weights come from
                the losses, or are the ones of the last measured step.
        """
        combiner = self.combiner
        if combiner.at != "parameters" and len(self.task_names) > 1:
            if isinstance(combiner, GramianCombiner):
                return self._from_elsewhere(step, measured)
            return self._from_features(step)
        if measured or combiner.reads == "gradients":
            return self._from_task_gradients(step)
        return self._from_weights(step, self._known_weights(step), None)

    def _known_weights(self, step: Recorded) -> tf.Tensor:
        if isinstance(self.combiner, LossCombiner):
            return self.combiner.task_weights(step.task_losses, step.counts > 0, step.counts)
        assert isinstance(self.combiner, GramianCombiner)
        return self.combiner.kept_weights(step.counts > 0)

    def _from_weights(self, step: Recorded, weights: tf.Tensor, gramian: tf.Tensor | None) -> Step:
        """One backward pass through everything."""
        if self.combiner.weighs_heads:
            by_variable = self._backward(step, weights, self.variables)
        else:
            structure = self.structure()
            shared = {id(v) for v in structure.shared}
            others = [v for v in self.variables if id(v) not in shared]
            by_variable = self._backward(step, weights, structure.shared)
            heads = self.combiner.head_weights(weights, step.counts > 0)
            by_variable.update(self._backward(step, heads, others))
        return Step(self._reduced(by_variable), weights, gramian)

    def _backward(
        self, step: Recorded, weights: tf.Tensor, variables: Sequence[keras.Variable]
    ) -> dict[int, Gradient]:
        targets, factors = [step.stacked], [weights]
        if step.penalty is not None:
            targets, factors = [*targets, step.penalty], [*factors, tf.ones_like(step.penalty)]
        found = step.tape.gradient(targets, [v.value for v in variables], output_gradients=factors)
        return dict(zip(map(id, variables), step.unscaled(found), strict=True))

    def _from_task_gradients(self, step: Recorded) -> Step:
        """A backward pass for each task, then the combiner."""
        structure = self.structure()
        sources = [*structure.shared, *structure.unowned]
        task_gradients, head_gradients = self._per_task(step, [v.value for v in sources], structure)
        task_gradients = all_reduce(task_gradients)
        number = len(structure.shared)
        gramian = gradients.gramian(task_gradients[:number])
        combined = self.combiner(
            task_gradients[:number], step.task_losses, step.counts > 0, step.counts
        )
        heads = self.combiner.head_weights(combined.task_weights, step.counts > 0)
        unowned = gradients.weighted_sum(task_gradients[number:], heads)
        done = dict(zip(map(id, sources), [*combined.gradients, *unowned], strict=True))
        local = self._weighted_heads(structure, head_gradients, heads)
        self._add_penalty(step, local)
        local_sums = dict(zip(local, all_reduce(list(local.values())), strict=True))
        for key, gradient in local_sums.items():
            done[key] = done[key] + gradient if key in done else gradient
        return Step([done.get(id(v)) for v in self.variables], combined.task_weights, gramian)

    def _per_task(
        self, step: Recorded, shared: Sequence[tf.Tensor], structure: Structure | None
    ) -> tuple[list[tf.Tensor], list[list[Gradient]]]:
        """Computes per-task gradients of `shared`, and of the heads if a structure is given."""
        of_task = structure.heads if structure else {}
        heads = [[v.value for v in of_task.get(name, [])] for name in self.task_names]
        rows, own = gradients.per_task(step.tape, step.parts, step.stacked, shared, heads, self.way)
        return step.unscaled(rows), [step.unscaled(found) for found in own]

    def _weighted_heads(
        self,
        structure: Structure,
        head_gradients: Sequence[Sequence[Gradient]],
        weights: tf.Tensor,
    ) -> dict[int, tf.Tensor]:
        found: dict[int, tf.Tensor] = {}
        for k, name in enumerate(self.task_names):
            for variable, gradient in zip(structure.heads[name], head_gradients[k], strict=True):
                if gradient is not None:
                    found[id(variable)] = weights[k] * tf.convert_to_tensor(gradient)
        return found

    def _from_elsewhere(self, step: Recorded, measured: bool) -> Step:
        """Weights from the Gramian at the features or one layer, then one backward pass."""
        assert isinstance(self.combiner, GramianCombiner)
        present = step.counts > 0
        if not measured:
            return self._from_weights(step, self.combiner.kept_weights(present), None)
        sources = step.features or [
            v.value for v in self.structure().layer_variables(self.combiner.at)
        ]
        task_gradients, _ = self._per_task(step, sources, None)
        if step.features:
            # Examples are split over the replicas: inner products over all of them add up.
            gramian = all_reduce(gradients.gramian(task_gradients))
        else:
            gramian = gradients.gramian(all_reduce(task_gradients))
        weights = self.combiner.new_weights(gramian, step.task_losses, present)
        return self._from_weights(step, weights, gramian)

    def _from_features(self, step: Recorded) -> Step:
        """The combiner merges the gradients of the features; one pass goes on through the trunk."""
        structure = self.structure()
        feature_gradients, head_gradients = self._per_task(step, step.features, structure)
        present = step.counts > 0
        combined = self.combiner.combine_features(
            step.features, feature_gradients, present, all_reduce
        )
        heads = self.combiner.head_weights(combined.task_weights, step.counts > 0)
        trunk = step.tape.gradient(
            step.features,
            [v.value for v in structure.shared],
            output_gradients=step.scaled(combined.gradients),
        )
        local = dict(zip(map(id, structure.shared), step.unscaled(trunk), strict=True))
        local.update(self._weighted_heads(structure, head_gradients, heads))
        behind = [v for v in structure.shared if local[id(v)] is None] + structure.unowned
        local.update(self._backward(step._replace(penalty=None), heads, behind))
        self._add_penalty(step, local)
        gramian = all_reduce(gradients.gramian(feature_gradients))
        return Step(self._reduced(local), combined.task_weights, gramian)

    def _add_penalty(self, step: Recorded, local: dict[int, Gradient]) -> None:
        if step.penalty is None:
            return
        found = step.tape.gradient(step.penalty, [v.value for v in self.variables])
        for variable, gradient in zip(self.variables, step.unscaled(found), strict=True):
            if gradient is not None:
                before = local.get(id(variable))
                total = gradient if before is None else tf.convert_to_tensor(before) + gradient
                local[id(variable)] = total

    def _reduced(self, local: dict[int, Gradient]) -> list[Gradient]:
        known = {key: gradient for key, gradient in local.items() if gradient is not None}
        sums = dict(zip(known, all_reduce(list(known.values())), strict=True))
        return [sums.get(id(v)) for v in self.variables]
