"""Networks conditioned on the task weights: one network for a whole Pareto front."""

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from mtk.models.film import FiLM
from mtk.models.seeds import layer_seeds
from mtk.per_task import PerTask, in_task_order
from mtk.ranges import are_weights

INPUT = "task_weights"


@keras.saving.register_keras_serializable("mtk")
class TaskWeights(keras.layers.Layer):
    """Normalizes the task weights that a network reads, and holds the names of the tasks.

    Args:
        task_names: The K tasks, in the order of the weights.
        preference: Default for batches without weights: K weights that sum to one.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: `(B, K)`, nonnegative, with a positive number in each row.

    Returns:
        `(B, K)`, with rows that sum to one.
    """

    def __init__(self, task_names: Sequence[str], preference: Sequence[float], **kwargs: Any):
        super().__init__(**kwargs)
        self.task_names = list(task_names)
        self.preference = list(preference)

    def call(self, inputs: Any) -> Any:
        # Examples that pad a replica's batch have weights of zero.
        total = keras.ops.sum(inputs, axis=-1, keepdims=True)
        return keras.ops.divide_no_nan(inputs, total)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        own = {"task_names": list(self.task_names), "preference": list(self.preference)}
        return {**super().get_config(), **own}


def conditioned(
    network: keras.Model,
    layers: Iterable[str],
    hidden: int = 64,
    task_names: Sequence[str] | None = None,
    preference: PerTask | None = None,
    seed: int | None = None,
) -> keras.Model:
    """Returns a copy of a network that also reads the task weights.

    It has one more input, `task_weights` `(B, K)`, the last of a list, or under that name in a
    dict. Only the ratios matter. A `FiLM` layer after each named layer scales and shifts its output
    by a function of the weights, which is initially the identity. Trained with `mtk.combiners.RLW`,
    which draws the weights, the network serves any weights: see `mtk.front` and `at`.

    Args:
        network: A functional model, whose output is a dict by task unless `task_names` are given.
            It is not changed.
        layers: Names of layers of the trunk, such as convolutions and dense layers. A scale has an
            effect after a normalization layer, but is undone before one.
        hidden: Number of units of the hidden layer of each FiLM layer.
        task_names: The K tasks, in the order of the weights.
        preference: Default for batches without weights, as in validation: one number per task, by
            name or in task order; equal by default.
        seed: Seed of the initial weights of the FiLM layers.

    Raises:
        TypeError: If the network is not a functional model.
        ValueError: If it already has the input, lacks a named layer, or a layer's output is not one
            tensor `(B, ..., C)`; if tasks are unknown or the preference does not match them.

    Reference:
        Dosovitskiy & Djolonga, *You Only Train Once: Loss-Conditional Training of Deep Networks*
        (2020), section 3. There each example of a step has its own weights.
    """
    _check_functional(network)
    names = _task_names(network, task_names)
    preferred = normalized(preference, names)
    where = _checked_layers(network, layers)
    seeds = layer_seeds(seed)
    films = {name: FiLM(hidden, next(seeds), name=f"{name}_film") for name in where}
    weights = keras.Input((len(names),), name=INPUT)
    on_simplex = TaskWeights(names, preferred, name="simplex")(weights)

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        found = layer(*args, **kwargs)
        if layer.name not in films:
            return found
        if not keras.backend.is_keras_tensor(found):
            raise ValueError(
                f"FiLM needs a layer with a single output, but '{layer.name}' has several. "
                "Choose another layer."
            )
        return films[layer.name](found, on_simplex)

    # An input that nothing reads yet.
    wide = keras.Model(with_weights(network.input, weights), network.output, name=network.name)
    return _cloned(wide, with_weights(_new_inputs(network), weights), call)


def at(network: keras.Model, preference: PerTask) -> keras.Model:
    """Returns a copy of a conditioned network with a fixed preference.

    It has the inputs that the network had before it was conditioned. Keras layers replace the
    layers that read the weights.

    Args:
        network: The result of `conditioned`, possibly trained or loaded.
        preference: The task weights, by name or in task order; only ratios matter.

    Raises:
        ValueError: If the network is not conditioned, or the preference does not match its tasks.
    """
    layer = required(network)
    weights = tf.constant([normalized(preference, layer.task_names)], tf.float32)
    films = {x.name for x in network.layers if isinstance(x, FiLM)}

    def copy(layer: Any) -> Any:
        if not isinstance(layer, FiLM):
            return _copy(layer)
        scale, shift = (
            keras.ops.convert_to_numpy(keras.ops.cast(each, "float32"))[0].tolist()
            for each in layer.scale_and_shift(weights)
        )
        policy = layer.dtype_policy
        return keras.layers.Rescaling(scale, shift, name=layer.name, dtype=policy)

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, TaskWeights):
            return args[0]
        return layer(args[0]) if layer.name in films else layer(*args, **kwargs)

    inputs = _new_inputs(network)
    plain = keras.Model(network.input, network.output)
    clone = _cloned(plain, inputs, call, copy)
    return keras.Model(without_weights(inputs), clone.output, name=network.name)


def layer_of(network: keras.Model) -> TaskWeights | None:
    """Returns the `TaskWeights` layer of a network, or None if it is not conditioned.

    Args:
        network: Any model.
    """
    return next((x for x in network.layers if isinstance(x, TaskWeights)), None)


