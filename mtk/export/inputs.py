"""The inputs of a network by name."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mtk import records
from mtk.display import counted

# Next to a SavedModel's own files, in the folder that TensorFlow reserves for others.
_ORDER = Path("assets.extra") / "mtk.json"


class Inputs(NamedTuple):
    """The inputs of a network.

    Attributes:
        structure: The structure of inputs with which the network is called, as specs.
        names: Names of its parts, in the order of `tf.nest.flatten`.
        specs: Specs by name, with any batch size.
    """

    structure: Any
    names: list[str]
    specs: dict[str, tf.TensorSpec]

    def packed(self, named: Mapping[str, tf.Tensor]) -> Any:
        """Returns named tensors in the structure of the network's inputs."""
        return tf.nest.pack_sequence_as(self.structure, [named[name] for name in self.names])


def inputs_of(network: keras.Model, given: Any = None) -> Inputs:
    """Returns the inputs of a network.

    Args:
        network: The network.
        given: Specs for a network that does not know its inputs.

    Raises:
        ValueError: If the inputs are unknown, or two have the same name.
    """
    structure = _structure(network, given)
    flat = tf.nest.flatten(structure)
    names = [spec.name or f"input_{index}" for index, spec in enumerate(flat)]
    if isinstance(structure, dict):
        names = sorted(structure)  # The order of `flatten`.
    if len(set(names)) < len(flat):
        raise ValueError(
            f"The inputs of the network {network.name!r} must have unique names, which become "
            f"the names in the signature. Received: {names}"
        )
    specs = {
        name: tf.TensorSpec((None, *spec.shape[1:]), spec.dtype, name)
        for name, spec in zip(names, flat, strict=True)
    }
    return Inputs(structure, names, specs)


def by_name(values: Any, names: Sequence[str]) -> dict[str, Any]:
    """Returns the inputs of a network, such as tensors or specs, by name.

    Args:
        values: A dict by name, or any structure with the parts in the order of `names`.
        names: Names of the inputs.

    Raises:
        ValueError: If the names or their number differ.
    """
    if isinstance(values, Mapping) and set(values) == set(names):
        return dict(values)
    flat = tf.nest.flatten(values)
    if len(flat) != len(names) or isinstance(values, Mapping):
        received = sorted(values) if isinstance(values, Mapping) else counted(len(flat), "input")
        raise ValueError(
            f"The network expects the inputs {sorted(names)}, but the data have other inputs. "
            f"Received: {received}"
        )
    return dict(zip(names, flat, strict=True))


def write_order(saved_model: Path, names: Sequence[str]) -> None:
    """Writes a file with the order of the inputs: signatures only store their names."""
    path = saved_model / _ORDER
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"inputs": list(names)}) + "\n", encoding="utf-8")


def read_order(saved_model: Path, known: Collection[str]) -> list[str]:
    """Returns the names of the inputs in order; alphabetically if the order was not written.

    Args:
        saved_model: The folder of the SavedModel.
        known: The names.

    Raises:
        ValueError: If the file with the order is damaged.
    """
    path = saved_model / _ORDER
    if not path.is_file():
        return sorted(known)
    try:
        names = records.json_object(path)["inputs"]
    except (ValueError, LookupError) as error:
        raise _damaged(path) from error
    if not isinstance(names, list) or sorted(map(str, names)) != sorted(known):
        raise _damaged(path)
    return names


def _damaged(path: Path) -> ValueError:
    return ValueError(
        f"{str(path)!r} is damaged: it should list the inputs of the network in order. Export "
        "the network again."
    )


def _structure(network: keras.Model, given: Any) -> Any:
    if isinstance(network, keras.Sequential) and network.built:
        return network.inputs[0]
    if given is not None and not hasattr(network, "inputs"):
        return given  # Keras stores a subclassed network's inputs as a list, without their names.
    try:
        found = network.input
    except (AttributeError, ValueError) as error:
        raise _unknown(network) from error
    if hasattr(network, "inputs") or not isinstance(found, list):
        return found
    # For a subclassed network that was called symbolically: the values of a dict, as a list.
    shapes = (network.get_build_config() or {}).get("input_shape")
    if not isinstance(shapes, Mapping) or len(shapes) != len(found):
        raise _unknown(network)
    return dict(zip(sorted(shapes), found, strict=True))


def _unknown(network: keras.Model) -> ValueError:
    return ValueError(
        f"The network {network.name!r} is neither functional nor sequential, so its inputs are "
        "unknown. Give `inputs`, such as the `element_spec[0]` of a dataset."
    )
