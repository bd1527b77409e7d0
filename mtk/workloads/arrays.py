"""A custom workload from arrays: a network, tasks and three splits."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from mtk.compiled_tasks import by_column, check_labels
from mtk.data.batches import Augment
from mtk.data.fingerprints import described
from mtk.data.sources import Source, Structure, check_room, in_memory, memory_mapped
from mtk.data.splits import split
from mtk.tasks import Task, check_tasks
from mtk.workloads.base import Workload

MakeNetwork: TypeAlias = Callable[..., keras.Model]


class Arrays(Workload):
    """A workload from arrays in memory.

    Args:
        network: Function that makes a new network. It may have an argument `seed`; otherwise it is
            called after `keras.utils.set_random_seed`.
        tasks: The K tasks.
        train: The training split: `(x, y)` or `(x, y, mask)`, in the forms of
            `mtk.trainer.batch.parse`, of arrays with one example per row. Arrays of
            `np.load(path, mmap_mode="r")` stay on disk, if the other splits are given too.
        validation: The validation split, or the share of the training split to hold out for it.
        test: The test split, or a share, as for `validation`.
        prepare: Maps a batch, in the graph, to that of the model: `(x, y)` to `(x, y)`.
        augment: Augments training batches randomly; see `mtk.data.batches.train_batches`.
        data_seed: Seed of the held-out shares; never the seed of a run.
        name: Name for logs and reports.

    Raises:
        ValueError: If the splits have other forms or no examples, do not fit into memory, have NaN
            labels without a mask or `missing`, or a share is not between 0 and 1.

    Example:
    ```python
    def workload():
        return mtk.workloads.Arrays(network, tasks, (x, y), validation=0.2, test=0.2)

    mtk.experiment.run(workload, "runs/mine", mtk.experiment.Training(epochs=10))
    ```
    """

    def __init__(
        self,
        network: MakeNetwork,
        tasks: Sequence[Task],
        train: Structure,
        validation: Structure | float,
        test: Structure | float,
        prepare: Callable[[Structure], Structure] | None = None,
        augment: Augment | None = None,
        data_seed: int = 0,
        name: str = "arrays",
    ):
        self.name = name
        self.tasks = check_tasks(tasks)
        self._make = network
        train, validation, test = map(self._by_column, (train, validation, test))
        splits = _splits(train, validation, test, data_seed)
        self._fingerprint = {
            what: described(len(flat[0]), *flat)
            for what, arrays in splits.items()
            if (flat := tf.nest.flatten(arrays))
        }
        for arrays in splits.values():
            check_labels(arrays[1], self.tasks, may_be_nan=len(arrays) == 3)
        train, validation, test = (_source(*each, prepare) for each in splits.items())
        super().__init__(train, validation, test, augment=augment)

    def _by_column(self, split: Any) -> Any:
        if not isinstance(split, (tuple, list)):
            return split
        names = [task.name for task in self.tasks]
        return (*split[:1], *(by_column(part, names) for part in split[1:]))

    def network(self, seed: int | None = None) -> keras.Model:
        return made(self._make, seed)

    def fingerprint(self) -> Mapping[str, str]:
        return self._fingerprint


def _source(
    what: str, arrays: Structure, prepare: Callable[[Structure], Structure] | None
) -> Source:
    def read(batch: Structure) -> Structure:
        batch = tf.nest.map_structure(_in_floatx, batch)
        return batch if prepare is None else prepare(batch)

    every = tf.nest.flatten(arrays)
    if any(isinstance(array, np.memmap) for array in every):
        return memory_mapped(arrays, read)
    check_room(f"The {what} split", sum(array.nbytes for array in every))
    return in_memory(arrays, read)


def _in_floatx(tensor: tf.Tensor) -> tf.Tensor:
    """Casts floating-point tensors to Keras' `floatx`, as `fit` does for arrays."""
    return tf.cast(tensor, keras.config.floatx()) if tensor.dtype.is_floating else tensor


def made(network: MakeNetwork, seed: int | None) -> keras.Model:
    """Calls a function that makes a network, with initial weights determined by `seed`.

    Args:
        network: The function.
        seed: The seed; None for random weights.
    """
    if "seed" in inspect.signature(network).parameters:
        return network(seed=seed)
    if seed is not None:
        keras.utils.set_random_seed(seed)
    return network()


def _splits(train: Any, validation: Any, test: Any, seed: int) -> dict[str, Any]:
    found = {"train": train, "validation": validation, "test": test}
    shares = {what: share for what, share in found.items() if isinstance(share, (int, float))}
    possible = all(0 < share < 1 for share in shares.values()) and sum(shares.values()) < 1
    if "train" in shares or not possible:
        raise ValueError(
            "The training split must be `(x, y)`; each other split must be `(x, y)` or a share "
            f"of the training split between 0 and 1. Received shares: {shares}"
        )
    found = {what: _as_arrays(what, given) for what, given in found.items() if what not in shares}
    if shares:
        number = len(tf.nest.flatten(found["train"])[0])
        held_out = {what: round(share * number) for what, share in shares.items()}
        sizes = (number - sum(held_out.values()), *held_out.values())
        rows = zip(("train", *held_out), split(number, sizes, seed), strict=True)
        whole = found["train"]
        for what, own in rows:
            found[what] = tf.nest.map_structure(lambda array, own=own: array[own], whole)
    return {what: found[what] for what in ("train", "validation", "test")}


def _as_arrays(what: str, given: Any) -> Any:
    if not isinstance(given, (tuple, list)) or len(given) not in (2, 3):
        raise ValueError(
            f"The {what} split must be `(x, y)` or `(x, y, mask)` of arrays. Received: "
            f"{type(given).__name__}"
        )
    arrays = _with_tuples(given)
    if any(not array.ndim for array in tf.nest.flatten(arrays)):
        raise ValueError(
            f"An array of the {what} split is a single number. A list is read as a list of "
            "arrays, so give lists of numbers as `np.array(...)`."
        )
    lengths = sorted({len(array) for array in tf.nest.flatten(arrays)})
    if len(lengths) > 1 or not lengths[0]:
        raise ValueError(
            f"The arrays of the {what} split must have the same number of examples, one or "
            f"more, along their first axis. Received lengths: {lengths}"
        )
    return arrays


def _with_tuples(given: Any) -> Any:
    """Returns arrays in tuples and dicts, since `tf.data` makes one tensor of a list."""
    if isinstance(given, (tuple, list)):
        return tuple(_with_tuples(part) for part in given)
    if isinstance(given, Mapping):
        return {name: _with_tuples(part) for name, part in given.items()}
    array = np.asanyarray(given)
    # Texts of pandas and of `tf.data` are objects too.
    if array.dtype == object and not all(isinstance(each, (str, bytes)) for each in array.flat):
        raise ValueError(
            "An array contains Python objects, such as rows of different lengths, columns of "
            "different types, or missing strings. Give separate arrays of numbers or strings."
        )
    return array
