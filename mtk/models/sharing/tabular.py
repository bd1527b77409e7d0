"""Networks for tables that share in different ways, at a given number of parameters."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import keras
from keras import layers

from mtk.models.seeds import layer_seeds
from mtk.models.sharing.cgc import CGC, PLE
from mtk.models.sharing.dselect_k import DSelectK
from mtk.models.sharing.mmoe import MMoE

# Hidden layers between the columns and the towers, in all of these networks.
_DEPTH = 2


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns of a table.

    Attributes:
        numbers: How many numeric columns there are: the input `"numbers"`, `(B, numbers)`.
        categories: How many values each categorical column has: an input of its name, integers
            `(B,)`.
        embedding: Size of a category's embedding.

    Raises:
        ValueError: If there are no columns, or a number is too small.
    """

    numbers: int
    categories: Mapping[str, int] = dataclasses.field(default_factory=dict)
    embedding: int = 8

    def __post_init__(self) -> None:
        sizes = [self.embedding, *self.categories.values()]
        if self.numbers < 0 or min(sizes) < 1 or not (self.numbers or self.categories):
            raise ValueError(
                "A table has numeric or categorical columns, each category has 1 or more values, "
                f"and `embedding` is 1 or more. Received: {self}"
            )


def shared_bottom(
    columns: Columns,
    task_names: Sequence[str],
    width: int = 128,
    tower: int = 32,
    dropout: float = 0.0,
    seed: int | None = None,
) -> keras.Model:
    """Builds two shared layers and a tower for each task.

    Args:
        columns: The inputs.
        task_names: Names of the tasks.
        width: Units of a shared layer.
        tower: Units of the hidden layer of a tower.
        dropout: Rate behind each shared layer.
        seed: Makes the initial weights and the dropout reproducible.

    Returns:
        A model from `{"numbers": ..., <category>: ...}` to `{task: logits (B, 1)}`.
    """
    parts = _Parts(columns, tower, dropout, seed)
    hidden = parts.mlp(width, _DEPTH, "bottom")(parts.features)
    return parts.network(dict.fromkeys(task_names, hidden), "shared_bottom")


def mmoe(
    columns: Columns,
    task_names: Sequence[str],
    width: int = 64,
    num_experts: int = 4,
    tower: int = 32,
    dropout: float = 0.0,
    seed: int | None = None,
) -> keras.Model:
    """Builds `MMoE` with experts of two layers, and a tower for each task.

    Args:
        columns: The inputs.
        task_names: Names of the tasks.
        width: Units of an expert's layer.
        num_experts: Number of experts.
        tower: Units of the hidden layer of a tower.
        dropout: Rate behind each layer of an expert.
        seed: Makes the initial weights and the dropout reproducible.

    Returns:
        A model, as of `shared_bottom`.
    """
    parts = _Parts(columns, tower, dropout, seed)
    layer = MMoE(task_names, num_experts, parts.mlp(width, _DEPTH), parts.seed(), name="mmoe")
    return parts.network(layer(parts.features), "mmoe")


def dselect_k(
    columns: Columns,
    task_names: Sequence[str],
    width: int = 64,
    num_experts: int = 4,
    k: int = 2,
    entropy: float = 0.0,
    tower: int = 32,
    dropout: float = 0.0,
    seed: int | None = None,
) -> keras.Model:
    """Builds `DSelectK` with experts of two layers, and a tower for each task.

    Args:
        columns: The inputs.
        task_names: Names of the tasks.
        width: Units of an expert's layer.
        num_experts: Number of experts.
        k: Most experts of a task.
        entropy: Weight of the selectors' entropy in the loss.
        tower: Units of the hidden layer of a tower.
        dropout: Rate behind each layer of an expert.
        seed: Makes the initial weights and the dropout reproducible.

    Returns:
        A model, as of `shared_bottom`.
    """
    parts = _Parts(columns, tower, dropout, seed)
    expert = parts.mlp(width, _DEPTH)
    layer = DSelectK(
        task_names, num_experts, expert, k, entropy=entropy, seed=parts.seed(), name="dselect_k"
    )
    return parts.network(layer(parts.features), "dselect_k")


