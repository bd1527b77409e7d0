"""The inputs of a comparison: a function that builds a compiled model, and data."""

import dataclasses
import hashlib
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import keras
import numpy as np
import tensorflow as tf

from mtk import sharing
from mtk.comparison import sent
from mtk.comparison.code import own_code
from mtk.compiled_tasks import (
    CompiledTasks,
    compiled_tasks,
    listed_names,
    output_names,
    symbolic_outputs,
    weights_by_task,
)
from mtk.data.fingerprints import of_arrays
from mtk.data.sources import check_room
from mtk.experiment.contents import identified
from mtk.experiment.options import Numerics, Optimization, Precision, Sharing
from mtk.output_paths import argument_by_name, nested_paths
from mtk.tasks import Task, check_files
from mtk.trainer import MultiTaskModel
from mtk.trainer.compile_args import averages
from mtk.workloads import Arrays, Workload
from mtk.workloads.arrays import made

# Inputs of the comparisons of this process, by key. Configurations hold a key, with which runs that
# are forked from this process, or executed in it, find the objects themselves.
_GIVEN: dict[str, "Given"] = {}
# Methods of a model that `fit` calls but a comparison does not.
_HOOKS = ("train_step", "test_step", "compute_loss")


@dataclass(frozen=True, eq=False)
class Given:
    """Model and data of a comparison.

    Attributes:
        build: Function that returns a new compiled model, or a workload.
        train: The training split, `(x, y)` or `(x, y, sample_weight)` of arrays; None for a
            workload, which has its own data.
        validation: The validation split, or a share of the training split.
        test: The test split, or a share.
    """

    build: Callable[..., Any]
    train: Any
    validation: Any
    test: Any

    @property
    def draws_splits(self) -> bool:
        """Whether a part of the training split is held out at random."""
        return any(isinstance(split, (int, float)) for split in (self.validation, self.test))

    def key(self) -> str:
        """Returns 16 digits that identify the function and the data, and registers both."""
        splits = () if self.train is None else (self.train, self.validation, self.test)
        texts = [identified(self.build), own_code(self.build), *map(_digest, splits)]
        if (computes_in := precision()) != "float32":
            texts.append(computes_in)
        key = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
        _GIVEN[key] = self
        return key


def precision() -> str:
    """Returns the numeric precision of networks, from Keras' dtype policy, to pass on to runs.

    Raises:
        ValueError: If runs do not support it.
    """
    policy, known = keras.config.dtype_policy().name, get_args(Precision)
    if policy not in known:
        raise ValueError(
            f"Keras' dtype policy is {policy!r}, but runs support only {' or '.join(known)}. "
            "Set one of these, such as keras.config.set_dtype_policy('float32')."
        )
    return str(policy)


def given(key: str) -> Given:
    """Returns the inputs of a comparison.

    Raises:
        ValueError: If they were given in another process that has not written them for this one.
    """
    if key not in _GIVEN and (found := sent.read(key)) is not None:
        build, splits = found
        _GIVEN[key] = Given(build, *splits)
    if key not in _GIVEN:
        raise ValueError(
            "This run belongs to a comparison, whose model and data are known only to the "
            "program that called `mtk.compare`. Call `mtk.compare` again with the same arguments "
            "and `out`: it continues, or returns the results."
        )
    return _GIVEN[key]


def workload(key: str, data_seed: int = 0) -> Workload:
    """Returns the workload of a comparison.

    Args:
        key: The return value of `Given.key`.
        data_seed: Seed of the held-out shares.

    Raises:
        ValueError: If the inputs were given in another process, the model is not compiled, or data
            and model do not match.
    """
    found = given(key)
    built = _built(found.build, 0)
    is_workload = isinstance(built, Workload)
    if is_workload != (found.train is None):
        raise ValueError(
            "`build` returns a workload, which has its own data: leave out `train`, "
            "`validation` and `test`."
            if is_workload
            else (
                "`train` is missing. It can only be left out if `build` returns an "
                f"`mtk.workloads.Workload`. `build` returned: {type(built).__name__}"
            )
        )
    return built if is_workload else Compiled(found, built, data_seed)


def _built(build: Callable[..., Any], seed: int | None = None) -> Any:
    """Returns the result of `build`.

    Raises:
        ValueError: If `build` raises; the message has its error and the place.
    """
    try:
        return made(build, seed)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise ValueError(
            f"`build` raised {type(error).__name__}: {error} (line {place.lineno} of "
            f"{place.filename!r})"
        ) from error


