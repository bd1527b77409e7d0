"""Computes the gradient of a step from taped losses, as the combiner requires."""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mtk import gradients
from mtk.combiners import Combined, Combiner, GramianCombiner, LossCombiner, StaticWeights
from mtk.combiners.base import FeatureMerge
from mtk.combiners.parts import PartsCombiner, over_parts
from mtk.combiners.wrapper import Wrapper
from mtk.replicas import all_reduce, number_of_replicas
from mtk.sharing import Structure
from mtk.sharing.layer_calls import all_layers
from mtk.trainer import parts
from mtk.trainer.backward import Gradient, Gradients, Passes, TapedForward, added
from mtk.trainer.spec import StepSpec

RECOMPILE = (
    "The trainable variables have changed since the model was compiled: call `compile` again."
)


class Combination(NamedTuple):
    """A step's gradient.

    Attributes:
        gradients: Gradient of each trainable variable of the network on the global batch, or None
            if no task reaches it.
        task_weights: Tensor `(K,)`.
        gramian: Tensor `(K, K)`, or None if this step computed no per-task gradients.
    """

    gradients: list[Gradient]
    task_weights: tf.Tensor
    gramian: tf.Tensor | None


def combine(spec: StepSpec, passes: Passes) -> Combination:
    """Computes a step's gradient from the passes over its batch, as the combiner requires."""
    combiner = spec.combiner
    is_elsewhere = combiner.at != "parameters" and len(spec.tasks) > 1
    if combiner.reads == "gradients":
        return (_from_features if is_elsewhere else _from_task_gradients)(spec, passes)
    if spec.per_task:
        return (_from_gramian_at if is_elsewhere else _from_task_gradients)(spec, passes)
    return _scalarized(spec, passes, _known_weights(spec, passes))


def _known_weights(spec: StepSpec, passes: Passes) -> tf.Tensor:
    """Returns weights that need no task gradients."""
    combiner, counts = spec.combiner, passes.totals.counts
    if combiner.reads == "losses":
        assert isinstance(combiner, (LossCombiner, Wrapper))
        unread = tf.zeros(counts.shape)
        losses = unread if combiner.loss_independent else passes.task_losses
        weights = combiner.task_weights(losses, passes.present, counts)
        return combiner.checked(weights, counts.shape, "task_weights")
    assert isinstance(combiner, (GramianCombiner, Wrapper))
    return combiner.cached_weights(passes.present)


def _scalarized(
    spec: StepSpec, passes: Passes, weights: tf.Tensor, gramian: tf.Tensor | None = None
) -> Combination:
    """Makes one backward pass for the weighted sum of the losses."""
    variables = spec.network.trainable_variables
    groups = [(weights, variables)]
    if not spec.combiner.scales_whole_losses:
        shared = spec.structure().shared
        known = {id(v) for v in shared}
        others = [v for v in variables if id(v) not in known]
        groups = [(weights, shared), (spec.combiner.head_weights(weights, passes.present), others)]

    def of_part(part: TapedForward) -> Gradients:
        found: Gradients = {}
        for each, of_group in groups:
            found.update(part.weighted(each, of_group))
        return found

    return _combination(passes, _reduced(passes.accumulate(of_part)), weights, gramian)


def _from_task_gradients(spec: StepSpec, passes: Passes) -> Combination:
    """Makes a backward pass per task, then applies the combiner."""
    structure, number_of_parts = spec.structure(), spec.combiner.batch_parts
    variables = [*structure.shared, *structure.unowned]
    heads = [structure.heads[task.name] for task in spec.tasks] * number_of_parts
    chosen = _chosen_tasks(spec, passes)

    def of_part(part: TapedForward) -> tuple[list, list, Gradients]:
        return *part.per_task(variables, heads, chosen), part.of_penalty()

    rows, head_gradients, penalties = passes.accumulate(of_part)
    rows, number = all_reduce(rows), len(structure.shared)
    gramian = _gramian(spec, rows[:number], chosen)
    combined = _combined(spec, passes, rows[:number], gramian, chosen)
    weights = _head_weights(spec, combined.task_weights, passes.present)
    unowned = _weighted_sum(rows[number:], weights, chosen)
    done = dict(zip(map(id, variables), [*combined.gradients, *unowned], strict=True))
    local = added(_weighted_heads(heads, head_gradients, weights), penalties)
    found, task_weights = added(done, _reduced(local)), combined.task_weights
    if number_of_parts > 1:
        task_weights = tf.reduce_sum(parts.by_part(task_weights, number_of_parts), 0)
        gramian = parts.mean_gramian(gramian, number_of_parts)
    return _combination(passes, found, task_weights, gramian)