def cgc(
    columns: Columns,
    task_names: Sequence[str],
    width: int = 64,
    num_task_experts: int = 1,
    num_shared_experts: int = 2,
    tower: int = 32,
    dropout: float = 0.0,
    seed: int | None = None,
) -> keras.Model:
    """Builds `CGC` with experts of two layers, and a tower for each task.

    Args:
        columns: The inputs.
        task_names: Names of the tasks.
        width: Units of an expert's layer.
        num_task_experts: Number of experts of each task.
        num_shared_experts: Number of shared experts.
        tower: Units of the hidden layer of a tower.
        dropout: Rate behind each layer of an expert.
        seed: Makes the initial weights and the dropout reproducible.

    Returns:
        A model, as of `shared_bottom`.
    """
    parts = _Parts(columns, tower, dropout, seed)
    expert, numbers = parts.mlp(width, _DEPTH), (num_task_experts, num_shared_experts)
    layer = CGC(task_names, *numbers, expert, seed=parts.seed(), name="cgc")
    return parts.network(layer(parts.features), "cgc")


def ple(
    columns: Columns,
    task_names: Sequence[str],
    width: int = 64,
    num_task_experts: int = 1,
    num_shared_experts: int = 2,
    tower: int = 32,
    dropout: float = 0.0,
    seed: int | None = None,
) -> keras.Model:
    """Builds `PLE` of two levels, with experts of one layer, and a tower for each task.

    Args:
        columns: The inputs.
        task_names: Names of the tasks.
        width: Units of an expert.
        num_task_experts: Number of experts of each task in a level.
        num_shared_experts: Number of shared experts in a level.
        tower: Units of the hidden layer of a tower.
        dropout: Rate behind each expert.
        seed: Makes the initial weights and the dropout reproducible.

    Returns:
        A model, as of `shared_bottom`.
    """
    parts = _Parts(columns, tower, dropout, seed)
    numbers = (num_task_experts, num_shared_experts)
    levels = [
        CGC(
            task_names,
            *numbers,
            parts.mlp(width, 1),
            shared_gate=number < _DEPTH,
            seed=parts.seed(),
            name=f"level_{number}",
        )
        for number in range(1, _DEPTH + 1)
    ]
    return parts.network(PLE(levels, name="ple")(parts.features), "ple")


def width_for(parameters: int, build: Callable[[int], keras.Model]) -> int:
    """Returns the width with which a network's number of parameters comes closest to a given one.

    Args:
        parameters: The number.
        build: Makes a network from its width; wider networks have more parameters.

    Raises:
        ValueError: If a network of width 1 has more already.

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


class _Parts:
    """What these networks are made of.

    Attributes:
        features: The columns side by side, categories embedded, `(B, features)`.
    """

    def __init__(self, columns: Columns, tower: int, dropout: float, seed: int | None):
        self.tower, self.dropout = tower, dropout
        self.seeds = layer_seeds(seed)
        self.inputs: dict[str, keras.KerasTensor] = {}
        if columns.numbers:
            self.inputs["numbers"] = keras.Input((columns.numbers,), name="numbers")
        parts = list(self.inputs.values())
        for name, size in columns.categories.items():
            self.inputs[name] = keras.Input((), dtype="int32", name=name)
            initializer = keras.initializers.RandomUniform(seed=self.seed())
            embedding = layers.Embedding(
                size, columns.embedding, initializer, name=f"{name}_embedding"
            )
            parts.append(embedding(self.inputs[name]))
        self.features = layers.Concatenate(name="features")(parts) if parts[1:] else parts[0]

    def seed(self) -> int | None:
        return next(self.seeds)

    def dense(self, units: int, activation: str | None, name: str) -> layers.Layer:
        initializer = keras.initializers.GlorotUniform(seed=self.seed())
        return layers.Dense(units, activation, kernel_initializer=initializer, name=name)

    def mlp(self, width: int, depth: int, name: str = "expert") -> keras.Sequential:
        """Dense layers, each with dropout behind it."""
        parts = []
        for number in range(1, depth + 1):
            parts.append(self.dense(width, "relu", f"dense_{number}"))
            if self.dropout:
                parts.append(layers.Dropout(self.dropout, seed=self.seed()))
        return keras.Sequential(parts, name=name)

    def network(self, hidden: Mapping[str, keras.KerasTensor], name: str) -> keras.Model:
        """Puts a tower on the features of each task."""
        outputs = {}
        for task, x in hidden.items():
            x = self.dense(self.tower, "relu", f"{task}_hidden")(x)
            outputs[task] = self.dense(1, None, f"{task}_logits")(x)
        return keras.Model(self.inputs, outputs, name=name)
