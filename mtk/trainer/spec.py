"""What a training step is made of, besides the batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from mtk.combiners import Combiner
from mtk.gradients import GradientStrategy
from mtk.replicas import number_of_replicas
from mtk.sharing import LayerOutput, Structure
from mtk.tasks import Task
from mtk.trainer.compile_args import CompileArgs
from mtk.trainer.state import WrittenInPlace


@dataclass(frozen=True, eq=False)
class StepSpec:
    """What `step.compute` needs to know besides the batch.

    Attributes:
        network: The network.
        tasks: The K tasks.
        combiner: What merges their gradients, built.
        loss_factors: What each task loss is multiplied by before the combiner sees it, if not 1.
        arguments: What `compile` was given.
        of_tasks: Takes from a batch what labels and weights it has of other outputs.
        structure: Called for which variables are shared, where that matters.
        strategy: How to compute per-task gradients.
        features: Layers, and which of their calls, whose outputs the combiner asks for.
        per_task: Whether to take the gradient of each task. Otherwise the weights come from the
            losses, or are those of the last step that took them.
        loss_scale: Factor that keeps float16 gradients from vanishing, or None.
        dense: Whether gradients of embeddings are made dense, as XLA needs them.
        observe: Tells metrics what a pass gave; an `Observe` that takes `whole`, too: what all
            passes over the batch give, None for all replicas.
        metric_variables: Those of all metrics, which `observe` may write.
        written_in_place: Variables of network and losses that a pass writes in place.
    """

    network: keras.Model
    tasks: Sequence[Task]
    combiner: Combiner
    loss_factors: Sequence[float] | None
    arguments: CompileArgs
    of_tasks: Callable[[Any], Any]
    structure: Callable[[], Structure]
    strategy: GradientStrategy = "auto"
    features: Sequence[LayerOutput] = ()
    per_task: bool = True
    loss_scale: tf.Tensor | None = None
    dense: bool = False
    observe: Callable[..., dict[str, Any]] | None = None
    metric_variables: Sequence[keras.Variable] = ()
    written_in_place: WrittenInPlace = field(default_factory=WrittenInPlace)

    @property
    def number_of_passes(self) -> int:
        """Into how many passes the global batch is divided: micro-batches of all replicas."""
        return number_of_replicas() * self.arguments.micro_batches

    def divisors(
        self, counts: Sequence[tf.Tensor], weights: Sequence[tf.Tensor]
    ) -> list[tf.Tensor]:
        """Returns what the sum of each task's weighted losses is divided by.

        Args:
            counts: K scalars, for each part of the batch: numbers of labels.
            weights: As many scalars: sums of their weights.
        """
        parts = len(counts) // len(self.tasks)
        factors = [1.0] * len(self.tasks) if self.loss_factors is None else self.loss_factors
        each = zip([*self.tasks] * parts, [*factors] * parts, counts, weights, strict=True)
        found = []
        for task, factor, count, weight in each:
            # A sum over a part is the smaller, the more parts there are.
            divisor = task.divisor(count, weight) / (parts if task.normalize == "sum" else 1)
            # A task with the weight zero has no loss, as one without a label.
            found.append(divisor / factor if factor else tf.zeros_like(divisor))
        return found
