"""Trunks of the networks in `networks.py`: for tables and for three kinds of images."""

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import keras
from keras import layers

from mtk.models.deeplab import Head, HeadLayers, check_stride, enlarged
from mtk.models.imagenet import load_imagenet
from mtk.models.lenet import LeNetLayers, check_size
from mtk.models.resnet import resnet18
from mtk.models.resnet50 import resnet50
from mtk.models.seeds import layer_seeds

# Layers of experts between the features and the towers, in all of these networks.
DEPTH = 2

# Features early in a block of convolutions, and at its end.
Block: TypeAlias = tuple[keras.KerasTensor, keras.KerasTensor]


class Parts(abc.ABC):
    """The building blocks of networks on a trunk.

    Args:
        tower: Units of the hidden layer of a tower.
        dropout: Rate of the dropout layers.
        num_outputs: Number of outputs of a tower.
        seed: Seed from which each layer derives its own.

    Attributes:
        inputs: Inputs of the network.
        features: Inputs of experts and gates, `(B, ..., features)`.
        synchronized: Whether batch norm takes its statistics over all replicas.
    """

    inputs: keras.KerasTensor | dict[str, keras.KerasTensor]
    features: keras.KerasTensor
    synchronized: bool = True

    def __init__(self, tower: int, dropout: float, num_outputs: int, seed: int | None):
        self.tower, self.dropout, self.num_outputs = tower, dropout, num_outputs
        self.seeds = layer_seeds(seed)

    def seed(self) -> int | None:
        return next(self.seeds)

    @abc.abstractmethod
    def expert(self, width: int, name: str = "expert") -> keras.Sequential:
        """Returns all levels, stacked."""

    @abc.abstractmethod
    def level(self, width: int, number: int, name: str = "expert") -> keras.Sequential:
        """Returns one of `DEPTH` levels, counted from 1."""

    @abc.abstractmethod
    def head(self, task: str) -> Sequence[Callable[[keras.KerasTensor], keras.KerasTensor]]:
        """Returns the layers of a tower."""

    def blocks(self) -> list[Block]:
        """Returns blocks of convolutions; the size of each divides that of the previous one.

        Raises:
            ValueError: If the trunk has no convolutions.
        """
        raise ValueError(
            "MTAN masks convolutional features, but this trunk has none. Use `sharing.LeNet`, "
            "`ResNet18` or `DeepLab`, or another sharing architecture for tables."
        )

    def pooled(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Pools features of the last block's height and width to `(B, features)`."""
        raise NotImplementedError

    def network(self, hidden: Mapping[str, keras.KerasTensor], name: str) -> keras.Model:
        """Adds a tower to the features of each task."""
        outputs = {}
        for task, x in hidden.items():
            for layer in self.head(task):
                x = layer(x)
            outputs[task] = x
        return keras.Model(self.inputs, outputs, name=name)


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns of a table. An expert's levels are dense layers, each followed by dropout.

    Attributes:
        numbers: Number of numeric columns: the input `"numbers"`, `(B, numbers)`.
        categories: Number of values of each categorical column: an input of its name, integers
            `(B,)`.
        embedding: Size of a category's embedding.
        outputs: Number of outputs of each task, by name; 1 by default.

    Raises:
        ValueError: If there are no columns, or a number is too small.
    """

    numbers: int
    categories: Mapping[str, int] = dataclasses.field(default_factory=dict)
    embedding: int = 8
    outputs: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        sizes = [self.embedding, *self.categories.values(), *self.outputs.values()]
        if self.numbers < 0 or min(sizes) < 1 or not (self.numbers or self.categories):
            raise ValueError(
                "A table needs numeric or categorical columns, each category 1 or more values, "
                f"and `embedding` and `outputs` must be 1 or more. Received: {self}"
            )

    def parts(self, tower: int, dropout: float, seed: int | None) -> Parts:
        return _ColumnsParts(self, tower, dropout, seed)


@dataclasses.dataclass(frozen=True)
class LeNet:
    """Small images. An expert is the trunk of `mtk.models.lenet`; each level ends with a pooling.

    Gates read all pixels; those between the levels of `PLE` read the mean over them.

    Attributes:
        input_shape: Height, width and channels of an image.
        num_classes: Number of outputs of a tower.
        channels: Number of channels of the two convolutions.
        kernel: Their height and width.

    Raises:
        ValueError: If the image is too small for the second pooling.
    """

    input_shape: tuple[int, int, int]
    num_classes: int = 10
    channels: tuple[int, int] = (10, 20)
    kernel: int = 5

    def __post_init__(self) -> None:
        check_size(self.input_shape, self.kernel)

    def parts(self, tower: int, dropout: float, seed: int | None) -> Parts:
        return _LeNetParts(self, tower, dropout, seed)


@dataclasses.dataclass(frozen=True)
class ResNet18:
    """Images, with the features of `mtk.models.resnet18`, which all tasks share.

    Experts are dense layers on these features, as on the columns of a table.

    Attributes:
        input_shape: Height, width and channels of an image; for `mtan` multiples of 8 pixels.
        num_classes: Outputs of a tower.
        widths: Channels of the four stages.
    """

    input_shape: tuple[int, int, int]
    num_classes: int = 2
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)

    def parts(self, tower: int, dropout: float, seed: int | None) -> Parts:
        return _ResNetParts(self, tower, dropout, seed)


@dataclasses.dataclass(frozen=True)
class DeepLab:
    """Images with dense predictions: the dilated ResNet-50 of `mtk.models.deeplab`.

    All tasks share its features. Convolutional experts read them; gates read their mean. A tower is
    a DeepLab head, with the channels and the dropout of the network's arguments.

    Attributes:
        input_shape: Height, width and channels of an image, multiples of the output stride.
        outputs: Number of channels that each task predicts, by name.
        weights: ImageNet weights of the trunk; see `mtk.models.deeplab`.
        output_stride: Ratio of the image size to that of the features.
        blocks: Number of blocks of the four stages.
        widths: Channels of the four stages.
        head: Hyperparameters of the heads.
        synchronized: Whether batch norm takes its statistics over all replicas.

    Raises:
        ValueError: If the image's size is not a multiple of the output stride or, when a network is
            built, if `outputs` do not match its tasks.
    """

    input_shape: tuple[int, int, int]
    outputs: Mapping[str, int]
    weights: str | None = None
    output_stride: int = 8
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    head: Head = Head()
    synchronized: bool = True

    def __post_init__(self) -> None:
        check_stride(self.input_shape, self.output_stride)

    def parts(self, tower: int, dropout: float, seed: int | None) -> Parts:
        return _DeepLabParts(self, tower, dropout, seed)


Trunk: TypeAlias = Columns | LeNet | ResNet18 | DeepLab


class _DenseParts(Parts):
    """Experts of dense layers."""

    def expert(self, width: int, name: str = "expert") -> keras.Sequential:
        return self._mlp(width, DEPTH, name)

    def level(self, width: int, number: int, name: str = "expert") -> keras.Sequential:
        del number
        return self._mlp(width, 1, name)

    def head(self, task: str) -> list[layers.Layer]:
        return [
            self._dense(self.tower, "relu", f"{task}_hidden"),
            self._dense(self.outputs_of(task), None, f"{task}_logits"),
        ]

    def outputs_of(self, task: str) -> int:
        """Returns the number of outputs of a task."""
        del task
        return self.num_outputs

    def _dense(self, units: int, activation: str | None, name: str) -> layers.Layer:
        initializer = keras.initializers.GlorotUniform(seed=self.seed())
        return layers.Dense(units, activation, kernel_initializer=initializer, name=name)

    def _mlp(self, width: int, depth: int, name: str) -> keras.Sequential:
        """Returns dense layers, each followed by dropout."""
        parts = []
        for number in range(1, depth + 1):
            parts.append(self._dense(width, "relu", f"dense_{number}"))
            if self.dropout:
                parts.append(layers.Dropout(self.dropout, seed=self.seed()))
        return keras.Sequential(parts, name=name)


class _ColumnsParts(_DenseParts):
    """The concatenated columns, with categories embedded."""

    def __init__(self, columns: Columns, tower: int, dropout: float, seed: int | None):
        super().__init__(tower, dropout, 1, seed)
        self.columns = columns
        self.inputs = {}
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

    def outputs_of(self, task: str) -> int:
        return self.columns.outputs.get(task, self.num_outputs)


class _LeNetParts(Parts):
    """Experts that read flattened pixels, so that their gates read each pixel."""

    def __init__(self, trunk: LeNet, tower: int, dropout: float, seed: int | None):
        super().__init__(tower, dropout, trunk.num_classes, seed)
        self.trunk = trunk
        self.made = self._layers("valid")
        self.inputs = keras.Input(trunk.input_shape, name="image")
        self.features = layers.Flatten(name="pixels")(self.inputs)

    def expert(self, width: int, name: str = "expert") -> keras.Sequential:
        return keras.Sequential([*self._first(), *self._second(width)], name=name)

    def level(self, width: int, number: int, name: str = "expert") -> keras.Sequential:
        return keras.Sequential(self._first() if number == 1 else self._second(width), name=name)

    def head(self, task: str) -> list[layers.Layer]:
        return self.made.head(task, self.tower, self.num_outputs)

    def blocks(self) -> list[Block]:
        # Convolutions keep the size: masks of the second block read the output of the first.
        made = self._layers("same")
        convolution, pooling, relu = made.first()
        early = convolution(self.inputs)
        blocks = [(early, relu(early))]
        convolution, dropout, _, relu = made.second()
        early = dropout(convolution(pooling(blocks[0][1])))
        return [*blocks, (early, relu(early))]

    def pooled(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return layers.Flatten()(layers.MaxPooling2D()(x))

    def _layers(self, padding: str) -> LeNetLayers:
        trunk = self.trunk
        return LeNetLayers(trunk.channels, trunk.kernel, self.dropout, self.seed(), padding)

    def _first(self) -> list[layers.Layer]:
        return [layers.Reshape(self.trunk.input_shape, name="image"), *self.made.first()]

    def _second(self, width: int) -> list[layers.Layer]:
        return [*self.made.second(), *self.made.dense(width)]


class _ResNetParts(_DenseParts):
    """Dense experts on a shared ResNet-18."""

    def __init__(self, trunk: ResNet18, tower: int, dropout: float, seed: int | None):
        super().__init__(tower, dropout, trunk.num_classes, seed)
        # Its head stays unused.
        self.resnet = resnet18(trunk.input_shape, ["no"], widths=trunk.widths, seed=self.seed())
        self.inputs = self.resnet.input
        self.features = self._output("representation")

    def blocks(self) -> list[Block]:
        return [
            (self._output(f"{stage}_block_1_2_relu"), self._output(f"{stage}_block_2_2_relu"))
            for stage in ("stage_1", "stage_2", "stage_3", "stage_4")
        ]

    def pooled(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return layers.Flatten()(layers.AveragePooling2D(4)(x))

    def _output(self, layer: str) -> keras.KerasTensor:
        return self.resnet.get_layer(layer).output


class _DeepLabParts(Parts):
    """Convolutional experts on a shared dilated ResNet-50."""

    def __init__(self, trunk: DeepLab, tower: int, dropout: float, seed: int | None):
        super().__init__(tower, dropout, 0, seed)
        self.trunk, self.synchronized = trunk, trunk.synchronized
        head = Head(tower, trunk.head.rates, dropout)
        self.made = HeadLayers(self.seeds, head, trunk.synchronized)
        self.inputs = keras.Input(trunk.input_shape, name="image")
        stages = (trunk.output_stride, trunk.blocks, trunk.widths, trunk.synchronized)
        self.features = resnet50(self.inputs, self.seeds, *stages)

    def expert(self, width: int, name: str = "expert") -> keras.Sequential:
        return keras.Sequential([x for _ in range(DEPTH) for x in self._level(width)], name=name)

    def level(self, width: int, number: int, name: str = "expert") -> keras.Sequential:
        del number
        return keras.Sequential(self._level(width), name=name)

    def head(self, task: str) -> list[Callable[[keras.KerasTensor], keras.KerasTensor]]:
        channels, stride = self.trunk.outputs[task], self.trunk.output_stride
        return [lambda x: self.made(x, channels, task), enlarged(stride, task)]

    def blocks(self) -> list[Block]:
        resnet = keras.Model(self.inputs, self.features)
        return [
            tuple(
                resnet.get_layer(f"conv{stage}_block{name}").output
                for name in ("1_2_relu", f"{number}_out")
            )
            for stage, number in enumerate(self.trunk.blocks, start=2)
        ]

    def pooled(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return x

    def network(self, hidden: Mapping[str, keras.KerasTensor], name: str) -> keras.Model:
        if set(hidden) != set(self.trunk.outputs):
            raise ValueError(
                "`outputs` of `sharing.DeepLab` must give the number of channels for each task "
                f"of the network. Received: {dict(self.trunk.outputs)} for the tasks {list(hidden)}"
            )
        network = super().network(hidden, name)
        if self.trunk.weights is not None:
            load_imagenet(network, self.trunk.weights)
        return network

    def _level(self, width: int) -> list[layers.Layer]:
        initializer = keras.initializers.HeNormal(seed=self.seed())
        norm = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, synchronized=self.synchronized)
        convolution = layers.Conv2D(
            width, 3, padding="same", use_bias=False, kernel_initializer=initializer
        )
        return [convolution, norm, layers.ReLU()]
