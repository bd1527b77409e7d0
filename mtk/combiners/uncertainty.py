"""Uncertainty weights: learned noise of each task."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from mtk.combiners.adam import TaskAdam
from mtk.combiners.losses import LossCombiner
from mtk.losses import SmoothedCrossentropy
from mtk.ranges import check_nonnegative

# Functions of keras.losses for real-valued targets, and those for classes. The others (of counts,
# angles, pairs) are neither.
REGRESSION = (
    "mean_squared_error",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_logarithmic_error",
    "huber",
    "log_cosh",
)
CLASSIFICATION = (
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy",
    "sparse_categorical_crossentropy",
    "kl_divergence",
    "hinge",
    "squared_hinge",
    "categorical_hinge",
    "dice",
    "tversky",
    "ctc",
)


@keras.saving.register_keras_serializable("mtk")
class UncertaintyWeights(LossCombiner):
    """Weighs tasks by a learned log variance `s_i = log(sigma_i^2)`.

    Minimizes `sum_i c_i exp(-s_i) L_i + s_i / 2`, where c is 1 for classification and 1/2 for
    regression, over the network and over s. The network's gradient is divided by the number of
    tasks, so that the mean scale holds at the start, s = 0, for classification, but not later.

    The `s_i` take Adam steps with their own learning rate. In the paper they are weights of the
    network, where weight decay would pull them to zero.

    Args:
        regression: Names of the regression tasks. By default this is inferred from Keras losses and
            their subclasses: squared and absolute errors, Huber and log-cosh losses are regression;
            cross-entropies, hinge and overlap losses are classification. Where no losses are known,
            as in calls without a model, all tasks count as classification.
        learning_rate: Adam's learning rate for s.

    Raises:
        ValueError: If the learning rate is negative or not finite, or, once the tasks are known, if
            a name in `regression` is not that of a task, or if it is not given and the kind of a
            loss is unknown.

    Reference:
        Kendall et al., *Multi-Task Learning Using Uncertainty to Weigh Losses* (2018), equations 7
        and 10.
    """

    def __init__(
        self,
        regression: Sequence[str] | None = None,
        learning_rate: float = 0.025,
        name: str | None = None,
    ):
        check_nonnegative(learning_rate=learning_rate)
        if isinstance(regression, str):
            raise ValueError(f"`regression` must be a list of task names. Received: {regression!r}")
        super().__init__(name=name)
        self.regression = None if regression is None else list(regression)
        self.learning_rate = learning_rate
        self.regression_by_loss: frozenset[str] = frozenset()

    def bind_losses(self, losses: Mapping[str, Any]) -> None:
        """Passes the tasks' losses to the combiner; called before `build`.

        Args:
            losses: Dict from task name to a `keras.losses.Loss`, a function, or a name known to
                Keras.

        Raises:
            ValueError: If `regression` was not given and the kind of a loss is unknown.
        """
        if self.regression is not None:
            return
        kinds = {name: is_regression(loss) for name, loss in losses.items()}
        if unknown := sorted(name for name, kind in kinds.items() if kind is None):
            raise ValueError(
                "Uncertainty weights treat regression and classification differently, but the "
                f"losses of {unknown} do not tell which kind they are. List the regression tasks, "
                "`UncertaintyWeights(regression=[...])`, or give an empty list if there are none. "
                f"Received: {[losses[name] for name in unknown]}"
            )
        self.regression_by_loss = frozenset(name for name, kind in kinds.items() if kind)

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        names = self.task_names or ()
        if unknown := set(self.regression or ()) - set(names):
            raise ValueError(
                f"`regression` names {sorted(unknown)}, but the tasks are {sorted(names)}. List "
                "only tasks of the model."
            )
        regression = self.regression_by_loss if self.regression is None else self.regression
        halves = [0.5 if name in regression else 1.0 for name in names]
        self.coefficients = tuple(halves) or (1.0,) * num_tasks
        self.log_variances = self.add_state("log_variances", (num_tasks,))
        self.adam = TaskAdam(self, self.learning_rate)

    def task_weights(
        self, task_losses: tf.Tensor, present: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        del counts
        mask = tf.cast(present, tf.float32)
        precisions = tf.constant(self.coefficients) * tf.exp(-self.log_variances) * mask
        weights = tf.math.divide_no_nan(precisions, tf.reduce_sum(mask))
        slope = 0.5 - precisions * task_losses
        self.log_variances.assign_add(self.adam.change(slope, present))
        return weights


def is_regression(loss: str | keras.losses.Loss | Callable[..., Any]) -> bool | None:
    """Returns True for a regression loss, False for a classification loss, None for neither.

    Args:
        loss: A loss object, a function, or a name known to Keras.
    """
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    if isinstance(loss, SmoothedCrossentropy):
        return False
    # Keras loss objects and their subclasses hold their function.
    function = getattr(loss, "fn", loss)
    for kind, names in ((True, REGRESSION), (False, CLASSIFICATION)):
        if any(function is getattr(keras.losses, name) for name in names):
            return kind
    return None
