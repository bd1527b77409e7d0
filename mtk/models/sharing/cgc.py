"""Customized gate control, and progressive layered extraction, which stacks it."""

from collections.abc import Sequence
from typing import Any, Self

import keras
import tensorflow as tf
from keras import layers

from mtk.display import counted
from mtk.models.seeds import layer_seeds
from mtk.models.sharing.experts import Expert, Experts, deserialized, make_experts, serialized
from mtk.models.sharing.gates import SoftmaxGate, check_readers, checked_names, mixed

_SHARED = "shared"


@keras.saving.register_keras_serializable("mtk")
class CGC(layers.Layer):
    """Customized gate control: experts for each task, and experts for all.

    Task k gets `Σ_e g_k(x_k)_e f_e`, over its own experts, which read `x_k`, and the shared ones,
    which read `x_shared`; `g_k(x) = softmax(x W_k)`. All inputs are the same in a single layer. The
    shared experts are shared variables; a task's experts and gate belong to it, unless it has a
    `shared_gate` and further layers follow: then all tasks depend on them.

    Args:
        task_names: Names of the K tasks, other than "shared".
        num_task_experts: Number of experts of each task.
        num_shared_experts: Number of shared experts.
        expert: A layer, of which each expert is a clone with its own weights; a function without
            arguments that makes a layer; or a list of layers, those of each task in order, then the
            shared ones.
        shared_gate: Whether a gate over all experts gives the input of the next layer's shared
            experts: required in every layer of `PLE` but the last.
        seed: Seed of the gates' initial weights.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: `(B, ..., features)`, or `{task: (B, ..., features)}` with a further entry "shared".

    Returns:
        `{task: (B, ...)}`, with an entry "shared" if there is a shared gate.

    Raises:
        ValueError: If there are no tasks or experts, a task is named "shared", or inputs are not
            those of the tasks.

    Reference:
        Tang et al., *Progressive layered extraction (PLE)* (2020),
        https://doi.org/10.1145/3383313.3412236, section 4.1.
    """

    def __init__(
        self,
        task_names: Sequence[str],
        num_task_experts: int,
        num_shared_experts: int,
        expert: Expert,
        shared_gate: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.task_names = checked_names(task_names)
        if _SHARED in self.task_names:
            raise ValueError(
                "A task of CGC cannot be named 'shared', the name of the shared experts."
            )
        self.num_task_experts, self.num_shared_experts = num_task_experts, num_shared_experts
        self.shared_gate, self.seed = shared_gate, seed
        self.experts = self._make_experts(expert)
        self.gates = self._make_gates()

    def _make_experts(self, expert: Expert) -> dict[str, Experts]:
        numbers = dict.fromkeys(self.task_names, self.num_task_experts)
        numbers[_SHARED] = self.num_shared_experts
        needed = sum(numbers.values())
        if isinstance(expert, Sequence) and len(expert) != needed:
            held = counted(len(expert), "layer")
            raise ValueError(f"`expert` has {held}; {numbers} need {needed}.")
        found, start = {}, 0
        for name, number in numbers.items():
            given = expert
            if isinstance(expert, Sequence):
                given = expert[start : start + number]
            made = make_experts(given, number, f"{name}_expert")
            found[name] = Experts(made, name=f"{name}_experts", dtype=self.dtype_policy)
            start += number
        return found

    def _make_gates(self) -> dict[str, SoftmaxGate]:
        sizes = dict.fromkeys(self.task_names, self.num_task_experts + self.num_shared_experts)
        if self.shared_gate:
            own = len(self.task_names) * self.num_task_experts
            sizes[_SHARED] = own + self.num_shared_experts
        seeds = layer_seeds(self.seed)
        return {
            name: SoftmaxGate(size, next(seeds), name=f"{name}_gate", dtype=self.variable_dtype)
            for name, size in sizes.items()
        }

    def build(self, input_shape: Any) -> None:
        shapes = self._by_reader(input_shape)
        for name, gate in self.gates.items():
            gate.build(shapes[name])
        for name, experts in self.experts.items():
            experts.build(shapes[name])

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, tf.Tensor]:
        read = self._by_reader(inputs)
        outputs = {
            name: experts(read[name], training=training) for name, experts in self.experts.items()
        }
        found = {}
        for name, gate in self.gates.items():
            seen = list(outputs) if name == _SHARED else [name, _SHARED]
            stacked = tf.concat([outputs[each] for each in seen], axis=1)
            found[name] = mixed(self.name, name, gate(read[name]), stacked)
        return found

    def _by_reader(self, inputs: Any) -> dict[str, Any]:
        """Returns the input, or its shape, of each task and of the shared experts."""
        readers = [*self.task_names, _SHARED]
        if not isinstance(inputs, dict):
            return dict.fromkeys(readers, inputs)
        check_readers(self, inputs, readers)
        return inputs

    def get_config(self) -> dict[str, Any]:
        own = {
            "task_names": list(self.task_names),
            "num_task_experts": self.num_task_experts,
            "num_shared_experts": self.num_shared_experts,
            "expert": [x for side in self.experts.values() for x in side.expert_configs],
            "shared_gate": self.shared_gate,
            "seed": self.seed,
        }
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "expert": deserialized(config["expert"])})


