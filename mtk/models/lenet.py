"""LeNet with one head a task, for small images of digits."""

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

    Shared: convolution, pooling, ReLU; convolution, dropout of channels, pooling, ReLU; dense,
    ReLU. A head: dense, ReLU, dropout, dense.

    Args:
        input_shape: Height, width and channels of an image.
        task_names: One head each.
        num_classes: Outputs of a head.
        channels: Of the two convolutions.
        kernel: Their height and width.
        units: Of the shared dense layer, called `"representation"`, and of each head's first.
        dropout: Rate of both dropouts, of whole channels and of the heads' units.
        seed: Makes the initial weights and the dropout reproducible.

    Returns:
        A model from images `(B, *input_shape)` to `{task: logits (B, num_classes)}`.

    Raises:
        ValueError: If nothing would be left of the image behind the second pooling.

    Reference:
        LeCun et al., *Gradient-based learning applied to document recognition* (1998); with the
        layers that Sener & Koltun, *Multi-task learning as multi-objective optimization* (2018)
        give it in their public code.
    """
    _check_size(input_shape, kernel)
    seeds = layer_seeds(seed)

    def dense(size: int, activation: str | None, name: str) -> layers.Layer:
        initializer = keras.initializers.GlorotUniform(seed=next(seeds))
        return layers.Dense(size, activation, kernel_initializer=initializer, name=name)

    def convolution(size: int, name: str) -> layers.Layer:
        initializer = keras.initializers.GlorotUniform(seed=next(seeds))
        return layers.Conv2D(size, kernel, kernel_initializer=initializer, name=name)

    inputs = keras.Input(input_shape, name="image")
    x = convolution(channels[0], "convolution_1")(inputs)
    x = layers.ReLU(name="relu_1")(layers.MaxPooling2D(name="pooling_1")(x))
    x = convolution(channels[1], "convolution_2")(x)
    x = layers.SpatialDropout2D(dropout, seed=next(seeds), name="dropout_of_channels")(x)
    x = layers.ReLU(name="relu_2")(layers.MaxPooling2D(name="pooling_2")(x))
    features = dense(units, "relu", "representation")(layers.Flatten(name="flatten")(x))
    outputs = {}
    for task in task_names:
        x = dense(units, "relu", f"{task}_hidden")(features)
        x = layers.Dropout(dropout, seed=next(seeds), name=f"{task}_dropout")(x)
        outputs[task] = dense(num_classes, None, f"{task}_logits")(x)
    return keras.Model(inputs, outputs, name="lenet")


def _check_size(input_shape: tuple[int, int, int], kernel: int) -> None:
    height, width, _ = input_shape
    smallest = 3 * kernel + 1
    if min(height, width) < smallest:
        raise ValueError(
            f"An image of {height}x{width} pixels is too small for two convolutions of "
            f"{kernel}x{kernel}: it needs at least {smallest}x{smallest}."
        )