def _head_weights(spec: StepSpec, weights: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Returns the factors of the gradients of heads.

    For a batch in parts, a head gets the mean of its gradients over parts with labels of its task.
    """
    combiner, number = spec.combiner, spec.combiner.batch_parts
    if number == 1:
        return combiner.head_weights(weights, present)
    there = parts.by_part(present, number)
    total = tf.reduce_sum(parts.by_part(weights, number), 0)
    own = combiner.head_weights(total, tf.reduce_any(there, 0))
    return tf.reshape(over_parts(own, there), [-1])


def _chosen_tasks(spec: StepSpec, passes: Passes) -> tf.Tensor | None:
    """Returns the tasks, `(m,)`, whose gradients a step needs; None for all.

    If each task has its own inputs, a pass for one task traverses those of all. If the combiner
    does not read the gradients, all are computed, for diagnostics.
    """
    if spec.strategy == "share" or spec.combiner.reads == "losses":
        return None
    return spec.combiner.chosen_tasks(passes.present)


def _weighted_sum(
    rows: Sequence[gradients.TaskGradient], weights: tf.Tensor, chosen: tf.Tensor | None
) -> list[Gradient]:
    """Returns the weighted sum of the gradients of the chosen tasks."""
    return gradients.weighted_sum(rows, weights if chosen is None else tf.gather(weights, chosen))


def _of_all(rows: tf.Tensor, chosen: tf.Tensor | None, number: int) -> tf.Tensor:
    """Expands rows of the chosen tasks to all K tasks, zero for the others."""
    if chosen is None:
        return rows
    shape = tf.concat([[number], tf.shape(rows)[1:]], 0)
    all_rows = tf.scatter_nd(chosen[:, None], rows, shape)
    return tf.ensure_shape(all_rows, [number, *rows.shape[1:]])


def _gramian(spec: StepSpec, rows: Sequence[tf.Tensor], chosen: tf.Tensor | None) -> tf.Tensor:
    """Returns the inner products of all K tasks, `(K, K)`."""
    found, number = gradients.gramian(rows), len(spec.tasks)
    return _of_all(tf.transpose(_of_all(found, chosen, number)), chosen, number)


def _combined(
    spec: StepSpec,
    passes: Passes,
    task_gradients: list[tf.Tensor],
    gramian: tf.Tensor,
    chosen: tf.Tensor | None,
) -> Combined:
    combiner = spec.combiner
    if combiner.changes_gradients:
        task_gradients = [_of_all(rows, chosen, len(spec.tasks)) for rows in task_gradients]
        return combiner(task_gradients, passes.task_losses, passes.present, passes.totals.counts)
    if combiner.reads == "gramian":
        assert isinstance(combiner, (GramianCombiner, PartsCombiner, Wrapper))
        weights = combiner.new_weights(gramian, passes.task_losses, passes.present)
    else:
        weights = _known_weights(spec, passes)
    return Combined(_weighted_sum(task_gradients, weights, chosen), weights)


def _weighted_heads(
    heads: Sequence[Sequence[keras.Variable]],
    head_gradients: Sequence[Sequence[Gradient]],
    weights: tf.Tensor,
) -> Gradients:
    found: Gradients = {}
    for k, (head, own) in enumerate(zip(heads, head_gradients, strict=True)):
        for variable, gradient in zip(head, own, strict=True):
            if gradient is not None:
                dense = tf.convert_to_tensor(gradient)
                weighted: Gradients = {id(variable): tf.cast(weights[k], dense.dtype) * dense}
                # A head may have gradients in several parts of the batch.
                found = added(found, weighted)
    return found


def _from_gramian_at(spec: StepSpec, passes: Passes) -> Combination:
    """Computes weights from the Gramian at the features or some layers, then one backward pass."""
    combiner = spec.combiner
    assert isinstance(combiner, (GramianCombiner, Wrapper))
    at_features = combiner.at == "representation"
    layers = [] if at_features else spec.structure().layer_variables(combiner.at)
    none: list[list] = [[] for _ in spec.tasks]
    chosen = None if at_features else _chosen_tasks(spec, passes)

    def of_part(part: TapedForward) -> list[tf.Tensor]:
        if at_features:
            # Feature Gramians can be summed over passes; Gramians of summed gradients cannot.
            return [gradients.gramian(part.of_features(none)[0])]
        return part.per_task(layers, none, chosen)[0]

    found = all_reduce(passes.accumulate(of_part))
    gramian = found[0] if at_features else _gramian(spec, found, chosen)
    weights = combiner.new_weights(gramian, passes.task_losses, passes.present)
    return _scalarized(spec, passes, weights, gramian)


def _from_features(spec: StepSpec, passes: Passes) -> Combination:
    """Merges the gradients of the features, then makes one pass through the trunk."""
    structure, combiner = spec.structure(), spec.combiner
    heads = [structure.heads[task.name] for task in spec.tasks]
    # A pass that is used twice, as with a full batch, is differentiated only once.
    found_of = functools.cache(lambda part: part.of_features(heads))

    def rows_of(part: TapedForward) -> list[tf.Tensor]:
        return found_of(part)[0]

    def look(part: TapedForward) -> tuple[tf.Tensor, list]:
        return gradients.gramian(rows_of(part)), found_of(part)[1]

    gramian, head_gradients = passes.accumulate(look)
    merge: FeatureMerge = combiner.merge_features(
        lambda f: all_reduce(passes.accumulate(lambda part: f(part.features, rows_of(part)))),
        passes.task_losses,
        passes.present,
        passes.totals.counts,
    )
    weights = combiner.head_weights(tf.ones_like(passes.totals.counts), passes.present)

    def descend(part: TapedForward) -> tuple[Gradients, Any]:
        merged, about = merge.combine(part.features, rows_of(part))
        found = part.from_features(merged, structure.shared)
        # Shared variables that no feature depends on are treated as heads.
        behind = [v for v in structure.shared if found[id(v)] is None] + structure.unowned
        found = {**found, **part.weighted(weights, behind, with_penalty=False)}
        return added(found, part.of_penalty()), about

    local, about = passes.accumulate(descend)
    local = added(local, _weighted_heads(heads, head_gradients, weights))
    task_weights = merge.task_weights(all_reduce(about))
    return _combination(passes, _reduced(local), task_weights, all_reduce(gramian))


def _combination(
    passes: Passes, found: Gradients, weights: tf.Tensor, gramian: tf.Tensor | None
) -> Combination:
    variables = passes.spec.network.trainable_variables
    apart = [v for v in variables if v.overwrite_with_gradient]
    if apart:  # Their "gradients" are new values, which cannot be summed: they need a single pass.
        found = {**found, **passes.accumulate(lambda part: part.weighted(weights, apart))}
    each = [found.get(id(v)) for v in variables]
    # Duplicate rows are summed here, since optimizers square them and norms are computed from them.
    # On several replicas the optimizer would concatenate the rows of each.
    dense = passes.spec.dense or number_of_replicas() > 1
    add_up = tf.convert_to_tensor if dense else gradients.summed_rows
    return Combination([g if g is None else add_up(g) for g in each], weights, gramian)


def _reduced(local: Gradients) -> Gradients:
    known = {key: gradient for key, gradient in local.items() if gradient is not None}
    return dict(zip(known, all_reduce(list(known.values())), strict=True))


def in_effect(
    combiner: Combiner,
    network: keras.Model,
    task_names: Sequence[str],
    structure: Callable[[], Structure],
) -> Combiner:
    """Returns the combiner, or equal weights while all shared variables are frozen.

    `structure` is called only if it matters which variables are shared.

    Raises:
        ValueError: If the trainable variables have changed since the model was compiled.
    """
    if combiner.reads == "losses" or structure().shared:
        return combiner
    if not any(layer.weights and not layer.trainable for layer in all_layers(network)):
        if not structure().covers(network):
            raise ValueError(RECOMPILE)
        return combiner
    warnings.warn(
        f"{type(combiner).__name__} has no effect because no two tasks share a trainable "
        "variable: the shared variables are frozen. Each head is trained separately.",
        stacklevel=2,
    )
    return equal_weights(task_names)


def equal_weights(task_names: Sequence[str]) -> StaticWeights:
    """Returns built static weights that belong to no model."""
    equal = StaticWeights()
    equal.bind(task_names, [])
    equal.build(len(task_names))
    return equal
