"""What `compile` means for a multi-task model."""

from typing import Any, Literal, get_args

import keras
import tensorflow as tf

from mtk.trainer.recording import all_layers

OnNonfinite = Literal["stop", "skip"]


class CompiledModel(keras.Model):
    """A Keras model whose `compile` takes coupled L2 and clipping, and no loss.

    Losses and metrics belong to tasks.

    Attributes:
        network: What is trained.
    """

    network: keras.Model
    optimizer: keras.optimizers.Optimizer
    micro_batches: int = 1
    on_nonfinite: OnNonfinite = "stop"

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "sgd",
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool = False,
        auto_scale_loss: bool = True,
        micro_batches: int = 1,
        on_nonfinite: OnNonfinite = "stop",
    ) -> None:
        """Configures the training.

        Args:
            optimizer: As in Keras.
            weight_decay: Coupled L2: the gradient of each variable grows by `weight_decay` times
                the variable, before clipping. (Keras optimizers' own is decoupled.)
            clip_norm: Largest global norm of the combined gradient, or None.
            run_eagerly: As in Keras.
            steps_per_execution: As in Keras.
            jit_compile: Whether to compile with XLA. Works on one device; dropout draws other masks
                than without.
            auto_scale_loss: Whether a network that computes in float16 gets a
                `LossScaleOptimizer`. It skips steps with gradients that are infinite or NaN and
                lowers the scale.
            micro_batches: Passes into which a replica's part of each batch is divided, one after
                the other, to save memory. The step is that of the whole batch, but batch norm
                normalizes each micro-batch, and a step that needs the losses or the features'
                Gramian before its backward pass runs forward twice.
            on_nonfinite: What to do with a step whose losses or gradient are infinite or NaN:
                `"stop"` takes it and notes its number, which ends a training with
                `mtk.callbacks.Divergence`; `"skip"` leaves everything as it was and counts it;
                100 of them in a row end a training too, since nothing trains any more.

        Raises:
            ValueError: If a number is out of range; if the model was made outside of the
                strategy's scope; if there are several replicas and the
                optimizer clips by itself (it would clip each replica's part), XLA is to compile
                for CPU devices, or synchronized batch norm is to work on micro-batches.
        """
        if not weight_decay >= 0 or (clip_norm is not None and not clip_norm > 0):
            raise ValueError(
                "`weight_decay` is zero or more, and `clip_norm` is positive or None. Received: "
                f"weight_decay={weight_decay}, clip_norm={clip_norm}"
            )
        if self._distribute_strategy is None and tf.distribute.has_strategy():
            raise ValueError(
                "The model was made outside of the strategy's scope and is compiled inside, so "
                "its variables and the optimizer's would not fit. Make the network and the model "
                "inside `strategy.scope()` too."
            )
        if (
            not isinstance(micro_batches, int)
            or micro_batches < 1
            or on_nonfinite not in get_args(OnNonfinite)
        ):
            raise ValueError(
                f"`micro_batches` is a number, 1 or more, and `on_nonfinite` one of "
                f"{get_args(OnNonfinite)}. Received: micro_batches={micro_batches}, "
                f"on_nonfinite={on_nonfinite!r}"
            )
        super().compile(
            optimizer=optimizer,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
        )
        halves = any(layer.compute_dtype == "float16" for layer in all_layers(self.network))
        if auto_scale_loss and halves and not self._scales_loss:
            self.optimizer = keras.optimizers.LossScaleOptimizer(self.optimizer)
        if self.distribute_strategy.num_replicas_in_sync > 1:
            self._check_replicas(micro_batches)
        self.weight_decay, self.clip_norm = weight_decay, clip_norm
        self.micro_batches, self.on_nonfinite = micro_batches, on_nonfinite

    @property
    def skips_steps(self) -> bool:
        """Whether steps that are not finite are left out."""
        return self.on_nonfinite == "skip" or self._skips_overflow

    @property
    def _skips_overflow(self) -> bool:
        return isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)

    @property
    def _scales_loss(self) -> bool:
        return self._skips_overflow or self.optimizer.loss_scale_factor is not None

    def _check_replicas(self, micro_batches: int) -> None:
        """Raises a ValueError for what several replicas cannot do."""
        inner = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        clips = [n for n in ("clipnorm", "clipvalue", "global_clipnorm") if getattr(inner, n, None)]
        if clips:
            raise ValueError(
                f"The optimizer's `{clips[0]}` would clip each replica's part of the gradient. "
                "Use `compile(clip_norm=...)`, which clips the whole."
            )
        devices = self.distribute_strategy.extended.worker_devices
        if self.jit_compile and any("CPU" in device.upper() for device in devices):
            raise ValueError(
                "XLA cannot compile a step for several CPU devices: its sums over replicas have no "
                "kernel there. Use `jit_compile=False`, or one device."
            )
        synchronized = [
            layer.name
            for layer in all_layers(self.network)
            if getattr(layer, "synchronized", False)
        ]
        if micro_batches > 1 and synchronized:
            raise ValueError(
                f"The layers {synchronized} normalize over all replicas, which cannot be done "
                "within the loop over micro-batches. Use `synchronized=False`: each micro-batch "
                "normalizes by itself anyway."
            )

    def get_compile_config(self) -> dict[str, Any]:
        config = super().get_compile_config()
        if config:
            config.update(
                weight_decay=self.weight_decay,
                clip_norm=self.clip_norm,
                micro_batches=self.micro_batches,
                on_nonfinite=self.on_nonfinite,
            )
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        config = keras.saving.deserialize_keras_object(config)
        del config["loss"], config["loss_weights"], config["metrics"], config["weighted_metrics"]
        self.compile(**config)
        self._build_optimizer()

    def _build_optimizer(self) -> None:
        with self.distribute_strategy.scope():
            if not self.optimizer.built:
                self.optimizer.build(self.trainable_variables)
