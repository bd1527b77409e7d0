"""Which variables are shared, which belong to a head, and where the trunk ends."""

import dataclasses
import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from mtk.tasks import Task
from mtk.trainer import batches, forward
from mtk.trainer.recording import Call, all_layers, recorded

# Operations through which no gradient flows.
_BARRIERS = frozenset({"StopGradient", "PreventGradient"})


@dataclasses.dataclass(frozen=True)
class Structure:
    """How the trainable variables of a network belong to its tasks.

    Attributes:
        shared: Variables that at least two tasks reach (with one task: all that it reaches).
        heads: For each task's name, the variables that only it reaches.
        unowned: Variables named as part of some head without saying whose.
        unreached: Variables that no task reaches: they are not trained.
        common: Those of `shared` that every task reaches.
        representation: Layers (and which of their calls) whose outputs the heads read; empty if
            they were not found.
        around: Those of `shared` that reach a loss past the representation.
        shared_input: Whether one forward pass serves all tasks.
    """

    shared: list[keras.Variable]
    heads: dict[str, list[keras.Variable]]
    unowned: list[keras.Variable]
    unreached: list[keras.Variable]
    common: list[keras.Variable]
    representation: list[tuple[keras.Layer, int]]
    around: list[keras.Variable]
    shared_input: bool = True

    def layer_variables(self, at: str) -> list[keras.Variable]:
        """Returns the shared variables of `"last_layer"` or of a layer by name.

        Raises:
            ValueError: If there are none.
        """
        if at == "last_layer":
            return self.last_layer()
        found = [v for v in self.shared if at in v.path.split("/")[:-1]]
        if not found:
            raise ValueError(
                f"No shared variable belongs to a layer named '{at}'. Shared: "
                f"{[v.path for v in self.shared]}"
            )
        return found

    def last_layer(self) -> list[keras.Variable]:
        """Returns the variables of the last layer with a kernel that every task reaches."""
        kernels = [v for v in self.common if len(v.shape) >= 2]
        if not kernels:
            raise ValueError(
                "No layer with a kernel is shared by all tasks, so there is no last shared layer. "
                "Name the layer: `at='<layer name>'`."
            )
        owner = _owner(kernels[-1])
        return [v for v in self.common if _owner(v) == owner]


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
    masks = [past.get(loss.op.name, 0) for loss in losses]
    around = [v for i, v in enumerate(variables) if is_shared[i] and any(m >> i & 1 for m in masks)]
    return Structure(shared, heads, [], unreached, common, places, around)


def override(
    structure: Structure,
    network: keras.Model,
    shared: Sequence[str] | None,
    heads: Mapping[str, Sequence[str]] | None,
) -> Structure:
    """Corrects a structure by what the user says of it.

    Args:
        structure: What `find` found.
        network: The network.
        shared: Names of layers or paths of variables that are shared; all others are heads.
        heads: For each task, those of its head; all others are shared, unless `shared` is given
            too.

    Raises:
        ValueError: If a task or layer is unknown, or a variable is given two places.
    """
    if shared is None and heads is None:
        return structure
    unknown = sorted(set(heads or {}) - set(structure.heads))
    if unknown:
        raise ValueError(f"`heads` names unknown tasks {unknown}; known: {list(structure.heads)}")
    named = {name: _variables(network, parts) for name, parts in (heads or {}).items()}
    ids = [id(v) for vs in named.values() for v in vs]
    chosen = {id(v) for v in _variables(network, shared or [])}
    if len(ids) != len(set(ids)) or chosen & set(ids):
        raise ValueError("`shared` and `heads` give a variable to more than one place.")
    found = {name: list(vs) for name, vs in structure.heads.items()}
    reached = [v for v in network.trainable_variables if not _is_in(v, structure.unreached)]
    if shared is None:
        # A head that was found stays a head; what the user did not name is shared otherwise.
        kept = {n: [v for v in vs if id(v) not in ids] for n, vs in found.items()}
        owned = {n: named.get(n, []) + kept[n] for n in found}
        taken = {id(v) for vs in owned.values() for v in vs}
        common = [v for v in reached if id(v) not in taken]
        return dataclasses.replace(structure, shared=common, heads=owned, common=common)
    kept = {n: [v for v in vs if id(v) not in chosen | set(ids)] for n, vs in found.items()}
    owned = {n: named.get(n, []) + kept[n] for n in found}
    taken = {id(v) for vs in owned.values() for v in vs} | chosen
    common = [v for v in reached if id(v) in chosen]
    unowned = [v for v in reached if id(v) not in taken]
    return dataclasses.replace(
        structure, shared=common, heads=owned, unowned=unowned, common=common
    )


def layer_named(network: keras.Model, name: str) -> keras.Layer:
    """Returns the layer of that name.

    Raises:
        ValueError: If there is none.
    """
    names = {layer.name: layer for layer in all_layers(network)}
    if name not in names:
        close = difflib.get_close_matches(name, names, n=3)
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise ValueError(f"The network has no layer named '{name}'.{hint}")
    return names[name]


def names(parts: Any) -> Any:
    """Returns what a user said of a structure, with layers by name and variables by path."""
    if isinstance(parts, Mapping):
        return {task: names(of_task) for task, of_task in parts.items()}
    if isinstance(parts, (list, tuple)):
        return [names(part) for part in parts]
    if isinstance(parts, keras.Variable):
        return parts.path
    return parts.name if isinstance(parts, keras.Layer) else parts


def _variables(network: keras.Model, parts: Sequence[str]) -> list[keras.Variable]:
    if isinstance(parts, str):
        raise ValueError(f"Give a list of layers, names or variables. Received: {parts!r}")
    found: list[keras.Variable] = []
    for part in parts:
        variable = _by_path(network, part)
        found += layer_named(network, part).trainable_variables if variable is None else [variable]
    return list({id(v): v for v in found}.values())


def _by_path(network: keras.Model, path: str) -> keras.Variable | None:
    return next((v for v in network.trainable_variables if v.path == path), None)


def _is_in(variable: keras.Variable, variables: Sequence[keras.Variable]) -> bool:
    return any(variable is other for other in variables)


def _owner(variable: keras.Variable) -> str:
    return variable.path.rpartition("/")[0]


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
