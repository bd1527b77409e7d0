"""Tests which gradients of a network can be nonzero."""

import functools
import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from mtk.sharing.layer_calls import all_layers, outside_graphs, recorded

_DRAWS = 2
_EXAMPLES = 4  # Also the size of any other unknown axis.
_NOISE = 0.1


class TaskLosses(NamedTuple):
    """Result of a forward pass.

    Attributes:
        losses: K scalars.
        sources: Values that layers assigned to trainable variables, by `id` of the variable.
        shared_input: Whether one forward pass serves all tasks.
    """

    losses: list[tf.Tensor]
    sources: Mapping[int, Sequence[tf.Tensor]]
    shared_input: bool


# Computes the task losses of a batch; a tape, if given, watches what layers write.
Forward: TypeAlias = Callable[[Any, tf.GradientTape | None], TaskLosses]


class Probed(NamedTuple):
    """Which gradients were nonzero; sets are bit masks.

    Attributes:
        reached: The trainable variables of each task.
        tasks: The tasks, by `id` of a layer, number of its call and index of the output.
    """

    reached: list[int]
    tasks: dict[tuple[int, int, int], int]


def run(network: keras.Model, num_tasks: int, spec: Any, forward: Forward) -> Probed | None:
    """Computes task gradients on random examples.

    The weights are randomly perturbed and then restored, since a zero-initialized layer passes no
    gradient.

    Args:
        network: A built network.
        num_tasks: K.
        spec: Spec of a batch.
        forward: Computes the task losses of a batch.

    Returns:
        The result, or None, with a warning, if the network fails on random examples.
    """
    variables = network.trainable_variables
    keys: list[tuple[int, int, int]] = []
    places: list[tuple[int, int]] = []
    flags = functools.partial(_flags, network, forward, keys, places)
    function = tf.function(flags, autograph=False)
    rng = np.random.default_rng(0)
    with outside_graphs():
        weights = [np.array(keras.ops.convert_to_numpy(v)) for v in variables]
        try:
            draws = []
            for _ in range(_DRAWS):
                for variable, value in zip(variables, weights, strict=True):
                    noise = rng.normal(0.0, _NOISE, value.shape)
                    variable.assign((value.astype("float64") + noise).astype(value.dtype))
                draws.append(_tried(function, spec, num_tasks, rng))
        except Exception as error:
            warnings.warn(
                "The shared variables could not be determined with random examples, so they "
                "are taken from the graph. If they are wrong, give `shared=` or `heads=`. "
                f"({error})",
                stacklevel=2,
            )
            return None
        finally:
            for variable, value in zip(variables, weights, strict=True):
                variable.assign(value)
    found = np.zeros((num_tasks, len(variables) + len(keys)), bool)
    for place, flag in zip(places, np.any(draws, axis=0), strict=True):
        found[place] |= flag
    reached = [_bits(row[: len(variables)]) for row in found]
    outputs = found[:, len(variables) :].T
    return Probed(reached, {key: _bits(of) for key, of in zip(keys, outputs, strict=True)})


def _tried(function: Any, spec: Any, num_tasks: int, rng: np.random.Generator) -> np.ndarray:
    """Tries varying integers (attention to equal tokens has no gradient), then ones."""

    def flags(largest: int) -> np.ndarray:
        data = examples(spec, num_tasks, rng, largest)
        # Such a function is a graph, also after `tf.config.run_functions_eagerly(True)`.
        return function.get_concrete_function(data)(data).numpy()

    try:
        return flags(2)
    except tf.errors.OpError:  # An embedding with fewer rows.
        return flags(1)


def _flags(
    network: keras.Model,
    forward: Forward,
    keys: list[tuple[int, int, int]],
    places: list[tuple[int, int]],
    data: Any,
) -> tf.Tensor:
    """Returns which task gradients of variables and layer outputs are nonzero.

    Args:
        network: The network.
        forward: Computes the task losses of a batch.
        keys: Receives the keys of the layer outputs.
        places: Receives for each flag its task and its variable, or its layer output, numbered
            after the variables. Pairs without a gradient, most with many heads, have no flag.
        data: A batch.
    """
    del keys[:], places[:]  # Each batch spec is traced anew.
    with tf.GradientTape() as tape, recorded(all_layers(network)) as calls:
        losses, sources, _ = forward(data, tape)
    outputs = []
    for call in calls:
        for index, tensor in enumerate(call.outputs):
            here = tensor.dtype.is_floating and tensor.graph is losses[0].graph
            key = (id(call.layer), call.number, index)
            if here and key not in keys:
                keys.append(key)
                outputs.append(tensor)
    variables = network.trainable_variables
    own = [[v.value, *sources.get(id(v), ())] for v in variables] + [[x] for x in outputs]
    flat = [(number, tensor) for number, group in enumerate(own) for tensor in group]
    flags = []
    for task, loss in enumerate(losses):
        # Not with the tape, which records nothing where the analysis leaves the graph of a step.
        gradients = tf.gradients(loss, [tensor for _, tensor in flat])
        for (number, _), gradient in zip(flat, gradients, strict=True):
            if gradient is not None:
                flags.append(_is_other(gradient))
                places.append((task, number))
    return tf.stack(flags) if flags else tf.zeros([0], tf.bool)


def _is_other(gradient: Any) -> tf.Tensor:
    """Whether a gradient is nonzero; nonfinite ones count as nonzero."""
    flat = tf.reshape(getattr(gradient, "values", gradient), [-1])
    return tf.reduce_any(flat != 0, axis=0)


def _bits(flags: np.ndarray) -> int:
    return functools.reduce(operator.or_, (1 << int(i) for i in np.flatnonzero(flags)), 0)


def examples(spec: Any, num_tasks: int, rng: np.random.Generator, largest: int = 1) -> Any:
    """Makes a random batch: labels are zero or one, and integer inputs at least one.

    Args:
        spec: Spec of a batch.
        num_tasks: K.
        rng: Random number generator.
        largest: The largest integer input.
    """
    if isinstance(spec, Mapping):
        return {name: examples(part, num_tasks, rng, largest) for name, part in spec.items()}
    inputs, labels, *rest = (part for part in spec if part is not None)
    size = max(_EXAMPLES, num_tasks)

    def made(part: Any, draw: Callable[[list[int]], np.ndarray]) -> tf.Tensor:
        first = part.shape[0] or size
        shape = [first, *(d or _EXAMPLES for d in part.shape[1:])] if part.shape.rank else []
        if part.dtype == tf.string:
            return tf.fill(shape, "a")
        return tf.cast(draw(shape), part.dtype)

    def drawn(shape: list[int], floating: bool) -> np.ndarray:
        return rng.normal(size=shape) if floating else rng.integers(1, largest + 1, shape)

    def read(part: Any) -> tf.Tensor:
        floating = part.dtype.is_floating
        return made(part, lambda shape: drawn(shape, floating))

    def label(part: Any) -> tf.Tensor:
        return made(part, lambda shape: rng.integers(0, 2, shape))

    def third(part: Any) -> tf.Tensor:
        is_mixed = isinstance(labels, tf.TensorSpec) and num_tasks > 1
        if is_mixed and part.dtype.is_integer:
            return made(part, lambda shape: np.arange(shape[0]) % num_tasks)
        return made(part, np.ones)

    makers = [read, label, third, third]
    parts = [inputs, labels, *rest]

    def of_each(maker: Callable[[Any], tf.Tensor], part: Any) -> Any:
        return tf.nest.map_structure(lambda own: None if own is None else maker(own), part)

    return tuple(of_each(maker, part) for maker, part in zip(makers, parts, strict=False))
