"""Finds which variables of a network its tasks share."""

from collections.abc import Sequence
from typing import Any

import keras
from absl import logging

from mtk import sharing
from mtk.combiners import Combiner
from mtk.sharing.probe import Forward


def find(
    network: keras.Model,
    task_names: Sequence[str],
    spec: Any,
    forward: Forward,
    given: sharing.Given,
    run_eagerly: bool,
) -> sharing.Structure:
    """Finds the structure from a graph of the network.

    For a network that only runs eagerly it is empty, to be completed by the user's description.

    Args:
        network: A built network.
        task_names: The K names.
        spec: Spec of a batch; None before the first one.
        forward: Computes the task losses of a batch.
        given: The description.
        run_eagerly: Whether the network may only run eagerly.

    Raises:
        ValueError: If there is no batch yet, or neither a graph nor a description.
    """
    if spec is None:
        raise ValueError(
            "Shared variables are determined by a forward pass, but the model has not seen "
            "a batch yet. Call `model.inspect(batch_or_dataset)` or `fit` first."
        )
    try:
        return sharing.analyze(network, task_names, spec, forward, given.representation)
    except (AttributeError, NotImplementedError, TypeError) as error:
        if not run_eagerly:
            raise
        if given.shared is None and given.heads is None:
            raise ValueError(
                "Shared variables are determined from a graph of the network, but "
                f"{network.name!r} cannot run in a graph. List the shared layers: "
                "MultiTaskModel(network, ..., shared=[layer, ...])."
            ) from error
        return sharing.unread(network, task_names, given)


def chosen(found: sharing.Structure, given: sharing.Given, combiner: Combiner) -> sharing.Structure:
    """Corrects a structure by the user's description, and binds the combiner to it.

    Raises:
        ValueError: If the description does not match the network, or no shared variable is where
            the combiner takes gradients.
    """
    found = sharing.override(found, given)
    logging.info("Variables shared by the tasks:\n%s", found.summary())
    names, at = tuple(found.heads), combiner.at
    if at not in ("parameters", "representation") and len(names) > 1 and found.shared:
        paths = [v.path for v in found.layer_variables(at)]
        logging.info("%s takes gradients at %s", type(combiner).__name__, paths)
    combiner.bind(names, [v.path for v in found.shared])
    return found
