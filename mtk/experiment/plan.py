"""How long a run is and when it evaluates."""

import math
from dataclasses import dataclass

from mtk.experiment.options import Training
from mtk.workloads import Workload


@dataclass(frozen=True)
class Plan:
    """The steps of a run.

    Attributes:
        steps: Steps of the run.
        steps_per_epoch: Steps in an epoch of the training split.
        evaluate_every: Steps between two evaluations.
        patience: Evaluations without improvement after which the run stops, or None.
        batch_size: Examples per step.
        seed: Seed of the data order.
        sealed: Whether the test split is only predicted, not measured.
    """

    steps: int
    steps_per_epoch: int
    evaluate_every: int
    patience: int | None
    batch_size: int
    seed: int
    sealed: bool = False

    @property
    def evaluations(self) -> int:
        return math.ceil(self.steps / self.evaluate_every)


def make_plan(data: Workload, batch_size: int, training: Training) -> Plan:
    """Returns the plan of a run.

    Args:
        data: The workload.
        batch_size: Examples per step.
        training: How long to train and when to evaluate.

    Raises:
        ValueError: If the batch size does not fit the data.
    """
    per_epoch = data.steps_per_epoch(batch_size)
    total = training.steps if training.steps is not None else (training.epochs or 0) * per_epoch
    every = per_epoch if training.evaluate_every is None else training.evaluate_every
    evaluations = (min(every, total), training.patience)
    sealed = training.test == "sealed"
    return Plan(total, per_epoch, *evaluations, batch_size, training.seed, sealed)
