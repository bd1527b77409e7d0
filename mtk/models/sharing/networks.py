"""Networks that share in different ways, on the same trunk, of a given number of parameters."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from mtk.models.sharing.cgc import CGC, PLE
from mtk.models.sharing.cross_stitch import CrossStitch
from mtk.models.sharing.dselect_k import DSelectK
from mtk.models.sharing.mmoe import MMoE
from mtk.models.sharing.mtan import MTAN
from mtk.models.sharing.trunks import DEPTH, Trunk


def shared_bottom(
    trunk: Trunk,
    task_names: Sequence[str],
    width: int = 128,
    tower: int = 32,
    dropout: float = 0.0,
    seed: int | None = None,
) -> keras.Model:
    """Builds one two-level expert for all tasks, and a tower for each.

    Args:
        trunk: `Columns`, `LeNet`, `ResNet18` or `DeepLab`: inputs, and layers of the experts.
        task_names: Names of the tasks.
        width: Units of the dense layers.
        tower: Units of the hidden layer of a tower.
        dropout: Rate of the dropout layers.
        seed: Makes the initial weights and the dropout reproducible.

    Returns:
        A model from the inputs of the trunk to `{task: logits (B, outputs)}`.
    """
    parts = trunk.parts(tower, dropout, seed)
    hidden = parts.expert(width, "bottom")(parts.features)
    return parts.network(dict.fromkeys(task_names, hidden), "shared_bottom")


def mmoe(
    trunk: Trunk,
    task_names: Sequence[str],
    width: int = 64,
    num_experts: int = 4,
    tower: int = 32,
    dropout: float = 0.0,
    seed: int | None = None,
) -> keras.Model:
    """Builds `MMoE` with two-level experts, and a tower for each task.

    Args:
        trunk: `Columns`, `LeNet`, `ResNet18` or `DeepLab`: inputs, and layers of the experts.
        task_names: Names of the tasks.
        width: Units of an expert's dense layers.
        num_experts: Number of experts.
        tower: Units of the hidden layer of a tower.
        dropout: Rate of the dropout layers.
        seed: Makes the initial weights and the dropout reproducible.

    Returns:
        A model, as for `shared_bottom`.
    """
    parts = trunk.parts(tower, dropout, seed)
    layer = MMoE(task_names, num_experts, parts.expert(width), parts.seed(), name="mmoe")
    return parts.network(layer(parts.features), "mmoe")


def dselect_k(
    trunk: Trunk,
    task_names: Sequence[str],
    width: int = 64,
    num_experts: int = 4,
    k: int = 2,
    entropy: float = 0.0,
    tower: int = 32,
    dropout: float = 0.0,
    seed: int | None = None,
) -> keras.Model:
    """Builds `DSelectK` with two-level experts, and a tower for each task.

    Args:
        trunk: `Columns`, `LeNet`, `ResNet18` or `DeepLab`: inputs, and layers of the experts.
        task_names: Names of the tasks.
        width: Units of an expert's dense layers.
        num_experts: Number of experts.
        k: Largest number of experts of a task.
        entropy: Weight of the selectors' entropy in the loss.
        tower: Units of the hidden layer of a tower.
        dropout: Rate of the dropout layers.
        seed: Makes the initial weights and the dropout reproducible.

    Returns:
        A model, as for `shared_bottom`.
    """
    parts = trunk.parts(tower, dropout, seed)
    expert = parts.expert(width)
    layer = DSelectK(
        task_names, num_experts, expert, k, entropy=entropy, seed=parts.seed(), name="dselect_k"
    )
    return parts.network(layer(parts.features), "dselect_k")


def cgc(
    trunk: Trunk,
    task_names: Sequence[str],
    width: int = 64,
    num_task_experts: int = 1,
    num_shared_experts: int = 2,
    tower: int = 32,
    dropout: float = 0.0,
    seed: int | None = None,
) -> keras.Model:
    """Builds `CGC` with two-level experts, and a tower for each task.

    Args:
        trunk: `Columns`, `LeNet`, `ResNet18` or `DeepLab`: inputs, and layers of the experts.
        task_names: Names of the tasks.
        width: Units of an expert's dense layers.
        num_task_experts: Number of experts of each task.
        num_shared_experts: Number of shared experts.
        tower: Units of the hidden layer of a tower.
        dropout: Rate of the dropout layers.
        seed: Makes the initial weights and the dropout reproducible.

    Returns:
        A model, as for `shared_bottom`.
    """
    parts = trunk.parts(tower, dropout, seed)
    expert, numbers = parts.expert(width), (num_task_experts, num_shared_experts)
    layer = CGC(task_names, *numbers, expert, seed=parts.seed(), name="cgc")
    return parts.network(layer(parts.features), "cgc")


def ple(
    trunk: Trunk,
    task_names: Sequence[str],
    width: int = 64,
    num_task_experts: int = 1,
    num_shared_experts: int = 2,
    tower: int = 32,
    dropout: float = 0.0,
    seed: int | None = None,
) -> keras.Model:
    """Builds `PLE` of two levels, with one-level experts in each, and a tower for each task.

    Args:
        trunk: `Columns`, `LeNet`, `ResNet18` or `DeepLab`: inputs, and layers of the experts.
        task_names: Names of the tasks.
        width: Units of an expert's dense layers.
        num_task_experts: Number of experts of each task in a level.
        num_shared_experts: Number of shared experts in a level.
        tower: Units of the hidden layer of a tower.
        dropout: Rate of the dropout layers.
        seed: Makes the initial weights and the dropout reproducible.

    Returns:
        A model, as for `shared_bottom`.
    """
    parts = trunk.parts(tower, dropout, seed)
    numbers = (num_task_experts, num_shared_experts)
    levels = [
        CGC(
            task_names,
            *numbers,
            parts.level(width, number),
            shared_gate=number < DEPTH,
            seed=parts.seed(),
            name=f"level_{number}",
        )
        for number in range(1, DEPTH + 1)
    ]
    return parts.network(PLE(levels, name="ple")(parts.features), "ple")


def cross_stitch(
    trunk: Trunk,
    task_names: Sequence[str],
    width: int = 64,
    same: float = 0.9,
    tower: int = 32,
    dropout: float = 0.0,
    seed: int | None = None,
) -> keras.Model:
    """Builds two levels for each task, a `CrossStitch` after each level, and a tower for each task.

    Args:
        trunk: `Columns`, `LeNet`, `ResNet18` or `DeepLab`: inputs, and layers of the levels.
        task_names: Names of the tasks.
        width: Units of a dense layer of a level.
        same: Initial weight of a task's own features.
        tower: Units of the hidden layer of a tower.
        dropout: Rate of the dropout layers.
        seed: Makes the initial weights and the dropout reproducible.

    Returns:
        A model, as for `shared_bottom`.
    """
    parts = trunk.parts(tower, dropout, seed)
    hidden = dict.fromkeys(task_names, parts.features)
    for number in range(1, DEPTH + 1):
        for task, x in hidden.items():
            hidden[task] = parts.level(width, number, f"{task}_level_{number}")(x)
        hidden = CrossStitch(task_names, same, name=f"stitch_{number}")(hidden)
    return parts.network(hidden, "cross_stitch")


def mtan(
    trunk: Trunk,
    task_names: Sequence[str],
    width: int = 64,
    tower: int = 32,
    dropout: float = 0.0,
    seed: int | None = None,
) -> keras.Model:
    """Builds shared convolutions, an `MTAN` at each block, and a tower for each task.

    LeNet's convolutions keep the image size here, since masks read the output of the previous
    block; its dense layer is omitted, since each task has its own features.

    Args:
        trunk: `LeNet`, `ResNet18` or `DeepLab`.
        task_names: Names of the tasks.
        width: Number of channels that a task selects from a block.
        tower: Units of the hidden layer of a tower.
        dropout: Rate of the dropout layers.
        seed: Makes the initial weights and the dropout reproducible.

    Returns:
        A model, as for `shared_bottom`.

    Raises:
        ValueError: If the trunk has no convolutions.
    """
    parts = trunk.parts(tower, dropout, seed)
    blocks = parts.blocks()
    taken: Any = None
    for number, (early, late) in enumerate(blocks, start=1):
        after = blocks[number : number + 1]
        pool = late.shape[1] // after[0][1].shape[1] if after else 1
        layer = MTAN(
            task_names, width, pool, parts.synchronized, parts.seed(), name=f"block_{number}"
        )
        taken = layer(early, late, taken)
    return parts.network({task: parts.pooled(x) for task, x in taken.items()}, "mtan")


def width_for(parameters: int, build: Callable[[int], keras.Model]) -> int:
    """Returns the width with which a network's number of parameters is closest to a given one.

    Args:
        parameters: The number of parameters.
        build: Makes a network from its width; wider networks have more parameters.

    Raises:
        ValueError: If a network of width 1 has more parameters.

    Example:
    ```python
    width = width_for(40_000, lambda width: mmoe(columns, ["a", "b"], width))
    network = mmoe(columns, ["a", "b"], width, seed=0)
    ```
    """
    counts = {1: build(1).count_params()}
    if counts[1] > parameters:
        raise ValueError(
            f"A network of width 1 has {counts[1]} parameters, more than {parameters}."
        )
    below, above = 1, 2
    while counts.setdefault(above, build(above).count_params()) < parameters:
        below, above = above, 2 * above
    while above - below > 1:
        middle = (below + above) // 2
        counts[middle] = build(middle).count_params()
        below, above = (middle, above) if counts[middle] < parameters else (below, middle)
    return min((below, above), key=lambda width: abs(counts[width] - parameters))
