"""Base class of the combiners that wrap another one and change its weights."""

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf

from mtk import gradients
from mtk.combiners.base import Combined, Combiner
from mtk.combiners.gramian import GramianCombiner
from mtk.combiners.losses import LossCombiner


class Wrapper(Combiner):
    """A combiner that wraps another one and reads the same, at the same place.

    Attributes:
        is_outermost: Whether no other wrapper may wrap it.

    Args:
        combiner: The wrapped combiner.

    Raises:
        ValueError: If `combiner` is not a combiner, or cannot be wrapped.
    """

    reads = "gramian"  # For the class; an instance has its combiner's.
    is_outermost: ClassVar[bool] = False

    def __init__(self, combiner: Combiner, name: str | None = None):
        check_combiner(type(self).__name__, combiner)
        super().__init__(name=name)
        self.combiner = combiner.claimed()
        for attribute in ("reads", "weighs_heads", "needs_post_update_loss", "update_every"):
            setattr(self, attribute, getattr(self.combiner, attribute))
        self.at = self.combiner.at

    @property
    def loss_independent(self) -> bool:
        """See `LossCombiner`."""
        return getattr(self.combiner, "loss_independent", False)

    @property
    def changes_gradients(self) -> bool:
        return self.combiner.changes_gradients

    @property
    def scales_whole_losses(self) -> bool:
        return self.combiner.scales_whole_losses

    def bind_losses(self, losses: Mapping[str, Any]) -> None:
        self.combiner.bind_losses(losses)

    def bind(self, task_names: Sequence[str], variable_paths: Sequence[str]) -> None:
        super().bind(task_names, variable_paths)
        self.combiner.bind(task_names, variable_paths)

    def bind_shapes(self, shapes: Mapping[str, Sequence[int]]) -> None:
        super().bind_shapes(shapes)
        self.combiner.bind_shapes(shapes)

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        if not self.combiner.built:
            self.combiner.build(num_tasks)

    @abc.abstractmethod
    def around(self, find: Callable[[tf.Tensor], tf.Tensor], present: tf.Tensor) -> tf.Tensor:
        """Returns the weights of a step, `(K,)`.

        Args:
            find: Returns the wrapped combiner's weights for a mask of present tasks.
            present: Boolean tensor `(K,)`.
        """
        raise NotImplementedError

    def task_weights(
        self, task_losses: tf.Tensor, present: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        """See `LossCombiner.task_weights`, of the wrapped combiner."""
        combiner = self.combiner
        assert isinstance(combiner, (LossCombiner, Wrapper))

        def find(mask: tf.Tensor) -> tf.Tensor:
            losses, numbers = (tf.where(mask, each, 0.0) for each in (task_losses, counts))
            return combiner.task_weights(losses, mask, numbers)

        return self.around(find, present)

    def new_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        """See `GramianCombiner.new_weights`, of the wrapped combiner."""
        combiner = self.combiner
        assert isinstance(combiner, (GramianCombiner, Wrapper))

        def find(mask: tf.Tensor) -> tf.Tensor:
            return combiner.new_weights(gramian, tf.where(mask, task_losses, 0.0), mask)

        return self.around(find, present)

    def gramian_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        if self.reads == "losses":
            return self.task_weights(task_losses, present, tf.cast(present, tf.float32))
        return self.new_weights(gramian, task_losses, present)

    def cached_weights(self, present: tf.Tensor) -> tf.Tensor:
        """See `GramianCombiner.cached_weights`, of the wrapped combiner."""
        assert isinstance(self.combiner, (GramianCombiner, Wrapper))
        return self.combiner.cached_weights(present)

    def call(
        self,
        task_gradients: list[tf.Tensor],
        task_losses: tf.Tensor,
        present: tf.Tensor,
        counts: tf.Tensor,
    ) -> Combined:
        if self.reads == "losses":
            weights = self.task_weights(task_losses, present, counts)
        else:
            weights = self.new_weights(gradients.gramian(task_gradients), task_losses, present)
        return Combined(gradients.weighted_sum(task_gradients, weights), weights)

    def takes_gradients_at(self, step: int) -> bool:
        return self.combiner.takes_gradients_at(step)

    def chosen_tasks(self, present: tf.Tensor) -> tf.Tensor | None:
        return self.combiner.chosen_tasks(present)

    def head_weights(self, task_weights: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        return self.combiner.head_weights(task_weights, present)

    def after_step(self, before: tf.Tensor, after: tf.Tensor, present: tf.Tensor) -> None:
        self.combiner.after_step(before, after, present)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **combiner_config(self.combiner)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Wrapper":
        return cls(**with_combiner(config))


def check_combiner(wrapper: str, combiner: Any) -> None:
    """Checks the argument of a wrapper.

    Args:
        wrapper: Name of its class.
        combiner: The combiner to wrap.

    Raises:
        ValueError: If `combiner` is not a combiner, or cannot be wrapped.
    """
    if not isinstance(combiner, Combiner):
        raise ValueError(
            f"{wrapper} must wrap a combiner object, such as mtk.combiners.MGDA(). Received: "
            f"{combiner!r}"
        )
    if isinstance(combiner, Wrapper) and combiner.is_outermost:
        name = type(combiner).__name__
        fix = "Use one" if name == wrapper else f"Put it outside: {name}({wrapper}(...), ...)"
        raise ValueError(
            f"{name} decides which steps compute task gradients, so {wrapper} would count other "
            f"steps. {fix}."
        )
    if combiner.weighs_examples:
        raise ValueError(
            f"{type(combiner).__name__} weights each example of a batch, but {wrapper} changes "
            f"the weights of whole tasks. Use it without {wrapper}, or with per_example=False."
        )
    if combiner.batch_parts > 1:
        raise ValueError(
            f"{type(combiner).__name__} compares {combiner.batch_parts} parts of each batch, "
            f"but {wrapper} does not split batches. Use it without {wrapper}."
        )


def check_gramian(wrapper: str, combiner: Any) -> GramianCombiner:
    """Returns the checked argument of a wrapper of Gramian methods.

    Args:
        wrapper: Name of its class.
        combiner: The combiner to wrap.

    Raises:
        ValueError: If the combiner does not weigh gradients by their Gramian.
    """
    check_combiner(wrapper, combiner)
    if isinstance(combiner, Wrapper):
        inside = type(combiner).__name__
        # These average or reuse weights, but PerLayer has no weights common to all layers.
        fits = wrapper != "PerLayer" or inside not in ("CRMOGM", "Every")
        outside = f", and put {inside} outside: {inside}({wrapper}(...), ...)" if fits else ""
        raise ValueError(
            f"{wrapper} changes the gradients that a method reads, while {inside} changes the "
            f"weights that it returns. Wrap only the method{outside}."
        )
    if not isinstance(combiner, GramianCombiner) or combiner.changes_gradients:
        raise ValueError(
            f"{wrapper} must wrap a method that weights gradients based on their inner "
            f"products, such as MGDA or UPGrad. {type(combiner).__name__} reads {combiner.reads}"
            + (" and changes the gradients." if combiner.changes_gradients else ".")
        )
    return combiner


def combiner_config(combiner: Combiner) -> dict[str, Any]:
    """Returns the entry of a wrapper's config that holds its combiner.

    Args:
        combiner: The wrapped combiner.
    """
    return {"combiner": keras.saving.serialize_keras_object(combiner)}


def with_combiner(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a wrapper's config with its combiner as an object.

    Args:
        config: The return value of `get_config`.
    """
    return {**config, "combiner": keras.saving.deserialize_keras_object(config["combiner"])}
