"""Attention of tasks over the features of a convolutional trunk."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from mtk.models.seeds import layer_seeds
from mtk.models.sharing.gates import check_readers, checked_names


@keras.saving.register_keras_serializable("mtk")
class MTAN(layers.Layer):
    """Selects features of one block of a trunk for each task, by soft masks.

    With `u` the features early in the block, `p` those at its end and `a_k` those selected by the
    task in the previous block, the mask of task k is `m_k = sigmoid(h_k(relu(g_k([u, a_k]))))`,
    where g and h are 1x1 convolutions with batch norm. The task selects `relu(f(m_k * p))`, where f
    is a 3x3 convolution with batch norm, pooled if there is a next block. f is shared by the tasks;
    g and h belong to the task.

    Args:
        task_names: Names of the K tasks.
        filters: Number of channels of a task's selected features.
        pool: Pooling factor of the selected features, as of the trunk between blocks.
        synchronized: Whether batch norm takes its statistics over all replicas.
        seed: Seed of the initial weights.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        early: u `(B, H, W, channels)`.
        late: p `(B, H, W, C)`.
        taken: Return value of the previous layer, `{task: (B, H, W, ...)}`; omitted for the first.

    Returns:
        `{task: (B, H / pool, W / pool, filters)}`.

    Raises:
        ValueError: If there are no tasks, a number is not positive, `taken` is of other tasks, or
            inputs differ in height or width.

    Reference:
        Liu et al., *End-to-end multi-task learning with attention* (2019),
        https://arxiv.org/abs/1803.10704, equations 1 and 2.
    """

    def __init__(
        self,
        task_names: Sequence[str],
        filters: int,
        pool: int = 1,
        synchronized: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.task_names = checked_names(task_names)
        if filters < 1 or pool < 1:
            raise ValueError(
                f"`filters` and `pool` must be 1 or more. Received: filters={filters}, pool={pool}"
            )
        self.filters, self.pool, self.synchronized = filters, pool, synchronized
        self.seed, self._seeds = seed, layer_seeds(seed)
        self.further = self._convolution(filters, 3, "relu", "further")
        self.pooling = layers.MaxPooling2D(pool) if pool > 1 else None

    def build(self, early_shape: Any, late_shape: Any, taken_shape: Any = None) -> None:
        taken_shape = taken_shape or {}
        if taken_shape:
            check_readers(self, taken_shape, self.task_names)
        size = tf.TensorShape(early_shape[1:-1])
        if not all(size.is_compatible_with(s[1:-1]) for s in (late_shape, *taken_shape.values())):
            raise ValueError(
                f"'{self.name}' needs features of the same height and width: `early`, `late` "
                "and those taken from the previous block. If the block pools, set `pool` "
                f"accordingly. Received: early {early_shape}, late {late_shape}, taken "
                f"{taken_shape}"
            )
        self.masks = {}
        for task in self.task_names:
            read = early_shape[-1] + (taken_shape[task][-1] if taken_shape else 0)
            inner = self._convolution(late_shape[-1], 1, "relu", f"{task}_inner")
            outer = self._convolution(late_shape[-1], 1, "sigmoid", f"{task}_outer")
            inner.build((*early_shape[:-1], read))
            outer.build(tuple(late_shape))
            self.masks[task] = [inner, outer]
        self.further.build(tuple(late_shape))

    def call(
        self,
        early: tf.Tensor,
        late: tf.Tensor,
        taken: Mapping[str, tf.Tensor] | None = None,
        training: bool | None = None,
    ) -> dict[str, tf.Tensor]:
        if taken is not None:
            check_readers(self, taken, self.task_names)
        found = {}
        for task, (inner, outer) in self.masks.items():
            read = early if taken is None else tf.concat([early, taken[task]], axis=-1)
            mask = outer(inner(read, training=training), training=training)
            chosen = self.further(mask * late, training=training)
            found[task] = chosen if self.pooling is None else self.pooling(chosen)
        return found

    def _convolution(
        self, filters: int, kernel: int, activation: str, name: str
    ) -> keras.Sequential:
        """Returns convolution without bias, batch norm and activation."""
        shared = {"dtype": self.dtype_policy}
        kernels = {"kernel_initializer": keras.initializers.GlorotUniform(next(self._seeds))}
        norm = {"synchronized": self.synchronized, "name": "norm"}
        parts = [
            layers.Conv2D(
                filters,
                kernel,
                padding="same",
                use_bias=False,
                name="convolution",
                **kernels,
                **shared,
            ),
            layers.BatchNormalization(**norm, **shared),
            layers.Activation(activation, name=activation, **shared),
        ]
        return keras.Sequential(parts, name=name)

    def get_config(self) -> dict[str, Any]:
        own = {"task_names": list(self.task_names), "filters": self.filters, "pool": self.pool}
        own |= {"synchronized": self.synchronized, "seed": self.seed}
        return {**super().get_config(), **own}