class Compiled(Arrays):
    """A compiled model and its data, as a workload.

    Args:
        found: The inputs of the comparison.
        model: The model that `build` returned.
        data_seed: Seed of the held-out shares.

    Raises:
        ValueError: If the model is not compiled, or its class has its own training logic.
    """

    def __init__(self, found: Given, model: keras.Model, data_seed: int = 0):
        tasks = tasks_of(model)
        _check_hooks(type(model))
        if model.run_eagerly:
            raise ValueError(
                "The model is compiled with `run_eagerly=True`, but a comparison runs steps as "
                "graphs. Leave it out; a network that cannot run in a graph cannot be compared."
            )
        check_files(tasks)
        names = [task.name for task in tasks]
        known = symbolic_outputs(network(model))
        outputs = output_names(network(model), dict.fromkeys(names), known)
        compiled = CompiledTasks(tasks, outputs, listed=_listed(model, outputs, known))
        train, validation, test = map(
            compiled.of_tasks, (found.train, found.validation, found.test)
        )
        super().__init__(
            lambda seed=None: network(_built(found.build, seed)),
            tasks,
            train,
            validation,
            test,
            data_seed=data_seed,
            name="compared",
        )


def _check_hooks(kind: type[keras.Model]) -> None:
    """Checks that a model's class overrides no method that a comparison would ignore."""
    usual = MultiTaskModel if issubclass(kind, MultiTaskModel) else keras.Model
    if own := [name for name in _HOOKS if getattr(kind, name) is not getattr(usual, name)]:
        raise ValueError(
            f"The model class {kind.__name__} overrides {' and '.join(own)}, which a comparison "
            "does not call: it uses only the losses and metrics of `compile`. Move the additional "
            "logic there, or into layers (`add_loss`)."
        )


def optimizer(key: str, learning_rate: Any) -> keras.optimizers.Optimizer:
    """Returns a new optimizer like the one that the model was compiled with, Adam for a workload.

    Args:
        key: The return value of `Given.key`.
        learning_rate: Its learning rate; None for that of the model.

    Raises:
        ValueError: If it excludes variables of a specific network from weight decay.
    """
    found = given(key)
    # A workload is not built just for its optimizer, since it reads data.
    is_workload = found.train is None
    compiled = keras.optimizers.Adam() if is_workload else optimizer_of(_built(found.build, 0))
    if learning_rate is None:
        return compiled
    config = {**compiled.get_config(), "learning_rate": learning_rate}
    return _without_decay(type(compiled).from_config(config), compiled)


def _without_decay(
    made: keras.optimizers.Optimizer, like: keras.optimizers.Optimizer
) -> keras.optimizers.Optimizer:
    """Returns an optimizer that excludes the same variables from weight decay as another one."""
    if getattr(like, "_exclude_from_weight_decay", None):
        raise ValueError(
            "The optimizer excludes variable objects of one network from weight decay, but "
            "each run builds a new network. Exclude them by name: "
            "`exclude_from_weight_decay(var_names=['bias'])`."
        )
    if (pattern := getattr(like, "_exclude_from_weight_decay_pattern", None)) is not None:
        made.exclude_from_weight_decay(var_names=[pattern.pattern])
    return made


def optimizer_of(model: keras.Model) -> keras.optimizers.Optimizer:
    """Returns the optimizer that a model was compiled with.

    Raises:
        ValueError: If the model is not compiled, or the optimizer has a learning rate schedule or
            averages the weights.
    """
    found = getattr(model, "optimizer", None)
    found = getattr(found, "inner_optimizer", found)  # Keras adds loss scaling in float16.
    if found is None:
        raise ValueError(
            f"The model {getattr(model, 'name', model)!r} is not compiled. Compile it in `build`."
        )
    if averages(found):
        raise ValueError(
            "The optimizer averages the weights (`use_ema`), but a comparison measures the "
            "weights of the step selected on validation, not the averages. Leave `use_ema` out, or "
            "set `ema_overwrite_frequency`."
        )
    if not isinstance(found.get_config().get("learning_rate"), float):
        raise ValueError(
            "The model is compiled with a learning rate schedule, which a comparison cannot "
            "scale. Compile it with a constant learning rate."
        )
    return found


def weights_of(key: str) -> list[float] | None:
    """Returns the `loss_weights` that the model was compiled with; None if all are equal.

    Args:
        key: The return value of `Given.key`.
    """
    each = _loss_weights(key)
    return each if len(set(each)) > 1 else None


def scale_of(key: str) -> float:
    """Returns the sum of the weights in the compiled model's total loss.

    In Keras it is K without `loss_weights`; for a model with tasks, which averages, it is 1.

    Args:
        key: The return value of `Given.key`.
    """
    return sum(_loss_weights(key))


def _loss_weights(key: str) -> list[float]:
    found = given(key)
    if found.train is None:
        return [1.0]
    model = _built(found.build, 0)
    if isinstance(model, MultiTaskModel):
        each = model.loss_weights or [1.0]
    else:
        compiled = _compiled(model).get("loss_weights")
        outputs = symbolic_outputs(model)
        paths = nested_paths(outputs)
        compiled = argument_by_name("loss_weights", compiled, outputs, paths)
        names = _listed(model, output_names(model, model.loss, outputs), outputs)
        weights = dict(zip(names, weights_by_task(compiled, names), strict=True))
        each = [weights[task.name] for task in tasks_of(model)]
    return [float(weight) for weight in each]


