"""Saves and restores the variables of a compiled model by name."""

import re
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

# Keras numbers the objects of a kind per process: "dense_7" here may be "dense" in another one.
_COUNTER = re.compile(r"_\d+(?=_|/|$)")


def values(
    model: keras.Model, gathered: Callable[[bytes], list[bytes]] | None = None
) -> dict[str, np.ndarray]:
    """Copies every variable of a compiled and built model to the host.

    Args:
        model: The model. Its network with the seed generators of dropout, its combiner, its own
            variables, its optimizer and its metrics are read.
        gathered: All-gather function if there are several workers; all of them call it.

    Returns:
        The values by number and path, such as "0004 conv/kernel", in the order of the model. Values
        that each replica keeps separately, such as metrics, have the replicas along a first axis,
        since splitting a sum again would introduce rounding errors.
    """
    variables = list(_variables(model))
    apart = [v for v in variables if _is_kept_apart(v)]
    parts = _of_replicas(model.distribute_strategy, apart, gathered)
    return {
        f"{number:04} {variable.path}": parts[id(variable)]
        if id(variable) in parts
        else np.array(tf.convert_to_tensor(variable.value).numpy())
        for number, variable in enumerate(variables)
    }


def assign(model: keras.Model, saved: Mapping[str, np.ndarray], worker: int = 0) -> None:
    """Assigns the values that `values` returned for a similar model to all variables of a model.

    Args:
        model: The compiled and built model.
        saved: The return value of `values`.
        worker: Index of this worker, if there are several.

    Raises:
        ValueError: If the variables do not match the saved ones; then none is changed.
    """
    own = list(_variables(model))
    described = [(v.path, tuple(v.shape), v) for v in own]
    paths = [name.partition(" ")[2] for name in saved]
    arrays = list(saved.values())
    expected = [(_COUNTER.sub("", path), shape) for path, shape, _ in described]
    shapes = map(_shape, arrays, [*own, *[None] * len(arrays)])
    found = [(_COUNTER.sub("", p), shape) for p, shape in zip(paths, shapes, strict=True)]
    if expected != found:
        raise ValueError(_difference(expected, found))
    strategy = model.distribute_strategy
    number = strategy.num_replicas_in_sync
    for variable, array in zip(own, arrays, strict=True):
        # NumPy files do not support bfloat16: it is loaded as two untyped bytes.
        if array.dtype.kind == "V":
            array = array.view(tf.as_dtype(variable.dtype).as_numpy_dtype)
        if not _is_kept_apart(variable):
            variable.assign(array)
            continue
        rows = array if array.ndim > len(variable.shape) else array[None]
        if len(rows) != number:
            # Saved with another number of replicas: the first gets the sum; counts cannot be split.
            zeros = [np.zeros_like(rows[0])] * (number - 1)
            rows = np.stack([rows.sum(0, rows.dtype), *zeros])
        parts = _parts(strategy, variable)
        for part, row in zip(parts, rows[worker * len(parts) :], strict=False):
            part.assign(row)


def _is_kept_apart(variable: keras.Variable) -> bool:
    """Whether each replica keeps a separate value and the variable is their sum."""
    return variable.synchronization == "on_read" and variable.aggregation == "sum"


def _shape(array: np.ndarray, variable: keras.Variable | None) -> tuple[int, ...]:
    """Returns the shape of the variable whose values are in an array."""
    if variable is None or not _is_kept_apart(variable) or array.ndim == len(variable.shape):
        return array.shape
    return array.shape[1:]


def _of_replicas(
    strategy: tf.distribute.Strategy,
    variables: Sequence[keras.Variable],
    gathered: Callable[[bytes], list[bytes]] | None,
) -> dict[int, np.ndarray]:
    """Returns the values of all replicas, `(replicas, ...)`, by `id` of the variable.

    Empty if there is only one replica.
    """
    if strategy.num_replicas_in_sync == 1:
        return {}
    own = [np.stack([part.numpy() for part in _parts(strategy, v)]) for v in variables]
    if gathered is not None:
        each = gathered(b"".join(array.tobytes() for array in own))
        ends = np.cumsum([array.nbytes for array in own])
        own = [
            np.concatenate(
                [
                    np.frombuffer(data[end - array.nbytes : end], array.dtype).reshape(array.shape)
                    for data in each
                ]
            )
            for array, end in zip(own, ends, strict=True)
        ]
    return {id(variable): array for variable, array in zip(variables, own, strict=True)}


def _parts(strategy: tf.distribute.Strategy, variable: keras.Variable) -> tuple[tf.Variable, ...]:
    """Returns the components of a variable on the replicas of this process."""
    found: tuple[tf.Variable, ...] = strategy.experimental_local_results(variable.value)
    return found


def _variables(model: keras.Model) -> list[keras.Variable]:
    metrics = [variable for metric in model.metrics for variable in metric.variables]
    each = [*model.variables, *model.optimizer.variables, *metrics]
    return list({id(variable): variable for variable in each}.values())


def _difference(expected: list, found: list) -> str:
    missing = [f"{path} {shape}" for path, shape in expected if (path, shape) not in found]
    unknown = [f"{path} {shape}" for path, shape in found if (path, shape) not in expected]
    return (
        "The checkpoint belongs to another model. Only in the model: "
        f"{', '.join(missing) or '-'}. Only in the checkpoint: {', '.join(unknown) or '-'}. Check "
        "that the code is the same as when the run was started."
    )
