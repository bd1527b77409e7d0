"""One loss for all tasks, for custom training steps."""

from collections.abc import Sequence

import tensorflow as tf

from mtk.elements import Elements, summed
from mtk.replicas import all_reduce
from mtk.tasks import Task
from mtk.trainer import forward
from mtk.trainer.backward import shares_of
from mtk.trainer.batch import Label, SubBatch
from mtk.trainer.state import of_share


def of_batch(
    tasks: Sequence[Task],
    weights: Sequence[float],
    part: SubBatch,
    found: Sequence[tuple[Label, Elements]],
    added: Sequence[tf.Tensor],
) -> tf.Tensor:
    """Returns the weighted sum of the task losses and of what layers add.

    In a replica its value is that of the global batch, and its gradient that of this replica's
    part.

    Args:
        tasks: The K tasks.
        weights: Weights `(K,)` of their losses.
        part: The batch.
        found: The losses, from `forward.task_elements`.
        added: Losses of layers and regularizers, read before replicas synchronize, since the next
            replica's call clears them.
    """
    (share,) = shares_of([part]) or [tf.constant(1.0)]
    terms = [of_share(tf.cast(loss, tf.float32), share) for loss in added]
    passed = forward.of_all_replicas([summed(elements) for _, elements in found])
    for (label, _), whole in zip(found, passed, strict=True):
        divisor = tasks[label.task].divisor(whole.count, whole.weight)
        terms.append(weights[label.task] * tf.math.divide_no_nan(whole.total, divisor))
    here = tf.add_n(terms)
    return here + tf.stop_gradient(all_reduce(tf.stop_gradient(here)) - here)
