"""Which variables are shared, which belong to a head, and where the trunk ends."""

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras

from mtk.display import counted
from mtk.sharing.layer_calls import all_layers

LayerOutput = tuple[keras.Layer, int]  # A layer, and the index of its call.


@dataclasses.dataclass(frozen=True)
class Structure:
    """How the trainable variables of a network belong to its tasks.

    Attributes:
        shared: Variables that at least two tasks reach (with one task: all that it reaches).
        heads: For each task's name, the variables that only it reaches.
        unowned: Variables of heads whose task is unknown, since they are not named in `shared`; and
            those that Keras overwrites with their gradients, such as float8 scales, which belong to
            no task.
        unreached: Variables that no task reaches, which are not trained.
        common: Those of `shared` that every task reaches.
        representation: Layers (with call indices) whose outputs the heads read; empty if not found.
        both_sides: Those of `shared` that the representation depends on, and that also affect a
            loss by a path around it.
        last: Those of `common` in the last layers: no other layer with a kernel that every task
            reaches comes after them. All parallel layers, such as experts, are included.
        network: The network.
        shared_input: Whether one forward pass serves all tasks.
        grouped_convolutions: Whether the network has grouped convolutions.
    """

    shared: list[keras.Variable]
    heads: dict[str, list[keras.Variable]]
    unowned: list[keras.Variable]
    unreached: list[keras.Variable]
    common: list[keras.Variable]
    representation: list[LayerOutput]
    both_sides: list[keras.Variable]
    last: list[keras.Variable]
    network: keras.Model = dataclasses.field(repr=False)
    shared_input: bool = True
    grouped_convolutions: bool = False

    def covers(self, network: keras.Model) -> bool:
        """Whether it describes the variables that are now trainable."""
        heads = [v for of_task in self.heads.values() for v in of_task]
        known = {id(v) for v in [*self.shared, *heads, *self.unowned, *self.unreached]}
        return known == {id(v) for v in network.trainable_variables}

    def layer_variables(self, at: Any) -> list[keras.Variable]:
        """Returns the shared variables of `"last_layer"`, or of layers.

        Args:
            at: `"last_layer"`, a layer or its name, or a sequence of these.

        Raises:
            ValueError: If there are none.
        """
        parts = [at] if isinstance(at, (str, keras.Layer)) else at
        found: dict[int, keras.Variable] = {}
        for part in parts:
            own = self.last_layer() if part == "last_layer" else self._of_layer(part)
            found.update({id(v): v for v in own})
        return list(found.values())

    def _of_layer(self, part: str | keras.Layer) -> list[keras.Variable]:
        layer = layer_named(self.network, part) if isinstance(part, str) else part
        own = {id(v) for v in layer.trainable_variables}
        found = [v for v in self.shared if id(v) in own]
        if not found:
            raise ValueError(
                f"No shared variable belongs to a layer named '{layer.name}'. Shared: "
                f"{[v.path for v in self.shared]}"
            )
        return found

    def last_layer(self) -> list[keras.Variable]:
        """Returns the variables of the last layers with a kernel that every task reaches."""
        if not self.last:
            raise ValueError(
                "No layer with a kernel is shared by all tasks, so there is no last shared "
                "layer. Give the layer: `at='<layer name>'`."
            )
        return self.last

    def summary(self) -> str:
        """Returns a text: what is shared, what belongs to each task, and where the trunk ends."""

        def count(variables: Sequence[keras.Variable]) -> str:
            total = sum(math.prod(v.shape) for v in variables)
            return f"{counted(total, 'parameter')} in {counted(len(variables), 'variable')}"

        lines = [f"shared: {count(self.shared)}"]
        lines += [f"head of '{name}': {count(own)}" for name, own in self.heads.items()]
        ends = ", ".join(f"'{layer.name}'" for layer, _ in self.representation) or "not found"
        last = ", ".join(f"'{v.path}'" for v in self.last) or "none"
        lines += [f"representation: {ends}", f"last shared layer: {last}"]
        if self.unreached:
            paths = ", ".join(v.path for v in self.unreached)
            lines.append(f"not trained because no task depends on them: {paths}")
        return "\n".join(lines)


def unread(network: keras.Model, task_names: Sequence[str], given: "Given") -> Structure:
    """Returns the structure of a network that cannot run in a graph, for `override`.

    Args:
        network: A built network.
        task_names: The K names.
        given: The user's description.
    """
    place = given.representation
    layer = layer_named(network, place) if isinstance(place, str) else place
    return Structure(
        shared=[],
        heads={name: [] for name in task_names},
        unowned=[],
        unreached=[],
        common=[],
        representation=[] if layer is None else [(layer, 0)],
        both_sides=[],
        last=[],
        network=network,
    )


class Given(NamedTuple):
    """A user's description of a structure; not a list, in which Keras would track the layers.

    Attributes:
        shared: Layers, names of layers, variables or their paths.
        heads: The same by task, for the heads.
        representation: Layer whose output the heads read, or its name.
    """

    shared: Sequence[Any] | None = None
    heads: Mapping[str, Sequence[Any]] | None = None
    representation: str | keras.Layer | None = None


