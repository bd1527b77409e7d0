"""Experts: parallel layers that read the same input."""

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
    """Applies several layers to the same input and stacks their outputs.

    Args:
        experts: The layers, with outputs of the same shape.
        **kwargs: Arguments of `keras.layers.Layer`.

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
            # Functions may give every expert the same name; variable paths must differ.
            with keras.name_scope(str(number)):
                output = expert(inputs)
            if not isinstance(output, keras.KerasTensor):
                raise ValueError(f"The expert '{expert.name}' must return one tensor.")
            shapes.append(tuple(output.shape))
        if len(set(shapes)) > 1:
            raise ValueError(
                f"The outputs of the experts of '{self.name}' are added, so they must have the "
                "same shape. Received: "
                f"{dict(zip([e.name for e in self.experts], shapes, strict=True))}"
            )

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return tf.stack([_run(expert, inputs, training) for expert in self.experts], axis=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "experts": list(self.expert_configs)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Experts":
        return cls(**{**config, "experts": deserialized(config["experts"])})


def make_experts(expert: Expert, number: int, name: str) -> list[keras.Layer]:
    """Returns new layers from a user's argument `expert`.

    Args:
        expert: A layer, of which each expert is a clone with its own weights; a function, called
            once for each expert; or a sequence of the experts.
        number: Number of layers.
        name: Prefix of the names of clones.

    Raises:
        ValueError: If `number` is less than 1 or does not match a sequence, or a function does not
            return new layers.
    """
    if not isinstance(number, int) or number < 1:
        raise ValueError(f"The number of experts must be 1 or more. Received: {number!r}")
    if isinstance(expert, keras.Layer):
        return [_clone(expert, f"{name}_{i}") for i in range(number)]
    if isinstance(expert, Sequence) and not isinstance(expert, str):
        if len(expert) != number:
            held = counted(len(expert), "layer")
            raise ValueError(f"`expert` has {held}; expected {number}.")
        return checked_experts(expert)
    if not callable(expert):
        raise ValueError(
            "`expert` must be a layer, a function that returns one, or a list of layers. "
            f"Received: {expert!r}"
        )
    return checked_experts([expert() for _ in range(number)])


def checked_experts(experts: Sequence[Any]) -> list[keras.Layer]:
    """Returns the experts as a list of distinct layers.

    Raises:
        ValueError: If it is empty, or holds a layer twice or anything but layers.
    """
    others = [expert for expert in experts if not isinstance(expert, keras.Layer)]
    if not experts or others:
        raise ValueError(f"Experts must be one or more Keras layers. Received: {others or experts}")
    if len({id(expert) for expert in experts}) < len(experts):
        raise ValueError(
            f"Each expert must be a separate layer, but '{experts[0].name}' or another one "
            "occurs twice. A function given as `expert` must return a new layer at each call."
        )
    return list(experts)


def serialized(experts: Sequence[keras.Layer]) -> list[Any]:
    """Returns configs of layers that can be stored as JSON.

    Called before the layers are built: the config of a built layer makes one that is built at once,
    outside of the layer that holds it, so that its variables have other paths.
    """
    return [keras.saving.serialize_keras_object(expert) for expert in experts]


def deserialized(configs: Sequence[Any]) -> list[keras.Layer]:
    """Returns the layers of `serialized`."""
    return [keras.saving.deserialize_keras_object(config) for config in configs]


def _clone(layer: keras.Layer, name: str) -> keras.Layer:
    """Returns a layer of the same config, with new weights."""
    config = _reseeded(layer.get_config(), zlib.crc32(name.encode()))
    return type(layer).from_config({**config, "name": name})


def _reseeded(config: Any, number: int) -> Any:
    """Changes fixed seeds in a config, since identical experts would stay identical."""
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
