"""Arguments of a multi-task model's `compile`, and their checks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import keras
import tensorflow as tf

from mtk.ranges import check_choice, check_count, check_nonnegative, check_positive
from mtk.sharing.layer_calls import all_layers

OnNonfinite = Literal["stop", "skip"]


@dataclass(frozen=True)
class CompileArgs:
    """Arguments of `MultiTaskModel.compile` that are not in Keras.

    Attributes:
        weight_decay: Coupled L2.
        clip_norm: Largest global norm of the combined gradient, or None.
        micro_batches: Number of passes into which a replica's part of each batch is divided.
        on_nonfinite: What to do with a step whose losses or gradient are infinite or NaN.

    Raises:
        ValueError: If an argument is out of range.
    """

    weight_decay: float = 0.0
    clip_norm: float | None = None
    micro_batches: int = 1
    on_nonfinite: OnNonfinite = "stop"

    def __post_init__(self) -> None:
        check_nonnegative(weight_decay=self.weight_decay)
        if self.clip_norm is not None:
            check_positive(clip_norm=self.clip_norm)
        check_count(micro_batches=self.micro_batches)
        check_choice(OnNonfinite, on_nonfinite=self.on_nonfinite)


def check_optimizer(optimizer: keras.optimizers.Optimizer) -> None:
    """Raises a ValueError for an optimizer that does not define a step."""
    kind, base = type(optimizer), keras.optimizers.Optimizer
    steps = ("update_step", "apply", "apply_gradients", "_backend_apply_gradients")
    if all(getattr(kind, name, None) is getattr(base, name, None) for name in steps):
        raise ValueError(
            f"{kind.__name__} is a base class that does not define how variables are updated. "
            "Use an optimizer such as keras.optimizers.Adam, or define `update_step`."
        )
    if optimizer.loss_scale_factor is not None:
        check_positive(loss_scale_factor=optimizer.loss_scale_factor)


def skips_overflow(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether an optimizer skips steps with gradients that are infinite or NaN."""
    return isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


def _scales_loss(optimizer: keras.optimizers.Optimizer) -> bool:
    return skips_overflow(optimizer) or optimizer.loss_scale_factor is not None


def with_loss_scale(
    optimizer: keras.optimizers.Optimizer, network: keras.Model
) -> keras.optimizers.Optimizer:
    """Returns an optimizer that scales the loss, if a layer computes in mixed float16.

    As in Keras, layers whose weights are float16 too do not count.
    """
    policies = [layer.dtype_policy for layer in all_layers(network)]
    halves = any(p.compute_dtype == "float16" != p.variable_dtype for p in policies)
    scales = not halves or _scales_loss(optimizer)
    return optimizer if scales else keras.optimizers.LossScaleOptimizer(optimizer)


def loss_scale(optimizer: keras.optimizers.Optimizer | None) -> tf.Tensor | None:
    """Returns the factor that keeps float16 gradients from vanishing, or None."""
    if optimizer is None or not _scales_loss(optimizer):
        return None
    return tf.convert_to_tensor(optimizer.scale_loss(tf.constant(1.0)))


def averages(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether an optimizer keeps averages of the weights, applied only at the end of `fit`."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return bool(getattr(inner, "use_ema", False) and not inner.ema_overwrite_frequency)


def check_replicas(
    strategy: tf.distribute.Strategy,
    network: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    jit_compile: bool,
    micro_batches: int,
    steps_at_once: int,
) -> None:
    """Raises a ValueError for options that several replicas do not support."""
    if strategy.num_replicas_in_sync == 1:
        return
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    clips = [n for n in ("clipnorm", "clipvalue", "global_clipnorm") if getattr(inner, n, None)]
    if clips:
        raise ValueError(
            f"The optimizer's `{clips[0]}` would clip the gradient of each replica separately. "
            "Use `compile(clip_norm=...)`, which clips the total gradient."
        )
    accumulates = getattr(inner, "gradient_accumulation_steps", None)
    if accumulates or (getattr(inner, "use_ema", False) and inner.ema_overwrite_frequency):
        name, instead = (
            ("gradient_accumulation_steps", "Use `compile(micro_batches=...)`.")
            if accumulates
            else ("ema_overwrite_frequency", "Use `keras.callbacks.SwapEMAWeights`.")
        )
        raise ValueError(
            f"Keras applies the optimizer's `{name}` inside a conditional, where TensorFlow "
            f"cannot sum over replicas. {instead}"
        )
    on_cpus = any("CPU" in device.upper() for device in strategy.extended.worker_devices)
    if steps_at_once > 1 and on_cpus:
        raise ValueError(
            "TensorFlow cannot run several steps in one graph on several CPU devices. Use "
            f"`steps_per_execution=1`. Received: {steps_at_once}"
        )
    if jit_compile and on_cpus:
        raise ValueError(
            "XLA cannot compile a step for several CPU devices because sums over replicas have "
            "no kernel there. Use `jit_compile=False`, or one device."
        )
    layers = all_layers(network)
    synchronized = [layer.name for layer in layers if getattr(layer, "synchronized", False)]
    if micro_batches > 1 and synchronized:
        raise ValueError(
            f"The layers {synchronized} normalize over all replicas, which is not possible in "
            "the loop over micro-batches. Use `synchronized=False`: each micro-batch is normalized "
            "separately anyway."
        )


def check_scope(strategy: tf.distribute.Strategy, parts: Mapping[str, Any]) -> None:
    """Raises a ValueError for parts of a model that were created outside of the strategy's scope.

    Replicas would overwrite each other's values of such variables.

    Args:
        strategy: The strategy in whose scope the model was created.
        parts: Layers, metrics and the optimizer, by what they are called in the error.
    """
    belongs = strategy.extended.variable_created_in_scope
    made = {name: [v._value for v in part.variables] for name, part in parts.items()}
    outside = [n for n, each in made.items() if not all(v is None or belongs(v) for v in each)]
    if outside:
        raise ValueError(
            f"Created outside of the strategy's scope: {', '.join(outside)}. Create network, "
            "tasks, metrics, combiner and optimizer inside `strategy.scope()`, and call `compile` "
            "there."
        )