@keras.saving.register_keras_serializable("mtk")
class PLE(layers.Layer):
    """Progressive layered extraction: stacked layers of `CGC`.

    Args:
        levels: Layers of `CGC` with the same tasks, starting at the input; all but the last have a
            `shared_gate`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: As for `CGC`.

    Returns:
        `{task: (B, ...)}`.

    Raises:
        ValueError: If there are no levels, their tasks differ, or a shared gate is missing or
            unused.

    Reference:
        Tang et al., *Progressive layered extraction (PLE)* (2020),
        https://doi.org/10.1145/3383313.3412236, section 4.2.

    Example:
    ```python
    levels = [
        mtk.models.sharing.CGC(tasks, 1, 2, keras.layers.Dense(64, "relu"), shared_gate=True),
        mtk.models.sharing.CGC(tasks, 1, 2, keras.layers.Dense(32, "relu")),
    ]
    mixed = mtk.models.sharing.PLE(levels)(features)
    ```
    """

    def __init__(self, levels: Sequence[CGC], **kwargs: Any):
        super().__init__(**kwargs)
        self.levels = _checked_levels(levels)
        self._level_configs = serialized(self.levels)

    @property
    def task_names(self) -> list[str]:
        return self.levels[0].task_names

    def build(self, input_shape: Any) -> None:
        for level in self.levels:
            outputs = level(_symbolic(input_shape, self.compute_dtype))
            input_shape = {name: output.shape for name, output in outputs.items()}

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, tf.Tensor]:
        for level in self.levels:
            inputs = level(inputs, training=training)
        return inputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "levels": list(self._level_configs)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "levels": deserialized(config["levels"])})


def _symbolic(shapes: Any, dtype: str) -> Any:
    if isinstance(shapes, dict):
        return {name: keras.KerasTensor(shape, dtype=dtype) for name, shape in shapes.items()}
    return keras.KerasTensor(shapes, dtype=dtype)


def _checked_levels(levels: Sequence[Any]) -> list[CGC]:
    if isinstance(levels, CGC) or not levels or not all(isinstance(x, CGC) for x in levels):
        raise ValueError(f"`levels` must be a list of one or more CGC layers. Received: {levels!r}")
    names = levels[0].task_names
    for number, level in enumerate(levels, start=1):
        if level.task_names != names:
            raise ValueError(
                f"Level {number} has the tasks {level.task_names}, but the first level has {names}."
            )
        is_last = number == len(levels)
        if level.shared_gate == is_last:
            raise ValueError(
                f"Level {number} of {len(levels)} has shared_gate={level.shared_gate}. All "
                "levels except the last one need a shared gate; in the last one its output would "
                "be unused."
            )
    return list(levels)
