"""Task weights as network inputs: drawn in training, given in evaluation."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from mtk.combiners import Combiner
from mtk.models import conditioning
from mtk.per_task import PerTask
from mtk.trainer import batch
from mtk.trainer.batch import SubBatch


def at_preference(network: keras.Model, inputs: Any) -> Any:
    """Returns inputs, with the preference of a conditioned network if they have no weights."""
    layer = conditioning.layer_of(network)
    if layer is None or conditioning.has_weights(network, inputs):
        return inputs
    return conditioning.with_same(inputs, layer.preference)


def check(network: keras.Model, combiner: Combiner, inputs: Any) -> bool:
    """Returns whether the network reads the combiner's weights; `inputs` may be specs.

    Raises:
        ValueError: If the network is conditioned and has no weights or two sources of weights, or
            its tasks are not those of the combiner; or if it is not conditioned and the combiner
            weighs examples.
    """
    if combiner.weighs_examples:
        conditioning.required(network)
    layer, name = conditioning.layer_of(network), type(combiner).__name__
    if layer is None:
        return False
    given = conditioning.has_weights(network, inputs)
    if given and combiner.draws_weights:
        raise ValueError(
            f"{name} draws the task weights that the network {network.name!r} reads in "
            f"training, but the batch contains other ones. Leave '{conditioning.INPUT}' out of the "
            "training data."
        )
    if not given and not combiner.draws_weights:
        raise ValueError(
            f"The network {network.name!r} reads task weights, but {name} has none before the "
            "step. Use mtk.combiners.RLW, which draws them, or provide them in the data as "
            f"'{conditioning.INPUT}'."
        )
    names = combiner.task_names or ()
    if combiner.draws_weights and set(layer.task_names) != {*names}:
        raise ValueError(
            f"The network {network.name!r} reads weights of the tasks {layer.task_names}, but "
            f"the model has {list(names)}. Condition the network with these `task_names`."
        )
    return combiner.draws_weights


def with_drawn(
    network: keras.Model, combiner: Combiner, sub_batches: Sequence[SubBatch]
) -> list[SubBatch]:
    """Adds the weights of a training batch's losses to the inputs of a conditioned network.

    A batch of any other network is unchanged.
    """
    if not check(network, combiner, sub_batches[0].inputs):
        return list(sub_batches)
    names = combiner.task_names or ()
    order = [names.index(name) for name in conditioning.required(network).task_names]
    found = []
    for part in sub_batches:
        drawn = combiner.next_weights(batch.size(part.inputs))
        inputs = conditioning.with_weights(part.inputs, tf.gather(drawn, order, axis=1))
        labels = part.labels
        if combiner.weighs_examples:
            importance = tf.unstack(drawn * len(names), axis=1)
            labels = [each._replace(importance=importance[each.task]) for each in labels]
        found.append(part._replace(inputs=inputs, labels=labels))
    return found


def front(
    model: keras.Model, data: Any, weights: Iterable[PerTask], batch_size: int = 256
) -> list[dict[str, Any]]:
    """Evaluates a model with a conditioned network at several choices of task weights.

    Args:
        model: A compiled `MultiTaskModel`, whose network is made by `mtk.models.conditioned`.
        data: A dataset of batches, in a form of `mtk.trainer.batch.parse`, or arrays `(x, y)`, as
            for `fit`. Task weights in it are ignored.
        weights: The choices, each by task name or in the order of the network's `task_names`; only
            ratios matter.
        batch_size: Batch size for arrays.

    Returns:
        For each choice the logs of `model.evaluate`, and under "weights" the weights by task, which
        sum to one.

    Raises:
        ValueError: If the network is not conditioned, or weights do not match its tasks.

    Example:
    ```python
    points = mtk.front(model, validation, [{"a": w, "b": 1 - w} for w in (0.1, 0.5, 0.9)])
    ```
    """
    network = model.network
    names = conditioning.required(network).task_names
    choices = [conditioning.normalized(each, names) for each in weights]
    batches = data
    if not isinstance(data, tf.data.Dataset):
        batches = tf.data.Dataset.from_tensor_slices(tuple(data)).batch(batch_size)

    def carrying(chosen: Sequence[float]) -> Callable[..., Any]:
        def of_share(inputs: Any, *rest: Any) -> tuple[Any, ...]:
            if conditioning.has_weights(network, inputs):
                inputs = conditioning.without_weights(inputs)
            return (conditioning.with_same(inputs, chosen), *rest)

        def of_batch(*parts: Any) -> Any:
            if len(parts) == 1 and isinstance(parts[0], Mapping):
                return {name: of_share(*share) for name, share in parts[0].items()}
            return of_share(*parts)

        return of_batch

    return [
        {
            "weights": dict(zip(names, chosen, strict=True)),
            **model.evaluate(batches.map(carrying(chosen)), verbose=0, return_dict=True),
        }
        for chosen in choices
    ]
