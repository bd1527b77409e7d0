"""The tasks that `compile` describes in Keras' way: losses, metrics and weights by output."""

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from mtk.tasks import Task


def compiled_tasks(
    network: keras.Model, loss: Any, metrics: Any = None, weighted_metrics: Any = None
) -> list[Task]:
    """Makes a task of each output that has a loss.

    Args:
        network: The network.
        loss: `{output: loss}`; a list in the order of the outputs; or one for all of them. An
            output whose loss is None is no task.
        metrics: `{output: metric or list of metrics}`, or a list of these in the order of the
            outputs. With one output a list of its metrics.
        weighted_metrics: As `metrics`.

    Returns:
        The tasks, in the order of the outputs. Their sample weights are Keras': they are no masks.

    Raises:
        ValueError: If a name or a number does not fit the outputs, or no output has a loss.
    """
    names = _output_names(network, loss)
    losses = by_output("loss", loss, names, network)
    found = _metrics("metrics", metrics, names, network)
    weighted = _metrics("weighted_metrics", weighted_metrics, names, network)
    without = sorted(n for n in names if losses.get(n) is None and (found[n] or weighted[n]))
    if without or not any(each is not None for each in losses.values()):
        what = f"The outputs {without} have metrics and" if without else "All outputs have"
        raise ValueError(f"{what} no loss. Give each output that is to be learned one, by `loss=`.")
    if _is_sequence(_outputs(network)) and len(names) > sum(x is not None for x in losses.values()):
        raise ValueError(
            "The network's outputs are a list, of which each needs a loss. Give it a dict of "
            f"outputs, or leave out those without a loss. Received: loss={loss!r}"
        )
    return [
        Task(n, losses[n], found[n], weighted_metrics=weighted[n], mask_zero=False)
        for n in names
        if losses.get(n) is not None
    ]


def loss_weights(given: Any, names: Sequence[str]) -> list[float]:
    """Returns the weight of each task in the sum of the losses, one by default.

    Args:
        given: `{task: weight}`, or a list in the order of the tasks, or None.
        names: Names of the tasks.

    Raises:
        ValueError: If a name is unknown, or a weight is negative or not finite, or all are zero.
    """
    found = by_output("loss_weights", given, names)
    weights = [1.0 if found.get(name) is None else float(found[name]) for name in names]
    if not all(0 <= weight < math.inf for weight in weights) or not sum(weights):
        raise ValueError(
            "`loss_weights` are finite numbers, none negative and not all zero. "
            f"Received: {given!r}"
        )
    return weights


def by_output(
    what: str, given: Any, names: Sequence[str], network: keras.Model | None = None
) -> dict[str, Any]:
    """Returns an argument of `compile` by the name of the output.

    Args:
        what: Name of the argument.
        given: A dict, a list in the order of the outputs, one for all, or None.
        names: Names of the outputs.
        network: The network, to tell what its outputs are.

    Raises:
        ValueError: If a name is unknown, or a list has another length.
    """
    if isinstance(given, Mapping):
        unknown = [str(name) for name in given if name not in names]
        if unknown:
            close = difflib.get_close_matches(unknown[0], names, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise ValueError(
                f"`{what}` names {unknown}, but the network's outputs are {list(names)}.{hint}"
            )
        return dict(given)
    if _is_sequence(given):
        if len(given) != len(names):
            raise ValueError(
                f"`{what}` is a list of {len(given)} entries, but the network has {len(names)} "
                f"outputs: {list(names)}. Give an entry for each, or a dict by their names."
            )
        if network is not None and isinstance(_outputs(network), Mapping):
            raise ValueError(
                f"The network's outputs are a dict, so `{what}` is one too, with keys among "
                f"{list(names)}. Received: {given!r}"
            )
        return dict(zip(names, given, strict=True))
    return {} if given is None else dict.fromkeys(names, given)


def _metrics(
    what: str, given: Any, names: Sequence[str], network: keras.Model
) -> dict[str, list[Any]]:
    if len(names) == 1 and _is_sequence(given):
        flat = all(not _is_sequence(each) for each in given)
        found = {names[0]: given if flat else given[0]}
    else:
        found = by_output(what, given, names, network)
    each = {name: found.get(name) for name in names}
    return {
        name: list(own) if isinstance(own, (list, tuple)) else [] if own is None else [own]
        for name, own in each.items()
    }


def _output_names(network: keras.Model, loss: Any) -> list[str]:
    outputs = _outputs(network)
    if isinstance(outputs, Mapping):
        return list(outputs)
    if outputs is not None:
        return getattr(network, "output_names", None) or [network.layers[-1].name]
    if isinstance(loss, Mapping):
        return list(loss)
    if _is_sequence(loss):
        return [f"output_{number}" for number in range(1, len(loss) + 1)]
    raise ValueError(
        f"The network {network.name!r} does not tell its outputs before it is called. Give `loss` "
        "as a dict by their names, {output: loss}."
    )


def _outputs(network: keras.Model) -> Any:
    """Returns the symbolic outputs of a functional or sequential network, else None."""
    if isinstance(network, keras.Sequential) and network.built:
        return network.outputs[0]
    try:
        outputs = network.output
    except (AttributeError, ValueError):
        return None
    is_one = isinstance(outputs, (list, tuple)) and len(outputs) == 1
    return outputs[0] if is_one else outputs


def _is_sequence(given: Any) -> bool:
    return isinstance(given, (list, tuple))
