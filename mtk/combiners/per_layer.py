"""A wrapper that applies a Gramian method to each layer or group of variables separately."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from mtk import gradients
from mtk.combiners.base import Combined, Combiner
from mtk.combiners.gramian import GramianCombiner
from mtk.combiners.wrapper import check_gramian, combiner_config, with_combiner
from mtk.held import Held


@keras.saving.register_keras_serializable("mtk")
class PerLayer(GramianCombiner):
    """Merges the gradients of each layer separately, so that every layer has its own weights.

    Tasks that conflict in one layer may agree in another. Each layer of the network, or each group
    of its variables, has its own copy of the method, with its own weights and state; the reported
    task weights are the mean over the groups. `GradVac(groups="layer")` is the paper's case.

    The mean scale and the behavior under permuted tasks and scaled gradients are those of the
    method. A direction without conflicts in each group has none overall. A step solves one problem
    per group, so the graph grows with their number: give a network of a hundred layers `groups`.

    Heads are trained by their own gradients, divided by the number of tasks.

    Args:
        combiner: A method that weighs gradients by their Gramian.
        groups: Prefixes of variable paths, such as `["backbone/stage1", "backbone/stage2"]`: a
            variable belongs to the first prefix that its path starts with, and variables that match
            none form another group. By default each layer is a group.

    Raises:
        ValueError: If the combiner does not weigh gradients by their Gramian, has another `at` than
            `"parameters"` or an `update_every` above one, if `groups` is empty, or, once the
            variables are known, if a group has none.

    Example:
    >>> combiner = PerLayer(MGDA())

    Reference:
        Wang et al., *Gradient Vaccine* (2021), section 3.3, on groups of parameters.
    """

    def __init__(
        self, combiner: Combiner, groups: Sequence[str] | None = None, name: str | None = None
    ):
        checked = check_gramian("PerLayer", combiner)
        if checked.at != "parameters" or checked.update_every != 1:
            raise ValueError(
                "PerLayer gives each layer its own weights, which needs the task gradients of "
                "all parameters at every step: do not set `at` or `update_every`. Received: "
                f"at={checked.at!r}, update_every={checked.update_every}"
            )
        if groups is not None and (isinstance(groups, str) or not list(groups)):
            raise ValueError(f"`groups` must be a list of path prefixes. Received: {groups!r}")
        super().__init__(name=name)
        self._template = Held(checked)
        self.groups = None if groups is None else list(groups)
        self.paths: tuple[str, ...] = ()
        self.known: tuple[str, ...] = ()
        self.members: list[GramianCombiner] = []

    @property
    def combiner(self) -> GramianCombiner:
        """The given method; the copies in `members` do the work."""
        return self._template.value

    @property
    def changes_gradients(self) -> bool:
        return True

    def bind(self, task_names: Sequence[str], variable_paths: Sequence[str]) -> None:
        super().bind(task_names, variable_paths)
        unknown = sorted({self._group(path) for path in variable_paths} - set(self.known))
        if self.built and unknown:
            raise ValueError(
                f"PerLayer was built for the groups {sorted(self.known)} and has no state for "
                f"{unknown}. Call `bind` with the paths of all variables of the network before "
                "`build`, and create a new combiner for each model."
            )
        self.paths = tuple(variable_paths)
        for member in self.members:
            member.bind(task_names, [])

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        if not self.paths:
            raise ValueError(
                "PerLayer needs the paths of the variables, but was built without them. Call "
                "`bind(task_names, variable_paths)` first."
            )
        self.known = tuple(dict.fromkeys(self._group(path) for path in self.paths))
        empty = [group for group in self.groups or () if group not in self.known]
        if empty:
            raise ValueError(
                f"No variable belongs to the groups {empty}: no path has this prefix, or an "
                f"earlier group matches first. Paths: {list(self.paths)}"
            )
        config = self.combiner.get_config()
        members = [type(self.combiner).from_config(config) for _ in self.known]
        for member in members:
            member.bind(self.task_names or [str(k) for k in range(num_tasks)], [])
            member.build(num_tasks)
        self.members = members
        for index, member in enumerate(members):
            # TensorFlow checkpoints do not follow lists.
            self._track_trackable(member, f"member_{index}", overwrite=True)

    def _group(self, path: str) -> str:
        if self.groups is None:
            return path.rpartition("/")[0]
        return next((group for group in self.groups if path.startswith(group)), "")

    def call(
        self,
        task_gradients: list[tf.Tensor],
        task_losses: tf.Tensor,
        present: tf.Tensor,
        counts: tf.Tensor,
    ) -> Combined:
        del counts
        parts: dict[str, list[int]] = {}
        for index, (path, _) in enumerate(zip(self.paths, task_gradients, strict=True)):
            parts.setdefault(self._group(path), []).append(index)
        combined: list[Any] = [None] * len(task_gradients)
        each = []
        for group, indices in parts.items():
            own = [task_gradients[index] for index in indices]
            member = self.members[self.known.index(group)]
            weights = member.new_weights(gradients.gramian(own), task_losses, present)
            each.append(weights)
            for index, merged in zip(indices, gradients.weighted_sum(own, weights), strict=True):
                combined[index] = merged
        return Combined(combined, tf.reduce_mean(tf.stack(each), 0))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **combiner_config(self.combiner)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PerLayer":
        return cls(**with_combiner(config))