def required(network: keras.Model) -> TaskWeights:
    """Returns the `TaskWeights` layer of a conditioned network.

    Args:
        network: The network.

    Raises:
        ValueError: If it is not conditioned.
    """
    found = layer_of(network)
    if found is None:
        raise ValueError(
            f"The network {network.name!r} does not read task weights. Create one that does "
            "with mtk.models.conditioned(network, layers=[...])."
        )
    return found


def normalized(preference: PerTask | None, task_names: Sequence[str]) -> list[float]:
    """Returns a preference in task order, normalized to a sum of one.

    Args:
        preference: One number per task, by name or in task order; None for equal ones.
        task_names: The K tasks.

    Raises:
        ValueError: If the numbers do not match the tasks, or one is negative, infinite or NaN, or
            all are zero.
    """
    given = 1.0 if preference is None else preference
    numbers = in_task_order("preference", given, task_names, len(task_names))
    if not are_weights(numbers):
        raise ValueError(
            "A preference must have one finite, non-negative number for each task, not all "
            f"zero. Received: {preference!r}"
        )
    return [number / sum(numbers) for number in numbers]


def has_weights(network: keras.Model, inputs: Any) -> bool:
    """Whether the inputs of a conditioned network include task weights.

    Args:
        network: The network.
        inputs: Its inputs, or their specs.
    """
    if isinstance(inputs, dict):
        return INPUT in inputs
    return isinstance(inputs, (list, tuple)) and len(inputs) == len(network.inputs)


def with_weights(inputs: Any, weights: Any) -> Any:
    """Returns inputs of a conditioned network: other inputs with task weights added.

    Args:
        inputs: A tensor, or a list, tuple or dict of tensors.
        weights: Tensor `(B, K)`, in the order of the network's tasks.
    """
    if isinstance(inputs, dict):
        return {**inputs, INPUT: weights}
    return (*inputs, weights) if isinstance(inputs, (list, tuple)) else (inputs, weights)


def with_same(inputs: Any, weights: Sequence[float] | tf.Tensor) -> Any:
    """Returns inputs of a conditioned network, with the same task weights for each example.

    Args:
        inputs: A tensor, or a list, tuple or dict of tensors.
        weights: `(K,)`, in the order of the network's tasks.
    """
    number = tf.shape(tf.nest.flatten(inputs)[0])[:1]
    row = tf.convert_to_tensor(weights, tf.float32)[None]
    return with_weights(inputs, tf.tile(row, tf.concat([number, [1]], 0)))


def without_weights(inputs: Any) -> Any:
    """Returns the inputs of a conditioned network without the task weights.

    Args:
        inputs: The return value of `with_weights`.
    """
    if isinstance(inputs, dict):
        return {name: part for name, part in inputs.items() if name != INPUT}
    return inputs[0] if len(inputs) == 2 else inputs[:-1]


def _check_functional(network: keras.Model) -> None:
    if isinstance(network, keras.Sequential) or not hasattr(network, "output_names"):
        raise TypeError(
            "Only functional models, keras.Model(inputs, outputs), can be conditioned. "
            f"Received: {network!r}"
        )
    if any(x.name.split(":")[0] == INPUT for x in network.inputs):
        raise ValueError(
            f"The network {network.name!r} already has an input '{INPUT}'. Condition it only "
            "once, or rename that input."
        )


def _task_names(network: keras.Model, given: Sequence[str] | None) -> list[str]:
    if given is None and not isinstance(network.output, dict):
        raise ValueError(
            "The network's output is not a dict by task, so its tasks are unknown. Give "
            "`task_names`, in the order of the weights."
        )
    return list(network.output if given is None else given)


def _checked_layers(network: keras.Model, names: Iterable[str]) -> list[str]:
    given = [names] if isinstance(names, str) else list(names)
    known = {x.name: x for x in network.layers if not isinstance(x, keras.layers.InputLayer)}
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise ValueError(
                f"The network {network.name!r} has no layer {name!r}.{hint} It has {list(known)}."
            )
        if getattr(known[name], "data_format", None) == "channels_first":
            raise ValueError(
                f"The layer {name!r} has channels first, but FiLM scales the last axis. Build "
                "the network with data_format='channels_last'."
            )
    if not given or len(set(given)) < len(given):
        raise ValueError(
            f"`layers` must name one or more layers of the trunk, each once. Received: {given}"
        )
    return given


def _new_inputs(network: keras.Model) -> Any:
    """Returns new inputs like those of a functional model, in their structure."""
    layers = {id(x.output): x for x in network.layers if isinstance(x, keras.layers.InputLayer)}
    return tf.nest.map_structure(lambda x: _copy(layers[id(x)]).output, network.input)


def _copy(layer: Any) -> Any:
    """Returns a new layer of the same config; a stateless operation is returned unchanged."""
    is_layer = isinstance(layer, keras.Layer)
    return type(layer).from_config(layer.get_config()) if is_layer else layer


def _cloned(
    network: keras.Model,
    inputs: Any,
    call: Callable[..., Any],
    copy: Callable[[Any], Any] = _copy,
) -> keras.Model:
    """Returns a clone of a functional model, with its weights.

    Args:
        network: The model.
        inputs: New inputs in their structure.
        call: Called with each copied operation and its arguments; returns the outputs.
        copy: Copies an operation; a copy of another type does not get the weights.
    """
    copies: list[tuple[Any, Any]] = []

    def copied(layer: Any) -> Any:
        copies.append((layer, copy(layer)))
        return copies[-1][1]

    clone = keras.models.clone_model(network, inputs, copied, call)
    for old, new in copies:
        if isinstance(new, keras.Layer) and type(new) is type(old):
            new.set_weights(old.get_weights())
    return clone
