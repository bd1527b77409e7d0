"""Experts: layers side by side that read the same input."""

import zlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from mtk.display import counted

# A layer to clone, a function that makes one, or the experts themselves.
Expert: TypeAlias = keras.Layer | Callable[[], keras.Layer] | Sequence[keras.Layer]


@keras.saving.register_keras_serializable("mtk")
class Experts(layers.Layer):
    """Applies several layers to one input and stacks what they put out.

    Args:
        experts: The layers. Their outputs have one shape.
        **kwargs: Of `keras.layers.Layer`.

    Call arguments:
        inputs: `(B, ...)`.

    Returns:
        `(B, len(experts), ...)`.

    Raises:
        ValueError: If there is no expert, or an output has another shape than the first.
    """

    def __init__(self, experts: Sequence[keras.Layer], **kwargs: Any):
        super().__init__(**kwargs)
        self.experts = checked_experts(experts)
        self.expert_configs = serialized(self.experts)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        inputs = keras.KerasTensor(input_shape, dtype=self.compute_dtype)
        shapes = []
        for number, expert in enumerate(self.experts):
            # Functions may give every expert the same name; paths of variables stay different.
            with keras.name_scope(str(number)):
                output = expert(inputs)
            if not isinstance(output, keras.KerasTensor):
                raise ValueError(f"The expert '{expert.name}' must return one tensor.")
            shapes.append(tuple(output.shape))
        if len(set(shapes)) > 1:
            raise ValueError(
                f"The experts of '{self.name}' must put out one shape, as they are added. "
                f"Received: {dict(zip([e.name for e in self.experts], shapes, strict=True))}"
            )

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return tf.stack([_run(expert, inputs, training) for expert in self.experts], axis=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "experts": list(self.expert_configs)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Experts":
        return cls(**{**config, "experts": deserialized(config["experts"])})


def make_experts(expert: Expert, number: int, name: str) -> list[keras.Layer]:
    """Returns new layers from what a user gives as `expert`.

    Args:
        expert: A layer, of which each expert is a clone with weights of its own; a function, called
            once for each expert; or a sequence of the experts.
        number: How many.
        name: What the names of clones begin with.

    Raises:
        ValueError: If `number` is less than 1 or does not match a sequence, or a function does not
            return new layers.
    """
    if not isinstance(number, int) or number < 1:
        raise ValueError(f"The number of experts is 1 or more. Received: {number!r}")
    if isinstance(expert, keras.Layer):
        return [_clone(expert, f"{name}_{i}") for i in range(number)]
    if isinstance(expert, Sequence) and not isinstance(expert, str):
        if len(expert) != number:
            held = counted(len(expert), "layer")
            raise ValueError(f"`expert` holds {held}; the number that is needed is {number}.")
        return checked_experts(expert)
    if not callable(expert):
        raise ValueError(
            "`expert` is a layer, a function that makes one, or a list of layers. "
            f"Received: {expert!r}"
        )
    return checked_experts([expert() for _ in range(number)])


def checked_experts(experts: Sequence[Any]) -> list[keras.Layer]:
    """Returns a list of layers that are all different.

    Raises:
        ValueError: If it is empty, holds something else than layers, or a layer twice.
    """
    others = [expert for expert in experts if not isinstance(expert, keras.Layer)]
    if not experts or others:
        raise ValueError(f"Experts are one or more Keras layers. Received: {others or experts}")
    if len({id(expert) for expert in experts}) < len(experts):
        raise ValueError(
            f"Each expert must be a layer of its own, but '{experts[0].name}' or another one comes "
            "twice. A function given as `expert` must make a new layer at each call."
        )
    return list(experts)


def serialized(experts: Sequence[keras.Layer]) -> list[Any]:
    """Returns configs of layers, as JSON can hold them.

    Called before the layers are built: of a layer that was, another is made that is built at once,
    outside of the layer that holds it, and its variables have other paths.
    """
    return [keras.saving.serialize_keras_object(expert) for expert in experts]


def deserialized(configs: Sequence[Any]) -> list[keras.Layer]:
    """Returns the layers of `serialized`."""
    return [keras.saving.deserialize_keras_object(config) for config in configs]


def _clone(layer: keras.Layer, name: str) -> keras.Layer:
    """Returns a layer of the same config with new weights."""
    config = _reseeded(layer.get_config(), zlib.crc32(name.encode()))
    return type(layer).from_config({**config, "name": name})


def _reseeded(config: Any, number: int) -> Any:
    """Changes fixed seeds in a config: experts that start alike would stay alike."""
    if isinstance(config, (list, tuple)):
        return type(config)(_reseeded(part, number) for part in config)
    if not isinstance(config, dict):
        return config
    found = {key: _reseeded(part, number) for key, part in config.items()}
    if isinstance(found.get("seed"), int):
        sequence = np.random.SeedSequence([found["seed"], number])
        found["seed"] = int(sequence.generate_state(1)[0] >> 1)
    return found


def _run(layer: keras.Layer, inputs: tf.Tensor, training: bool | None) -> tf.Tensor:
    return layer(inputs, training=training) if layer._call_has_training_arg else layer(inputs)
