"""DSelect-k: differentiable gates that choose at most k experts."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from mtk.models.seeds import layer_seeds
from mtk.models.sharing.experts import Expert
from mtk.models.sharing.gates import number_of_features, per_example
from mtk.models.sharing.mmoe import MMoE

# Keeps logarithms and quotients finite where a selector is exactly zero.
_TINY = 1e-6


def smooth_step(x: tf.Tensor, gamma: float) -> tf.Tensor:
    """Returns 0 below -gamma / 2, 1 above gamma / 2, and a cubic with continuous slope between."""
    x = tf.clip_by_value(x, -gamma / 2, gamma / 2)
    return -2.0 / gamma**3 * x**3 + 1.5 / gamma * x + 0.5


@keras.saving.register_keras_serializable("mtk")
class DSelectKGate(layers.Layer):
    """A mixture of k selectors, each of which converges to a single expert.

    Selector i encodes an expert in binary: with the smoothed bits `s = S(x Z_i + b_i)`, expert e
    gets `r_i(e) = Π_j (s_j if bit j of e is one else 1 - s_j)`. The gate is
    `Σ_i softmax(x A + a)_i r_i`.

    Args:
        num_experts: Number of experts E, 2 or more.
        k: Number of selectors, at most E.
        gamma: Width of the smooth step.
        entropy: Weight of the selectors' entropy in the loss.
        seed: Seed of the initial weights.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: `(B, ..., features)`.

    Returns:
        `(B, E)`. The sum is 1 if E is a power of two; otherwise it is reduced by the selectors'
        weights of unused codes, which the loss penalizes.
    """

    def __init__(
        self,
        num_experts: int,
        k: int,
        gamma: float = 1.0,
        entropy: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_experts, self.k = num_experts, k
        self.gamma, self.entropy, self.seed = gamma, entropy, seed
        self.num_bits = (num_experts - 1).bit_length()

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        features = number_of_features(input_shape, self.name)
        seeds = layer_seeds(self.seed)

        def weight(shape: tuple[int, ...], limit: float, name: str) -> keras.Variable:
            initializer = keras.initializers.RandomUniform(-limit, limit, seed=next(seeds))
            return self.add_weight(shape=shape, initializer=initializer, name=name)

        # Small, so that the smooth steps start where they are steepest; the authors' limits.
        near, bits = self.gamma / 100, self.k * self.num_bits
        self.code_kernel = weight((features, bits), near, "code_kernel")
        self.code_bias = weight((bits,), near, "code_bias")
        self.weight_kernel = weight((features, self.k), 0.05, "weight_kernel")
        self.weight_bias = weight((self.k,), 0.05, "weight_bias")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        x = per_example(inputs)
        codes = tf.reshape(x @ self.code_kernel + self.code_bias, (-1, self.k, self.num_bits))
        selectors = self._selectors(smooth_step(codes, self.gamma))
        weights = tf.nn.softmax(x @ self.weight_kernel + self.weight_bias)
        return tf.einsum("bk,bke->be", weights, selectors)

    def _selectors(self, steps: tf.Tensor) -> tf.Tensor:
        """Returns r `(B, k, E)` from the bits `(B, k, num_bits)`, and adds the penalties."""
        found = tf.ones_like(steps[..., :1])
        for step in tf.unstack(steps, axis=-1):
            one = step[..., None]
            found = tf.concat([found * (1.0 - one), found * one], axis=-1)
        if self.num_experts < 2**self.num_bits:
            found = found[..., : self.num_experts]
            reached = tf.reduce_sum(found, axis=-1)
            self.add_loss(_mean_over_examples(1.0 / (reached + _TINY)))
        if self.entropy:
            entropies = -tf.reduce_sum(found * tf.math.log(found + _TINY), axis=-1)
            self.add_loss(self.entropy * _mean_over_examples(entropies))
        return found

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("num_experts", "k", "gamma")}
        return {**super().get_config(), **own, "entropy": self.entropy, "seed": self.seed}


@keras.saving.register_keras_serializable("mtk")
class DSelectK(MMoE):
    """Multi-gate mixture of experts whose gates choose at most k of E experts per example.

    During training, gates change from mixtures of all experts to k of them. All experts are
    computed for all examples. Experts are shared; a gate belongs to its task.

    Args:
        task_names: Names of the K tasks.
        num_experts: Number of experts E, 2 or more. If it is not a power of two, `1 / Σ_e r_i(e)`
            is added to the loss for each selector i, so that selectors avoid unused codes.
        expert: As for `MMoE`.
        k: Largest number of experts of a task.
        gamma: Width of the smooth step.
        entropy: Weight of the selectors' entropies (sum over selectors and tasks, mean over
            examples) in the loss: the larger, the sooner a selector converges to one expert.
        seed: Seed of the gates' initial weights.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: `(B, ..., features)`. Gates read the mean over the inner axes.

    Returns:
        `{task: (B, ...)}`, of the shape of an expert's output.

    Raises:
        ValueError: If `k` is not between 1 and E, E is less than 2, `gamma` is not positive, or
            `entropy` negative.

    Reference:
        Hazimeh et al., *DSelect-k: differentiable selection in the mixture of experts with
        applications to multi-task learning* (2021), https://arxiv.org/abs/2106.03760, section 3.
    """

    def __init__(
        self,
        task_names: Sequence[str],
        num_experts: int,
        expert: Expert,
        k: int = 2,
        gamma: float = 1.0,
        entropy: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ):
        _check(num_experts, k, gamma, entropy)
        self.k, self.gamma, self.entropy = k, float(gamma), float(entropy)
        super().__init__(task_names, num_experts, expert, seed, **kwargs)

    def _gate(self, name: str, seed: int | None) -> layers.Layer:
        options = {"name": name, "dtype": self.variable_dtype}
        return DSelectKGate(self.num_experts, self.k, self.gamma, self.entropy, seed, **options)

    def get_config(self) -> dict[str, Any]:
        own = {"k": self.k, "gamma": self.gamma, "entropy": self.entropy}
        return {**super().get_config(), **own}


def _check(num_experts: int, k: int, gamma: float, entropy: float) -> None:
    if not isinstance(num_experts, int) or num_experts < 2:
        raise ValueError(f"DSelectK needs 2 or more experts. Received: num_experts={num_experts!r}")
    if not isinstance(k, int) or not 1 <= k <= num_experts:
        raise ValueError(
            f"`k`, the number of experts per task, must be from 1 to num_experts={num_experts}. "
            f"Received: k={k!r}"
        )
    if not 0 < gamma < float("inf") or not 0 <= entropy < float("inf"):
        raise ValueError(
            f"`gamma` must be positive, and `entropy` zero or more. Received: gamma={gamma}, "
            f"entropy={entropy}"
        )


def _mean_over_examples(values: tf.Tensor) -> tf.Tensor:
    """Sums `(B, k)` over selectors."""
    return tf.reduce_mean(tf.reduce_sum(values, axis=-1))
