"""Multi-gate mixture of experts."""

from collections.abc import Sequence
from typing import Any, Self

import keras
import tensorflow as tf
from keras import layers

from mtk.models.seeds import layer_seeds
from mtk.models.sharing.experts import Expert, Experts, deserialized, make_experts
from mtk.models.sharing.gates import SoftmaxGate, checked_names, mixed


@keras.saving.register_keras_serializable("mtk")
class MMoE(layers.Layer):
    """Multi-gate mixture of experts: all tasks share E experts, and each has its own gate.

    Task k gets `Σ_e g_k(x)_e f_e(x)`, with `g_k(x) = softmax(x W_k)`. Experts are shared; a gate
    belongs to its task. Gates are computed in float32 under mixed precision.

    Args:
        task_names: Names of the K tasks.
        num_experts: Number of experts E.
        expert: A layer, of which each expert is a clone with its own weights; a function without
            arguments that makes a layer, called E times; or a list of E layers.
        seed: Seed of the gates' initial weights.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: `(B, ..., features)`. Gates read the mean over the inner axes.

    Returns:
        `{task: (B, ...)}`, of the shape of an expert's output.

    Raises:
        ValueError: If there are no tasks or experts, or experts are not layers of one shape.

    Reference:
        Ma et al., *Modeling task relationships in multi-task learning with multi-gate
        mixture-of-experts* (2018), https://doi.org/10.1145/3219819.3220007, equations 6 and 7.

    Example:
    ```python
    mixed = mtk.models.sharing.MMoE(["a", "b"], 4, keras.layers.Dense(64, "relu"))(features)
    outputs = {task: keras.layers.Dense(1, name=task)(x) for task, x in mixed.items()}
    ```
    """

    def __init__(
        self,
        task_names: Sequence[str],
        num_experts: int,
        expert: Expert,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.task_names = checked_names(task_names)
        self.num_experts = num_experts
        self.seed = seed
        made = make_experts(expert, num_experts, "expert")
        self.experts = Experts(made, name="experts", dtype=self.dtype_policy)
        seeds = layer_seeds(seed)
        self.gates = {task: self._gate(f"{task}_gate", next(seeds)) for task in self.task_names}

    def _gate(self, name: str, seed: int | None) -> layers.Layer:
        return SoftmaxGate(self.num_experts, seed, name=name, dtype=self.variable_dtype)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        for gate in self.gates.values():
            gate.build(input_shape)
        self.experts.build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> dict[str, tf.Tensor]:
        outputs = self.experts(inputs, training=training)
        return {
            task: mixed(self.name, task, gate(inputs), outputs) for task, gate in self.gates.items()
        }

    def get_config(self) -> dict[str, Any]:
        own = {
            "task_names": list(self.task_names),
            "num_experts": self.num_experts,
            "expert": list(self.experts.expert_configs),
            "seed": self.seed,
        }
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "expert": deserialized(config["expert"])})
