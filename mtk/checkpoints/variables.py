"""The variables of a compiled model: what they are called, their values, and the way back."""

import re
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

# Keras counts the objects of one kind in a process: "dense_7" here may be "dense" in another.
_COUNTER = re.compile(r"_\d+(?=_|/|$)")


def values(model: keras.Model) -> dict[str, np.ndarray]:
    """Copies every variable of a compiled and built model to the host.

    Args:
        model: Its network with the seed generators of dropout, its combiner, its own notes, its
            optimizer and its metrics are read.

    Returns:
        The values by number and path, such as "0004 conv/kernel"; in the order of the model.
    """
    return {
        f"{number:04} {variable.path}": np.array(tf.convert_to_tensor(variable.value).numpy())
        for number, variable in enumerate(_variables(model))
    }


def assign(model: keras.Model, saved: Mapping[str, np.ndarray]) -> None:
    """Gives every variable of a model the value that `values` found in a model like it.

    Args:
        model: The compiled and built model.
        saved: What `values` returned.

    Raises:
        ValueError: If the variables are others than the saved ones; then none is changed.
    """
    own = list(_variables(model))
    described = [(v.path, tuple(v.shape), v) for v in own]
    paths = [name.partition(" ")[2] for name in saved]
    arrays = list(saved.values())
    expected = [(_COUNTER.sub("", path), shape) for path, shape, _ in described]
    found = [(_COUNTER.sub("", p), a.shape) for p, a in zip(paths, arrays, strict=True)]
    if expected != found:
        raise ValueError(_difference(expected, found))
    for variable, array in zip(own, arrays, strict=True):
        # NumPy's files know no bfloat16: it comes back as two bytes without a meaning.
        known = array.dtype.kind != "V"
        variable.assign(array if known else array.view(tf.as_dtype(variable.dtype).as_numpy_dtype))


def _variables(model: keras.Model) -> list[keras.Variable]:
    metrics = [variable for metric in model.metrics for variable in metric.variables]
    each = [*model.variables, *model.optimizer.variables, *metrics]
    return list({id(variable): variable for variable in each}.values())


def _difference(expected: list, found: list) -> str:
    missing = [f"{path} {shape}" for path, shape in expected if (path, shape) not in found]
    unknown = [f"{path} {shape}" for path, shape in found if (path, shape) not in expected]
    return (
        "The checkpoint belongs to another model. Only the model has: "
        f"{', '.join(missing) or '-'}. Only the checkpoint has: {', '.join(unknown) or '-'}. "
        "Is the code the one that began the run?"
    )
