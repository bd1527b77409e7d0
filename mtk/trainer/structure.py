"""Which variables are shared, which belong to a head, and where the trunk ends."""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from mtk.trainer.products import Linear
from mtk.trainer.recording import all_layers


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
        both_sides: Those of `shared` that the representation depends on, and that reach a loss past
            it too.
        shared_input: Whether one forward pass serves all tasks.
        linear: Layers that multiply by one of `shared` which nothing else reads.
    """

    shared: list[keras.Variable]
    heads: dict[str, list[keras.Variable]]
    unowned: list[keras.Variable]
    unreached: list[keras.Variable]
    common: list[keras.Variable]
    representation: list[tuple[keras.Layer, int]]
    both_sides: list[keras.Variable]
    shared_input: bool = True
    linear: list[Linear] = dataclasses.field(default_factory=list)

    def covers(self, network: keras.Model) -> bool:
        """Whether it speaks of the variables that are trainable now."""
        heads = [v for of_task in self.heads.values() for v in of_task]
        known = {id(v) for v in [*self.shared, *heads, *self.unowned, *self.unreached]}
        return known == {id(v) for v in network.trainable_variables}

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
