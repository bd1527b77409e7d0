"""Gates: the weight of each expert for a task and example."""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import layers

# Layer, task, and the gate values `(B, num_experts)` of a batch.
GateOutput = tuple[str, str, tf.Tensor]
_collected: contextvars.ContextVar[list[GateOutput] | None] = contextvars.ContextVar(
    "collected", default=None
)


@contextlib.contextmanager
def collected() -> Iterator[list[GateOutput]]:
    """Collects the gate values of all layers called inside the context."""
    found: list[GateOutput] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def mixed(layer: str, task: str, gate: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Returns the sum of the outputs of experts, weighted by a gate.

    Args:
        layer: Name of the mixing layer, for `collected`.
        task: Name of the task.
        gate: `(B, E)`.
        outputs: `(B, E, ...)`.

    Returns:
        `(B, ...)` in the dtype of `outputs`.
    """
    found = _collected.get()
    if found is not None:
        found.append((layer, task, gate))
    gate, rank = tf.cast(gate, outputs.dtype), outputs.shape.rank
    if rank > 3:  # For images, the gradient of the einsum takes many times as long.
        gate = tf.reshape(gate, (-1, outputs.shape[1], *[1] * (rank - 2)))
        return tf.reduce_sum(gate * outputs, axis=1)
    return tf.einsum("be,be...->b...", gate, outputs)


def checked_names(task_names: Sequence[str]) -> list[str]:
    """Returns the names of the tasks as a list.

    Raises:
        ValueError: If there are none, or one is duplicate or not a name.
    """
    names = [] if isinstance(task_names, str) else list(task_names)
    is_named = all(isinstance(name, str) and name for name in names)
    if not names or not is_named or len(set(names)) < len(names):
        raise ValueError(
            f"`task_names` must be a list of one or more unique names. Received: {task_names!r}"
        )
    return names


def check_readers(layer: keras.Layer, inputs: Any, names: Sequence[str]) -> None:
    """Checks that inputs, or their shapes, are a dict with the keys `names`.

    Raises:
        ValueError: If they are not.
    """
    if not isinstance(inputs, dict) or set(inputs) != set(names):
        received = sorted(inputs) if isinstance(inputs, dict) else "not a dict"
        raise ValueError(
            f"The layer '{layer.name}' needs a dict with one input for each of {list(names)}. "
            f"Received: {received}"
        )


def per_example(inputs: tf.Tensor) -> tf.Tensor:
    """Returns `(B, features)`: the mean of `(B, ..., features)` over the inner axes."""
    middle = list(range(1, inputs.shape.rank - 1))
    return tf.reduce_mean(inputs, axis=middle) if middle else inputs


def number_of_features(input_shape: Sequence[int | None], name: str) -> int:
    """Returns the size of the last axis.

    Raises:
        ValueError: If a gate cannot read inputs of that shape.
    """
    if len(input_shape) < 2 or input_shape[-1] is None:
        raise ValueError(
            f"The gate '{name}' needs inputs `(B, ..., features)` with a known number of "
            f"features. Received: shape {tuple(input_shape)}"
        )
    return int(input_shape[-1])


@keras.saving.register_keras_serializable("mtk")
class SoftmaxGate(layers.Layer):
    """Computes softmax(x W) for each example.

    Inputs with inner axes, such as images, are first averaged over these.

    Args:
        num_experts: Number of experts E.
        seed: Seed of the initial weights.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: `(B, ..., features)`.

    Returns:
        `(B, E)`, positive, with sum 1.
    """

    def __init__(self, num_experts: int, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_experts = num_experts
        self.seed = seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = (number_of_features(input_shape, self.name), self.num_experts)
        initializer = keras.initializers.GlorotUniform(seed=self.seed)
        self.kernel = self.add_weight(shape=shape, initializer=initializer, name="kernel")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(per_example(inputs) @ self.kernel)

    def get_config(self) -> dict[str, Any]:
        own = {"num_experts": self.num_experts, "seed": self.seed}
        return {**super().get_config(), **own}
