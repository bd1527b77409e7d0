"""Specification of a training step, without the batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from mtk.combiners import Combiner
from mtk.elements import TaskPass
from mtk.gradients import GradientStrategy
from mtk.replicas import number_of_replicas
from mtk.sharing import LayerOutput, Structure
from mtk.tasks import Task
from mtk.trainer.batch import SubBatch
from mtk.trainer.compile_args import CompileArgs
from mtk.trainer.state import WrittenInPlace


@dataclass(frozen=True, eq=False)
class StepSpec:
    """Arguments of `step.compute` besides the batch.

    Attributes:
        network: The network.
        tasks: The K tasks.
        combiner: The built combiner that merges their gradients.
        loss_factors: Factor of each task loss, applied before the combiner; None for ones.
        arguments: Arguments of `compile`.
        parse: Parses a batch into sub-batches.
        structure: Returns which variables are shared; called only if needed.
        strategy: How to compute per-task gradients.
        features: Layers, with call indices, whose outputs the combiner needs.
        per_task: Whether to compute per-task gradients. Otherwise the weights come from the losses,
            or are those of the last step that computed them.
        loss_scale: Factor that keeps float16 gradients from vanishing, or None.
        dense: Whether gradients of embeddings are converted to dense ones, as XLA requires.
        observe: Updates the metrics with a pass. Called with the inputs, then as an `Observe`, and
            with `whole`: the results of all passes over the batch, None for those of all replicas.
        metric_variables: Variables of all metrics, which `observe` may write.
        written_in_place: Variables of network and losses that a pass writes in place.
    """

    network: keras.Model
    tasks: Sequence[Task]
    combiner: Combiner
    loss_factors: Sequence[float] | None
    arguments: CompileArgs
    parse: Callable[[Any], list[SubBatch]]
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
        """Number of passes over the global batch: micro-batches of all replicas."""
        return number_of_replicas() * self.arguments.micro_batches

    def divisors(self, passed: Sequence[TaskPass]) -> list[tf.Tensor]:
        """Returns the divisor of the sum of each task's weighted losses.

        Args:
            passed: K task results, for each part of the batch.
        """
        parts = len(passed) // len(self.tasks)
        factors = [1.0] * len(self.tasks) if self.loss_factors is None else self.loss_factors
        found = []
        for task, factor, own in zip(
            [*self.tasks] * parts, [*factors] * parts, passed, strict=True
        ):
            # A sum over a part shrinks with the number of parts.
            scale = parts if task.normalize == "sum" else 1
            divisor = task.divisor(own.count, own.weight) / scale
            # A task of weight zero has no loss, like one without labels.
            found.append(divisor / factor if factor else tf.zeros_like(divisor))
        return found
