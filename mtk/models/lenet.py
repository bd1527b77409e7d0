"""LeNet with one head per task, for small images of digits."""

from collections.abc import Sequence

import keras
from keras import layers

from mtk.models.seeds import layer_seeds


def lenet(
    input_shape: tuple[int, int, int],
    task_names: Sequence[str],
    num_classes: int = 10,
    channels: tuple[int, int] = (10, 20),
    kernel: int = 5,
    units: int = 50,
    dropout: float = 0.5,
    seed: int | None = None,
) -> keras.Model:
    """Builds the network.

    Shared layers: convolution, pooling, ReLU; convolution, channel dropout, pooling, ReLU; dense,
    ReLU. Each head: dense, ReLU, dropout, dense.

    Args:
        input_shape: Height, width and channels of an image.
        task_names: Names of the tasks, with one head each.
        num_classes: Number of outputs of a head.
        channels: Number of channels of the two convolutions.
        kernel: Their height and width.
        units: Number of units of the shared dense layer, named `"representation"`, and of each
            head's first.
        dropout: Rate of both dropouts, of whole channels and of the heads' units.
        seed: Makes the initial weights and the dropout reproducible.

    Returns:
        A model from images `(B, *input_shape)` to `{task: logits (B, num_classes)}`.

    Raises:
        ValueError: If the image is too small for the second pooling.

    Reference:
        LeCun et al., *Gradient-based learning applied to document recognition* (1998); with the
        layers of the public code of Sener & Koltun, *Multi-task learning as multi-objective
        optimization* (2018).
    """
    check_size(input_shape, kernel)
    made = LeNetLayers(channels, kernel, dropout, seed)
    x = inputs = keras.Input(input_shape, name="image")
    for layer in (*made.first(), *made.second(), *made.dense(units)):
        x = layer(x)
    outputs = {}
    for task in task_names:
        outputs[task] = x
        for layer in made.head(task, units, num_classes):
            outputs[task] = layer(outputs[task])
    return keras.Model(inputs, outputs, name="lenet")


class LeNetLayers:
    """Makes the layers of LeNet, from the image on.

    Args:
        channels: As for `lenet`.
        kernel: Height and width of a convolution.
        dropout: Rate of both dropouts.
        seed: Seed from which each layer derives its own.
        padding: Padding of the convolutions.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        kernel: int,
        dropout: float,
        seed: int | None,
        padding: str = "valid",
    ):
        self.channels, self.kernel, self.dropout = channels, kernel, dropout
        self.padding = padding
        self.seeds = layer_seeds(seed)

    def first(self) -> list[layers.Layer]:
        """Returns convolution, pooling, ReLU."""
        return [
            self._convolution(1),
            layers.MaxPooling2D(name="pooling_1"),
            layers.ReLU(name="relu_1"),
        ]

    def second(self) -> list[layers.Layer]:
        """Returns convolution, channel dropout, pooling, ReLU."""
        return [
            self._convolution(2),
            layers.SpatialDropout2D(
                self.dropout, seed=next(self.seeds), name="dropout_of_channels"
            ),
            layers.MaxPooling2D(name="pooling_2"),
            layers.ReLU(name="relu_2"),
        ]

    def dense(self, units: int) -> list[layers.Layer]:
        """Returns a dense layer with ReLU on all pixels."""
        return [layers.Flatten(name="flatten"), self._dense(units, "relu", "representation")]

    def head(self, task: str, units: int, num_classes: int) -> list[layers.Layer]:
        """Returns dense, ReLU, dropout, dense."""
        return [
            self._dense(units, "relu", f"{task}_hidden"),
            layers.Dropout(self.dropout, seed=next(self.seeds), name=f"{task}_dropout"),
            self._dense(num_classes, None, f"{task}_logits"),
        ]

    def _dense(self, size: int, activation: str | None, name: str) -> layers.Layer:
        initializer = keras.initializers.GlorotUniform(seed=next(self.seeds))
        return layers.Dense(size, activation, kernel_initializer=initializer, name=name)

    def _convolution(self, number: int) -> layers.Layer:
        return layers.Conv2D(
            self.channels[number - 1],
            self.kernel,
            padding=self.padding,
            kernel_initializer=keras.initializers.GlorotUniform(seed=next(self.seeds)),
            name=f"convolution_{number}",
        )


def check_size(input_shape: tuple[int, int, int], kernel: int) -> None:
    """Raises a ValueError if an image is too small for the second pooling."""
    height, width, _ = input_shape
    smallest = 3 * kernel + 1
    if min(height, width) < smallest:
        raise ValueError(
            f"An image of {height}x{width} pixels is too small for two convolutions of "
            f"{kernel}x{kernel}: it needs at least {smallest}x{smallest}."
        )
