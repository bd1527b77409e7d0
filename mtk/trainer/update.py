"""One step's gradient: from the recorded losses of a replica to what the optimizer applies."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from mtk import gradients
from mtk.combiners import Combined, Combiner, GramianCombiner, LossCombiner
from mtk.trainer import products
from mtk.trainer.passes import Gradient, Passes, Recorded, all_reduce
from mtk.trainer.structure import Structure


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

    def __call__(self, step: Passes, measured: bool) -> Step:
        """Returns the step's outcome.

        Args:
            step: The passes over the batch.
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

    def _known_weights(self, step: Passes) -> tf.Tensor:
        if isinstance(self.combiner, LossCombiner):
            unread = tf.fill(step.counts.shape, float("nan"))
            losses = unread if self.combiner.known_ahead else step.task_losses
            return self.combiner.task_weights(losses, step.present, step.counts)
        assert isinstance(self.combiner, GramianCombiner)
        return self.combiner.kept_weights(step.present)

    def _from_weights(self, step: Passes, weights: tf.Tensor, gramian: tf.Tensor | None) -> Step:
        """One backward pass through everything."""
        if self.combiner.weighs_heads:
            groups = [(weights, self.variables)]
        else:
            structure = self.structure()
            shared = {id(v) for v in structure.shared}
            others = [v for v in self.variables if id(v) not in shared]
            heads = self.combiner.head_weights(weights, step.present)
            groups = [(weights, structure.shared), (heads, others)]

        def gradients_of(part: Recorded) -> dict[int, Gradient]:
            pairs = [self._backward(part, w, variables, part.penalty) for w, variables in groups]
            return {key: gradient for found in pairs for key, gradient in found.items()}

        return Step(self._reduced(step.add_up(gradients_of)), weights, gramian)

    def _backward(
        self,
        part: Recorded,
        weights: tf.Tensor,
        variables: Sequence[keras.Variable],
        penalty: tf.Tensor | None = None,
    ) -> dict[int, Gradient]:
        targets, factors = [part.stacked], [weights]
        if penalty is not None:
            targets, factors = [*targets, penalty], [*factors, tf.ones_like(penalty)]
        found = part.tape.gradient(targets, [v.value for v in variables], output_gradients=factors)
        return dict(zip(map(id, variables), part.unscaled(found), strict=True))

    def _from_task_gradients(self, step: Passes) -> Step:
        """A backward pass for each task, then the combiner."""
        structure = self.structure()
        factored = {id(product.linear.kernel) for product in step.products}
        shared = [v for v in structure.shared if id(v) not in factored]
        variables, number = [*shared, *structure.unowned], len(shared)
        sources = [*(v.value for v in variables), *(product.outputs for product in step.products)]

        def gradients_of(part: Recorded) -> tuple[list, list, dict[int, Gradient]]:
            rows, heads = self._per_task(part, sources, structure)
            return rows, heads, self._penalty(part)

        rows, head_gradients, penalties = step.add_up(gradients_of)
        rows, of_outputs = all_reduce(rows[: len(variables)]), rows[len(variables) :]
        pairs = list(zip(step.products, of_outputs, strict=True))
        grams = products.gramians(pairs)
        gramian = tf.add_n([*grams, *([gradients.gramian(rows[:number])] if shared else [])])
        combined = self._combined(step, rows[:number], gramian)
        weights = combined.task_weights
        heads = self.combiner.head_weights(weights, step.present)
        unowned = gradients.weighted_sum(rows[number:], heads)
        done = dict(zip(map(id, variables), [*combined.gradients, *unowned], strict=True))
        for product, of_output in pairs:
            done[id(product.linear.kernel)] = product.combined(of_output, weights)
        local = _sum(self._weighted_heads(structure, head_gradients, heads), penalties)
        done = _sum(done, dict(zip(local, all_reduce(list(local.values())), strict=True)))
        return Step([done.get(id(v)) for v in self.variables], weights, gramian)

    def _combined(
        self, step: Passes, task_gradients: list[tf.Tensor], gramian: tf.Tensor
    ) -> Combined:
        combiner = self.combiner
        if combiner.changes_gradients:
            return combiner(task_gradients, step.task_losses, step.present, step.counts)
        if isinstance(combiner, GramianCombiner):
            weights = combiner.new_weights(gramian, step.task_losses, step.present)
        else:
            weights = self._known_weights(step)
        return Combined(gradients.weighted_sum(task_gradients, weights), weights)

    def _per_task(
        self, part: Recorded, shared: Sequence[tf.Tensor], structure: Structure | None
    ) -> tuple[list[tf.Tensor], list[list[Gradient]]]:
        """Computes per-task gradients of `shared`, and of the heads if a structure is given."""
        of_task = structure.heads if structure else {}
        heads = [[v.value for v in of_task.get(name, [])] for name in self.task_names]
        rows, own = gradients.per_task(
            part.tape, part.parts, part.stacked, shared, heads, self.way, part.sparse
        )
        return part.unscaled(rows), [part.unscaled(found) for found in own]

    def _weighted_heads(
        self,
        structure: Structure,
        head_gradients: Sequence[Sequence[Gradient]],
        weights: tf.Tensor,
    ) -> dict[int, Gradient]:
        found: dict[int, Gradient] = {}
        for k, name in enumerate(self.task_names):
            for variable, gradient in zip(structure.heads[name], head_gradients[k], strict=True):
                if gradient is not None:
                    found[id(variable)] = weights[k] * tf.convert_to_tensor(gradient)
        return found

    def _from_elsewhere(self, step: Passes, measured: bool) -> Step:
        """Weights from the Gramian at the features or one layer, then one backward pass."""
        assert isinstance(self.combiner, GramianCombiner)
        if not measured:
            return self._from_weights(step, self.combiner.kept_weights(step.present), None)
        at_features = self.combiner.at == "representation"
        layer = [] if at_features else self.structure().layer_variables(self.combiner.at)

        def gradients_of(part: Recorded) -> list[tf.Tensor]:
            sources = part.features if at_features else [v.value for v in layer]
            rows, _ = self._per_task(part, sources, None)
            # Inner products over the examples of all parts add up; those of sums do not.
            return [gradients.gramian(rows)] if at_features else rows

        found = all_reduce(step.add_up(gradients_of))
        gramian = found[0] if at_features else gradients.gramian(found)
        weights = self.combiner.new_weights(gramian, step.task_losses, step.present)
        return self._from_weights(step, weights, gramian)

    def _from_features(self, step: Passes) -> Step:
        """The combiner merges the gradients of the features; one pass goes on through the trunk."""
        structure, combiner = self.structure(), self.combiner
        # A part that serves twice, as it does in a whole batch, is differentiated once.
        rows_of = functools.cache(lambda part: self._per_task(part, part.features, structure))

        def look(part: Recorded) -> tuple[list, tf.Tensor, list]:
            rows, heads = rows_of(part)
            votes = combiner.votes(part.features, rows, step.present)
            return votes, gradients.gramian(rows), heads

        votes, gramian, head_gradients = step.add_up(look)
        votes, gramian = all_reduce((votes, gramian))
        shares = combiner.feature_shares(votes)
        # Such a combiner weighs no heads: all of them count the same.
        heads = combiner.head_weights(tf.ones_like(step.counts), step.present)

        def descend(part: Recorded) -> tuple[dict[int, Gradient], tf.Tensor]:
            kept, sizes = combiner.kept_features(rows_of(part)[0], shares, step.present)
            return _sum(self._through_trunk(part, kept, heads), self._penalty(part)), sizes

        local, sizes = step.add_up(descend)
        local = _sum(local, self._weighted_heads(structure, head_gradients, heads))
        weights = combiner.kept_weights(all_reduce(sizes), step.present)
        return Step(self._reduced(local), weights, gramian)

    def _through_trunk(
        self, part: Recorded, of_features: Sequence[tf.Tensor], heads: tf.Tensor
    ) -> dict[int, Gradient]:
        """Goes on from gradients of the features; shared variables behind these go with heads."""
        structure = self.structure()
        found = part.tape.gradient(
            part.features,
            [v.value for v in structure.shared],
            output_gradients=part.scaled(of_features),
        )
        local = dict(zip(map(id, structure.shared), part.unscaled(found), strict=True))
        behind = [v for v in structure.shared if local[id(v)] is None] + structure.unowned
        return {**local, **self._backward(part, heads, behind)}

    def _penalty(self, part: Recorded) -> dict[int, Gradient]:
        """Returns the gradients of the regularization loss."""
        if part.penalty is None:
            return {}
        found = part.tape.gradient(part.penalty, [v.value for v in self.variables])
        return dict(zip(map(id, self.variables), part.unscaled(found), strict=True))

    def _reduced(self, local: dict[int, Gradient]) -> list[Gradient]:
        known = {key: gradient for key, gradient in local.items() if gradient is not None}
        sums = dict(zip(known, all_reduce(list(known.values())), strict=True))
        return [sums.get(id(v)) for v in self.variables]


def _sum(one: dict[int, Gradient], two: dict[int, Gradient]) -> dict[int, Gradient]:
    """Adds the gradients of the same variables; None is zero."""
    total = {key: gradient for key, gradient in one.items() if gradient is not None}
    for key in (key for key, gradient in two.items() if gradient is not None):
        total[key] = tf.convert_to_tensor(total[key]) + two[key] if key in total else two[key]
    return total
