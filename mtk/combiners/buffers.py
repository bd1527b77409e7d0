"""State of the size of the gradients: K tensors for each variable."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from mtk.combiners.base import Combiner


class Buffers:
    """A tensor `(K, *shape)` of float32 for each variable of the network.

    The buffers are created before it is known which variables are shared, for all that may be: they
    take K times the memory of all trainable variables. They belong to the combiner and are saved
    and restored with it; the rows of absent tasks are left unchanged.

    Args:
        combiner: The owner of the state; call this in its `build`.
        name: Prefix of the buffers' names.

    Raises:
        ValueError: If the combiner does not know the shapes of the variables.
    """

    def __init__(self, combiner: Combiner, name: str):
        if not combiner.variable_shapes:
            raise ValueError(
                f"{type(combiner).__name__} keeps state of the size of the gradients, but was "
                "built without their shapes. Call `bind_shapes({path: shape})` first."
            )
        number = combiner.num_tasks
        self.combiner = combiner
        self.by_path: dict[str, keras.Variable] = {
            path: combiner.add_state(f"{name}_{index}", (number, *shape))
            for index, (path, shape) in enumerate(combiner.variable_shapes.items())
        }

    def of(self, number: int) -> list[keras.Variable]:
        """Returns the buffers of the shared variables, in the order of `task_gradients`.

        Args:
            number: Number of variables.

        Raises:
            ValueError: If one of them has no buffer.
        """
        return [self.by_path[path] for path in shared_paths(self.combiner, number)]


def shared_paths(combiner: Combiner, number: int) -> tuple[str, ...]:
    """Returns the paths of the shared variables, each of which has its own state.

    Args:
        combiner: The owner of the state.
        number: Number of variables.

    Raises:
        ValueError: If one was unknown when the state was created, or two have the same path.
    """
    paths, name = combiner.variable_paths, type(combiner).__name__
    unknown = [path for path in paths if path not in combiner.variable_shapes]
    if unknown or len(paths) != number:
        raise ValueError(
            f"{name} keeps state only for variables that were trainable when the model was "
            f"created, and has none for {unknown or number}. Create a new model."
        )
    twice = sorted({path for path in paths if paths.count(path) > 1})
    if twice:
        raise ValueError(
            f"{name} keeps state by variable path, but several variables have the path {twice}. "
            "Give their layers unique names."
        )
    return paths


def by_task(vector: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Reshapes one number per task so that it broadcasts against the task gradients.

    Args:
        vector: Tensor `(K,)`.
        like: Tensor `(K, *shape)`.
    """
    return tf.reshape(vector, (-1, *[1] * (len(like.shape) - 1)))


def of_present(task_gradients: Sequence[tf.Tensor], present: tf.Tensor) -> list[tf.Tensor]:
    """Returns the task gradients with zeros for absent tasks.

    Args:
        task_gradients: List with one tensor `(K, *shape)` per variable.
        present: Boolean tensor `(K,)`.
    """
    return [tf.where(by_task(present, rows), rows, 0.0) for rows in task_gradients]


def averaged(
    buffers: Sequence[keras.Variable],
    task_gradients: Sequence[tf.Tensor],
    share: tf.Tensor,
    present: tf.Tensor,
) -> list[tf.Tensor]:
    """Updates averages of the task gradients; returns them with zeros for absent tasks.

    Args:
        buffers: The averages, updated in place.
        task_gradients: List with one tensor `(K, *shape)` per variable.
        share: Tensor `(K,)`: the weight of the newest gradient in the average.
        present: Boolean tensor `(K,)`.
    """
    found = []
    for buffer, rows in zip(buffers, task_gradients, strict=True):
        before, part = tf.convert_to_tensor(buffer), by_task(share, rows)
        mask = by_task(present, rows)
        # Not `before + part * (rows - before)`, which does not give `rows` exactly at a share of
        # one.
        now = (1.0 - part) * before + part * rows
        buffer.assign(tf.where(mask, now, before))
        found.append(tf.where(mask, now, 0.0))
    return found
