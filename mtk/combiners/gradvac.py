"""GradVac: pairs of gradients moved to their usual similarity."""

from collections.abc import Sequence
from typing import Literal

import keras
import tensorflow as tf

from mtk import gradients
from mtk.combiners import stateless_random
from mtk.combiners.base import Combined
from mtk.combiners.gramian import GramianCombiner
from mtk.combiners.solvers.scaling import solver_dtype
from mtk.combiners.solvers.sequential import pairwise_projection
from mtk.finite import nan_unless
from mtk.ranges import check_choice, check_share

Groups = Literal["model", "layer"]

# Largest target. A cosine of one is not reached by adding a finite multiple of one gradient.
CLOSEST = 0.999


@keras.saving.register_keras_serializable("mtk")
class GradVac(GramianCombiner):
    """Gradient vaccine: PCGrad with a target for each pair's cosine in place of zero.

    Where the cosine of gradient i (as altered so far) with gradient j is below their target, a
    multiple of gradient j is added so that the cosine equals the target. Each target is a moving
    average of the pair's cosines, updated at every step, in conflict or not. Targets start at zero:
    the first step equals PCGrad.

    The paper sums the altered gradients; this takes their mean. The order of the others is redrawn
    for each gradient and step. Targets are clipped to 0.999 in absolute value, beyond which the
    update is unbounded. A zero gradient has no cosines, and its targets are unchanged.

    Args:
        beta: Weight of the newest cosine in the moving average; 0.5 as in public code. (The paper
            uses 0.01 for translation, with targets for each of many layers.)
        groups: `"model"`: the shared variables are one vector. `"layer"`: each layer has its own
            cosines, targets and weights; the task weights reported are the mean over the layers.
        seed: Integer; runs with the same seed draw the same orders.
        at: Where the gradients are taken; see `Combiner`.
        update_every: Number of steps between updates of the weights.

    Raises:
        ValueError: If an argument is out of range, or if `groups="layer"` is combined with another
            `at` than `"parameters"` or an `update_every` above one, or a layer was unknown when the
            targets were created.

    Reference:
        Wang et al., *Gradient Vaccine: Investigating and Improving Multi-task Optimization in
        Massively Multilingual Models* (2021), equations 2 and 3, algorithm 1.
    """

    def __init__(
        self,
        beta: float = 0.5,
        groups: Groups = "model",
        seed: int = 0,
        at: str = "parameters",
        update_every: int = 1,
        name: str | None = None,
    ):
        check_share(beta=beta)
        check_choice(Groups, groups=groups)
        if groups == "layer" and (at != "parameters" or update_every != 1):
            raise ValueError(
                "`groups='layer'` gives each layer its own weights, which needs the task "
                "gradients of all parameters at every step: do not set `at` or `update_every`. "
                f"Received: at={at!r}, update_every={update_every}"
            )
        super().__init__(at=at, update_every=update_every, name=name)
        self.beta = beta
        self.groups = groups
        self.seed = seed
        self.layers: tuple[str, ...] = ()
        self.known_layers: tuple[str, ...] = ()

    @property
    def changes_gradients(self) -> bool:
        return self.groups == "layer"

    def bind(self, task_names: Sequence[str], variable_paths: Sequence[str]) -> None:
        super().bind(task_names, variable_paths)
        layers = tuple(path.rpartition("/")[0] for path in variable_paths)
        unknown = set(layers) - set(self.known_layers)
        if self.built and self.groups == "layer" and unknown:
            raise ValueError(
                f"The layers {sorted(unknown)} have no targets: `groups='layer'` was built for "
                f"{sorted(self.known_layers)}. Call `bind` with the paths of all variables of the "
                "network before `build`, and create a new combiner for each model."
            )
        self.layers = layers

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        if self.groups == "layer" and not self.layers:
            raise ValueError(
                "`groups='layer'` needs the paths of the variables, but the combiner was built "
                "without them. Call `bind(task_names, variable_paths)` first."
            )
        # Targets exist for these layers when it is bound to other variables, as on unfreezing.
        self.known_layers = tuple(dict.fromkeys(self.layers))
        number = 1 if self.groups == "model" else len(self.known_layers)
        self.random_keys = stateless_random.RandomKeys(self, self.seed)
        self.targets = self.add_state("targets", (number, num_tasks, num_tasks))

    def task_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        del task_losses
        return self._group_weights(gramian[None], present, [0])[0]

    def call(
        self,
        task_gradients: list[tf.Tensor],
        task_losses: tf.Tensor,
        present: tf.Tensor,
        counts: tf.Tensor,
    ) -> Combined:
        if self.groups == "model":
            return super().call(task_gradients, task_losses, present, counts)
        members: dict[str, list[tf.Tensor]] = {}
        for layer, stacked in zip(self.layers, task_gradients, strict=True):
            members.setdefault(layer, []).append(stacked)
        gramians, finite = self.problem(
            tf.stack([gradients.gramian(part) for part in members.values()]), present
        )
        groups = [self.known_layers.index(layer) for layer in members]
        weights = self._group_weights(gramians, present, groups)
        weights = nan_unless(finite, weights)
        own = dict(zip(members, tf.unstack(weights), strict=True))
        combined = [
            gradients.weighted_sum([stacked], own[layer])[0]
            for layer, stacked in zip(self.layers, task_gradients, strict=True)
        ]
        return Combined(combined, tf.reduce_mean(weights, 0))

    def _group_weights(
        self, gramians: tf.Tensor, present: tf.Tensor, groups: Sequence[int]
    ) -> tf.Tensor:
        """Returns the weights `(n, K)` for Gramians `(n, K, K)` of n of the groups."""
        gramians = tf.cast(gramians, solver_dtype())
        targets = tf.gather(self.targets, groups)
        bounded = tf.clip_by_value(tf.cast(targets, gramians.dtype), -CLOSEST, CLOSEST)
        orders = stateless_random.orders(self.random_keys.next_key(), self.num_tasks)
        rows, cosines, met = pairwise_projection(gramians, orders, bounded)
        mean = (1.0 - self.beta) * targets + self.beta * tf.cast(cosines, tf.float32)
        learned = tf.where(met, mean, targets)
        places = [[group] for group in groups]
        self.targets.assign(tf.tensor_scatter_nd_update(self.targets, places, learned))
        everyone = tf.cast(present, rows.dtype)
        total = tf.einsum("gij,i->gj", rows, everyone)
        return tf.cast(tf.math.divide_no_nan(total, tf.reduce_sum(everyone)), tf.float32)
