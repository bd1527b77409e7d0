"""Reads the structure of a network off the graph of a forward pass."""

import dataclasses
import functools
import operator
from collections.abc import Collection, Sequence
from typing import Any

import keras
import tensorflow as tf

from mtk.tasks import Task
from mtk.trainer import batches, forward, products
from mtk.trainer.recording import Call, all_layers, recorded
from mtk.trainer.structure import Structure, layer_named

# Operations through which no gradient flows.
_BARRIERS = frozenset({"StopGradient", "PreventGradient"})


def trace(
    network: keras.Model, tasks: Sequence[Task], spec: Any, representation: str | None = None
) -> Structure:
    """Finds the structure of a network in the graph of one forward pass.

    Args:
        network: A built network.
        tasks: The K tasks.
        spec: The form of a batch: `tf.TypeSpec`s in the place of tensors.
        representation: Name of the layer whose output the heads read, or None to look for it.
    """
    passes: list[batches.Share] = []

    def losses_of(data: Any) -> list[tf.Tensor]:
        shares = batches.parse(data, [task.name for task in tasks])
        passes.extend(shares)
        return forward.run(network, tasks, shares, forward.State(network)).sums

    function = tf.function(losses_of, autograph=False)
    with tf.init_scope(), recorded(all_layers(network)) as calls:
        graph = function.get_concrete_function(spec).graph
    names = [task.name for task in tasks]
    places = None if representation is None else [(layer_named(network, representation), 0)]
    found = find(network.trainable_variables, names, graph, graph.structured_outputs, calls, places)
    return dataclasses.replace(found, shared_input=batches.is_shared_input(passes))


def find(
    variables: Sequence[keras.Variable],
    task_names: Sequence[str],
    graph: tf.Graph,
    losses: Sequence[tf.Tensor],
    calls: Sequence[Call],
    places: list[tuple[keras.Layer, int]] | None = None,
) -> Structure:
    """Reads the structure off the graph of one forward pass.

    A task reaches a variable if a path of differentiable operations leads from the variable to
    the task's loss. Inner functions, conditionals and loops are taken to let everything through:
    where that is wrong, name `shared=` or `heads=`.

    Args:
        variables: The trainable variables of the network.
        task_names: The K names.
        graph: A function graph that holds a forward pass.
        losses: The K task losses in it.
        calls: The layers' calls in it, to tell where the trunk ends.
        places: Layers, and which of their calls, that put out the representation; None looks for
            them.
    """
    sources = _reached_variables(graph, variables)
    reached = [sources.get(loss.op.name, 0) for loss in losses]
    by = [[k for k, mask in enumerate(reached) if mask >> i & 1] for i in range(len(variables))]
    is_shared = [len(ks) >= min(2, len(task_names)) for ks in by]
    shared = [v for v, yes in zip(variables, is_shared, strict=True) if yes]
    heads: dict[str, list[keras.Variable]] = {name: [] for name in task_names}
    for variable, ks, yes in zip(variables, by, is_shared, strict=True):
        if ks and not yes:
            heads[task_names[ks[0]]].append(variable)
    common = [v for v, ks in zip(variables, by, strict=True) if len(ks) == len(task_names)]
    unreached = [v for v, ks in zip(variables, by, strict=True) if not ks]
    if places is None:
        places = _frontier(graph, losses, sources, calls)
    chosen = [(id(layer), number) for layer, number in places]
    ends = {c.outputs[0].op.name for c in calls if (id(c.layer), c.number) in chosen}
    past = _reached_variables(graph, variables, ends)
    behind = functools.reduce(operator.or_, (past.get(loss.op.name, 0) for loss in losses))
    before = functools.reduce(operator.or_, (sources.get(end, 0) for end in ends), 0)
    both = [v for i, v in enumerate(variables) if is_shared[i] and behind & before & 1 << i]
    linear = products.find(graph, shared, calls)
    return Structure(shared, heads, [], unreached, common, places, both, linear=linear)


def _carries_gradient(tensor: tf.Tensor) -> bool:
    dtype = tensor.dtype
    return dtype.is_floating or dtype.is_complex or dtype in (tf.resource, tf.variant)


def _reached_variables(
    graph: tf.Graph, variables: Sequence[keras.Variable], walls: Collection[str] = ()
) -> dict[str, int]:
    """Returns for each operation the set of variables before it, as the bits of an integer.

    Nothing passes the operations named in `walls`.
    """
    handles = {id(v.value.handle): i for i, v in enumerate(variables)}
    masks = {
        inner.op.name: 1 << handles[id(outer)]
        for outer, inner in graph.captures
        if id(outer) in handles
    }
    # A function graph lists its operations in the order in which they were made.
    for op in graph.get_operations():
        if op.name in masks or op.name in walls or op.type in _BARRIERS:
            continue
        mask = 0
        for tensor in op.inputs:
            if _carries_gradient(tensor):
                mask |= masks.get(tensor.op.name, 0)
        masks[op.name] = mask
    return masks


def _frontier(
    graph: tf.Graph,
    losses: Sequence[tf.Tensor],
    sources: dict[str, int],
    calls: Sequence[Call],
) -> list[tuple[keras.Layer, int]]:
    """Finds the layers' outputs that all tasks depend on and that operations of heads read."""
    everyone = (1 << len(losses)) - 1
    tasks: dict[str, int] = {}
    for k, loss in enumerate(losses):
        tasks[loss.op.name] = tasks.get(loss.op.name, 0) | 1 << k
    ends = set()
    for op in reversed(graph.get_operations()):
        mine = tasks.get(op.name, 0)
        if not mine or op.type in _BARRIERS:
            continue
        for tensor in op.inputs:
            if _carries_gradient(tensor):
                tasks[tensor.op.name] = tasks.get(tensor.op.name, 0) | mine
    for op in graph.get_operations():
        if 0 < tasks.get(op.name, 0) < everyone and op.type not in _BARRIERS:
            for tensor in op.inputs:
                whole = tasks.get(tensor.op.name, 0) == everyone and tensor.dtype.is_floating
                if whole and sources.get(tensor.op.name, 0):
                    ends.add(tensor.name)
    places: dict[str, tuple[keras.Layer, int]] = {}
    for call in calls:
        for tensor in call.outputs:
            places.setdefault(tensor.name, (call.layer, call.number))
    found = [places[name] for name in places if name in ends]
    # An end that is no layer's output cannot be watched: then nothing is said to be found.
    return found if len({name for name in places if name in ends}) == len(ends) else []