def settings_of(key: str) -> dict[str, Any]:
    """Returns the settings of an `mtk` model other than its tasks, losses and optimizer.

    Args:
        key: The return value of `Given.key`.

    Returns:
        Values that differ from the defaults, by the name that a configuration binds.

    Raises:
        ValueError: If it refers to layers whose names differ in each new network.
    """
    found = given(key)
    if found.train is None:
        return {}
    told = _settings(_built(found.build, 0))
    if told != _settings(_built(found.build, 0)):
        raise ValueError(
            "`shared`, `heads` or `representation` of the model refers to layers whose names "
            "differ in each new network. Give these layers explicit names."
        )
    return told


def _settings(model: keras.Model) -> dict[str, Any]:
    if not isinstance(model, MultiTaskModel):
        return {}
    own = {**sharing.names(model._given._asdict()), "gradients": model.gradients}
    own |= dataclasses.asdict(model.compile_args)
    return {
        f"experiment.{kind.__name__}.{each.name}": own[each.name]
        for kind in (Sharing, Optimization, Numerics)
        for each in dataclasses.fields(kind)
        if each.name in own and own[each.name] != each.default
    }


def network(model: keras.Model) -> keras.Model:
    """Returns the network of a model."""
    return model.network if isinstance(model, MultiTaskModel) else model


def tasks_of(model: keras.Model) -> list[Task]:
    """Returns the tasks of a model that was compiled with Keras' arguments, or built with tasks.

    Raises:
        ValueError: If it is not compiled, or has no losses.
    """
    optimizer_of(model)
    if isinstance(model, MultiTaskModel) and model.tasks:
        return list(model.tasks)
    compiled = _compiled(model)
    metrics = (compiled.get("metrics"), compiled.get("weighted_metrics"))
    return compiled_tasks(network(model), model.loss, *metrics).tasks


def _listed(model: keras.Model, names: Sequence[str], outputs: Any) -> Sequence[str]:
    """Returns the names of outputs in the order of lists; none if that is the order of tasks."""
    if isinstance(model, MultiTaskModel) and model.tasks:
        return model._by_output.listed
    return listed_names(names, model.loss if outputs is None else outputs)


def _compiled(model: keras.Model) -> Mapping[str, Any]:
    """Returns the arguments of `compile` as objects; their serialized form may be ambiguous."""
    if isinstance(model, MultiTaskModel):
        return model._compiled.value
    return model._compile_config.config


def as_arrays(what: str, data: Any, model: Callable[[], keras.Model]) -> Any:
    """Returns a split as `(x, y)` or `(x, y, sample_weight)` of arrays, or unchanged if a share.

    Args:
        what: The split's name.
        data: Arrays; a `tf.data.Dataset` or `keras.utils.PyDataset` of batches; a share; or a
            function that returns one of these.
        model: Builds the model, which is needed to distinguish batches from examples.

    Raises:
        ValueError: If it is none of these, is infinite, or does not fit into memory.
    """
    if callable(data) and not isinstance(data, (tf.data.Dataset, keras.utils.PyDataset)):
        data = data()
    if isinstance(data, tf.data.Dataset):
        if int(data.cardinality()) == tf.data.INFINITE_CARDINALITY:
            raise ValueError(f"The {what} data set never ends: leave out `repeat()`.")
        batches = data if _is_batched(data, network(_built(model))) else data.batch(1024)
        return _joined(what, batches.as_numpy_iterator())
    if isinstance(data, keras.utils.PyDataset):
        try:
            number = data.num_batches
        except NotImplementedError:
            number = None
        if number is None:
            raise ValueError(
                f"The {what} PyDataset never ends. Define its `__len__`, the number of batches."
            )
        return _joined(what, (data[each] for each in range(number)))
    if isinstance(data, Iterator):
        raise ValueError(
            f"The {what} split is an iterator, which may be infinite. If it is finite, use "
            "`tf.data.Dataset.from_generator(...)`."
        )
    return data


def _is_batched(data: tf.data.Dataset, made: keras.Model) -> bool:
    shapes = [part.shape for part in tf.nest.flatten(data.element_spec)]
    inputs = getattr(made, "inputs", None)
    if inputs:
        return shapes[0].rank == len(tf.nest.flatten(inputs)[0].shape)
    # A subclassed model does not know its inputs. The parts of a batch have the same number of
    # rows; those of an example usually differ in shape, such as that of a scalar.
    return all(shape.rank is None or shape.rank > 0 for shape in shapes) and (
        len({shape[0] for shape in shapes if shape.rank}) <= 1
    )


def _joined(what: str, batches: Iterable[Any]) -> Any:
    every, size = [], 0
    for batch in batches:
        size += sum(np.asarray(part).nbytes for part in tf.nest.flatten(batch))
        # The parts are kept until the whole is complete.
        check_room(f"The {what} split, which a comparison keeps twice in memory,", 2 * size)
        every.append(batch)
    if not every:
        raise ValueError(f"The {what} split has no examples.")
    return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *every)


def _digest(data: Any) -> str:
    return of_arrays(*map(np.asarray, tf.nest.flatten(data)))
