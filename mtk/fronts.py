"""The front of one run: a model with a conditioned network at several choices of task weights."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from mtk.models import conditioning
from mtk.per_task import PerTask
from mtk.trainer import MultiTaskModel


def front(
    model: MultiTaskModel, data: Any, weights: Iterable[PerTask], batch_size: int = 256
) -> list[dict[str, Any]]:
    """Evaluates a model with a conditioned network at several choices of task weights.

    Args:
        model: A compiled model, whose network is made by `mtk.models.conditioned`.
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