def override(structure: Structure, given: Given) -> Structure:
    """Corrects a structure by the user's description.

    Args:
        structure: Result of the analysis.
        given: If `shared` is given, all other variables belong to heads; if only `heads` are given,
            all others are shared.

    Raises:
        ValueError: If a task or layer is unknown, or a variable is given more than one place.
    """
    return _without_overwritten(_corrected(structure, given))


def _corrected(structure: Structure, given: Given) -> Structure:
    shared, heads, _ = given
    if shared is None and heads is None:
        return structure
    unknown = sorted(set(heads or {}) - set(structure.heads))
    if unknown:
        raise ValueError(f"`heads` names unknown tasks {unknown}; known: {list(structure.heads)}")
    network = structure.network
    named = {name: _variables(network, parts) for name, parts in (heads or {}).items()}
    ids = [id(v) for vs in named.values() for v in vs]
    chosen = {id(v) for v in _variables(network, shared or [])}
    if len(ids) != len(set(ids)) or chosen & set(ids):
        raise ValueError("`shared` and `heads` assign a variable to more than one place.")
    taken_from_heads = chosen | set(ids)
    # Detected heads remain heads; other variables that the user did not name are shared.
    owned = {
        name: named.get(name, []) + [v for v in found if id(v) not in taken_from_heads]
        for name, found in structure.heads.items()
    }
    in_heads = {id(v) for vs in owned.values() for v in vs}
    unreached = {id(v) for v in structure.unreached}
    reached = [v for v in network.trainable_variables if id(v) not in unreached]
    is_shared = chosen if shared is not None else {id(v) for v in reached} - in_heads
    common = [v for v in reached if id(v) in is_shared]
    known = {id(v) for v in structure.last}
    return dataclasses.replace(
        structure,
        shared=common,
        heads=owned,
        unowned=[v for v in reached if id(v) not in in_heads | is_shared],
        common=common,
        last=[v for v in common if id(v) in known] or _last_defined(common),
    )


def _without_overwritten(structure: Structure) -> Structure:
    apart = [v for v in structure.network.trainable_variables if v.overwrite_with_gradient]
    known = {id(v) for v in apart}

    def others(variables: Sequence[keras.Variable]) -> list[keras.Variable]:
        return [v for v in variables if id(v) not in known]

    kinds = ("shared", "unowned", "unreached", "common", "both_sides", "last")
    found: dict[str, Any] = {kind: others(getattr(structure, kind)) for kind in kinds}
    found["unowned"] += apart
    heads = {name: others(own) for name, own in structure.heads.items()}
    return dataclasses.replace(structure, heads=heads, **found)


def layer_named(network: keras.Model, name: str) -> keras.Layer:
    """Returns the layer with this name.

    Raises:
        ValueError: If there is no such layer, or more than one.
    """
    found = [layer for layer in all_layers(network) if layer.name == name]
    if len(found) > 1:
        raise ValueError(f"{len(found)} layers have the name '{name}'. Give the layer itself.")
    if not found:
        names = {layer.name for layer in all_layers(network)}
        close = difflib.get_close_matches(name, names, n=3)
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise ValueError(f"The network has no layer named '{name}'.{hint}")
    return found[0]


def names(parts: Any) -> Any:
    """Returns a user's description, with layers by name and variables by path."""
    if isinstance(parts, Mapping):
        return {task: names(of_task) for task, of_task in parts.items()}
    if isinstance(parts, (list, tuple)):
        return [names(part) for part in parts]
    if isinstance(parts, keras.Variable):
        return parts.path
    return parts.name if isinstance(parts, keras.Layer) else parts


def _variables(network: keras.Model, parts: Sequence[Any]) -> list[keras.Variable]:
    if isinstance(parts, str):
        raise ValueError(f"Give a list of layers, names or variables. Received: {parts!r}")
    found = [v for part in parts for v in _of(network, part)]
    return list({id(v): v for v in found}.values())


def _of(network: keras.Model, part: Any) -> list[keras.Variable]:
    trainable = network.trainable_variables
    known = {id(v) for v in trainable}
    if isinstance(part, keras.Variable):
        own = [part]
    elif isinstance(part, keras.Layer):
        own = part.trainable_variables
        if part is not network and not any(part is layer for layer in all_layers(network)):
            raise ValueError(f"The layer '{part.name}' is not part of the network.")
    else:
        by_path = [v for v in trainable if v.path == part]
        if len(by_path) > 1:
            raise ValueError(f"{len(by_path)} variables have the path '{part}'. Give the variable.")
        own = by_path or layer_named(network, part).trainable_variables
    if not all(id(v) in known for v in own):
        raise ValueError(f"This is not part of the network, or not trainable: {names(part)!r}")
    return own


def _last_defined(variables: Sequence[keras.Variable]) -> list[keras.Variable]:
    kernels = [v for v in variables if len(v.shape) >= 2]
    owner = kernels[-1].path.rpartition("/")[0] if kernels else None
    return [v for v in variables if v.path.rpartition("/")[0] == owner]
