"""Records of a model's steps, for callbacks and users."""

from typing import Any

import keras
import tensorflow as tf

from mtk.combiners.base import OwnState
from mtk.finite import all_finite
from mtk.trainer.state import Change
from mtk.trainer.step import StepResult

# Number of consecutive skipped steps after which a training counts as failed.
MOST_IN_A_ROW = 100


class StepNotes(OwnState):
    """Variables that record the last step, and the first nonfinite one.

    Args:
        num_tasks: K.

    Attributes:
        last_weights: The task weights `(K,)` of the last step.
        last_gramian: The Gramian `(K, K)` of the last step that computed task gradients.
        last_measured: Number of that step, counted from 1; -1 if there is none.
        nonfinite_step: Number of the step that ends training, counted from 1; -1 if there is none.
        nonfinite_tasks: `(K,)`: one for each task whose loss or gradient was not finite in it.
        skipped_steps: Number of skipped steps.
        skipped_in_a_row: Number of steps skipped since the last one that was not.
    """

    def __init__(self, num_tasks: int):
        super().__init__(name="notes", dtype="float32", autocast=False, trainable=False)
        self.last_weights = self.add_state("last_weights", (num_tasks,))
        self.last_gramian = self.add_state("last_gramian", (num_tasks, num_tasks))
        self.last_measured = self.add_state("last_measured", (), -1, "int64")
        self.nonfinite_step = self.add_state("nonfinite_step", (), -1, "int64")
        self.nonfinite_tasks = self.add_state("nonfinite_tasks", (num_tasks,))
        self.skipped_steps = self.add_state("skipped_steps", (), dtype="int64")
        self.skipped_in_a_row = self.add_state("skipped_in_a_row", (), dtype="int64")
        self.built = True

    def take(self, result: StepResult, iterations: Any, skips: bool, stops: bool) -> None:
        """Records a step.

        With float16, an overflowing gradient only means a too high loss scale, unlike a loss.

        Args:
            result: The step.
            iterations: The optimizer's step count, including this step.
            skips: Whether nonfinite steps are skipped.
            stops: Whether one such step ends training.
        """
        finite, losses, gramian = result.finite, result.task_losses, result.gramian
        accepted = finite if skips else None
        _note(self.last_weights, result.task_weights, accepted)
        skipped = tf.cast(~finite, tf.int64) if skips else tf.constant(0, tf.int64)
        self.skipped_steps.assign_add(skipped)
        in_a_row = tf.where(finite, tf.zeros((), tf.int64), self.skipped_in_a_row + skipped)
        self.skipped_in_a_row.assign(in_a_row)
        failed = in_a_row >= MOST_IN_A_ROW
        if stops:
            failed |= ~(all_finite([losses]) if skips else finite)
        bad = ~tf.math.is_finite(losses)
        if gramian is not None:
            bad |= ~tf.math.is_finite(tf.linalg.diag_part(gramian))
        step = tf.cast(iterations, tf.int64) + self.skipped_steps
        new = failed & (self.nonfinite_step < 0)
        _note(self.nonfinite_tasks, tf.cast(bad, tf.float32), new)
        _note(self.nonfinite_step, step, new)
        if gramian is not None:
            _note(self.last_gramian, gramian, accepted)
            _note(self.last_measured, step, accepted)

    def forget_divergence(self) -> None:
        """Resets the records, to train a diverged model again with other weights or data."""
        if int(keras.ops.convert_to_numpy(self.nonfinite_step)) >= 0:
            self.nonfinite_step.assign(-1)
            self.nonfinite_tasks.assign(keras.ops.zeros_like(self.nonfinite_tasks))
            self.skipped_in_a_row.assign(0)


def _note(variable: keras.Variable, value: tf.Tensor, accepted: tf.Tensor | None) -> None:
    Change(variable, variable.value, value).write(accepted)
