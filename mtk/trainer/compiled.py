"""What `compile` means for a multi-task model."""

from typing import Any

import keras


class CompiledModel(keras.Model):
    """A Keras model whose `compile` takes coupled L2 and clipping, and no loss.

    Losses and metrics belong to tasks.
    """

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "sgd",
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool = False,
        auto_scale_loss: bool = True,
    ) -> None:
        """Configures the training.

        Args:
            optimizer: As in Keras.
            weight_decay: Coupled L2: the gradient of each variable grows by `weight_decay` times
                the variable, before clipping. (Keras optimizers' own is decoupled.)
            clip_norm: Largest global norm of the combined gradient, or None.
            run_eagerly: As in Keras.
            steps_per_execution: As in Keras.
            jit_compile: Whether to compile with XLA. Works on one device.
            auto_scale_loss: As in Keras.

        Raises:
            ValueError: If a number is out of range, or the optimizer clips by itself and there
                are several replicas: it would clip each replica's part.
        """
        if not weight_decay >= 0 or (clip_norm is not None and not clip_norm > 0):
            raise ValueError(
                "`weight_decay` is zero or more, and `clip_norm` is positive or None. Received: "
                f"weight_decay={weight_decay}, clip_norm={clip_norm}"
            )
        super().compile(
            optimizer=optimizer,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            auto_scale_loss=auto_scale_loss,
        )
        inner = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        clips = [n for n in ("clipnorm", "clipvalue", "global_clipnorm") if getattr(inner, n, None)]
        if clips and self.distribute_strategy.num_replicas_in_sync > 1:
            raise ValueError(
                f"The optimizer's `{clips[0]}` would clip each replica's part of the gradient. "
                "Use `compile(clip_norm=...)`, which clips the whole."
            )
        self.weight_decay, self.clip_norm = weight_decay, clip_norm

    def get_compile_config(self) -> dict[str, Any]:
        config = super().get_compile_config()
        if config:
            config.update(weight_decay=self.weight_decay, clip_norm=self.clip_norm)
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
