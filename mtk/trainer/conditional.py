"""Task weights as network inputs: drawn in training, given in evaluation."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from mtk.combiners import Combiner
from mtk.models import conditioning
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
