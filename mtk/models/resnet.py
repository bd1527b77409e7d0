"""Residual networks with one head per task."""

from collections.abc import Sequence

import keras
from keras import layers

from mtk.models.seeds import layer_seeds


def resnet18(
    input_shape: tuple[int, int, int],
    task_names: Sequence[str],
    num_classes: int = 2,
    widths: tuple[int, int, int, int] = (64, 128, 256, 512),
    synchronized: bool = True,
    seed: int | None = None,
) -> keras.Model:
    """Builds ResNet-18 for small images.

    The stem is one 3x3 convolution of stride 1, without pooling. Four stages of two basic blocks
    follow, the last three of which halve the image, then average pooling over 4x4 pixels. An image
    of 64x64 pixels gives 2x2x512 = 2048 features.

    Args:
        input_shape: Height, width and channels of an image.
        task_names: Names of the tasks, with a dense layer on the features as head each.
        num_classes: Number of outputs of a head.
        widths: Number of channels of the four stages.
        synchronized: Whether batch norm takes its statistics over all replicas. On one device it
            makes no difference, nor in time.
        seed: Makes the initial weights reproducible.

    Returns:
        A model from images `(B, *input_shape)` to `{task: logits (B, num_classes)}`. Its layer
        `"representation"` holds the features.

    Raises:
        ValueError: If images have fewer than 25 pixels on a side, too small for the pooling.

    Reference:
        He et al., *Deep residual learning for image recognition* (2016), table 1; with the stem and
        the pooling of the public code of Sener & Koltun, *Multi-task learning as multi-objective
        optimization* (2018). Departure: convolutions of stride 2 are zero-padded at the bottom and
        right, as in TensorFlow, not on all four sides.
    """
    if min(input_shape[:2]) < 25:
        raise ValueError(
            "ResNet-18 halves images three times and averages over 4x4 pixels, so images need "
            f"at least 25 pixels per side. Received: input_shape={tuple(input_shape)}"
        )
    blocks = _Blocks(synchronized, seed)
    inputs = keras.Input(input_shape, name="image")
    x = blocks.relu(blocks.convolution(inputs, widths[0], 3, 1, "stem"), "stem")
    for stage, (width, stride) in enumerate(zip(widths, (1, 2, 2, 2), strict=True), start=1):
        x = blocks.basic(x, width, stride, f"stage_{stage}_block_1")
        x = blocks.basic(x, width, 1, f"stage_{stage}_block_2")
    x = layers.AveragePooling2D(4, name="pooling")(x)
    features = layers.Flatten(name="representation")(x)
    outputs = {task: blocks.dense(features, num_classes, f"{task}_logits") for task in task_names}
    return keras.Model(inputs, outputs, name="resnet18")


def picked(x: keras.KerasTensor, stride: int, name: str) -> keras.KerasTensor:
    """Returns every `stride`-th pixel, which a 1x1 convolution of that stride would read.

    In the gradient of such a convolution with fewer than 16 channels, oneDNN of TensorFlow 2.21 on
    CPUs writes outside of its memory.
    """
    return x if stride == 1 else layers.AveragePooling2D(1, stride, name=f"{name}_picked")(x)


class _Blocks:
    """The building blocks of a residual network."""

    def __init__(self, synchronized: bool, seed: int | None):
        self.synchronized = synchronized
        self.seeds = layer_seeds(seed)

    def convolution(
        self, x: keras.KerasTensor, width: int, kernel: int, stride: int, name: str
    ) -> keras.KerasTensor:
        """Applies a convolution without bias, and batch norm."""
        initializer = keras.initializers.HeNormal(seed=next(self.seeds))
        x = layers.Conv2D(
            width,
            kernel,
            strides=stride,
            padding="same",
            use_bias=False,
            kernel_initializer=initializer,
            name=f"{name}_convolution",
        )(x)
        return layers.BatchNormalization(
            momentum=0.9, epsilon=1e-5, synchronized=self.synchronized, name=f"{name}_norm"
        )(x)

    def basic(self, x: keras.KerasTensor, width: int, stride: int, name: str) -> keras.KerasTensor:
        """Applies two 3x3 convolutions with a skip connection, projected if the shape changes."""
        around = x
        if stride != 1 or x.shape[-1] != width:
            around = self.convolution(picked(x, stride, name), width, 1, 1, f"{name}_projection")
        x = self.relu(self.convolution(x, width, 3, stride, f"{name}_1"), f"{name}_1")
        x = self.convolution(x, width, 3, 1, f"{name}_2")
        return self.relu(layers.Add(name=f"{name}_sum")([x, around]), f"{name}_2")

    def relu(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return layers.ReLU(name=f"{name}_relu")(x)

    def dense(self, x: keras.KerasTensor, size: int, name: str) -> keras.KerasTensor:
        initializer = keras.initializers.GlorotUniform(seed=next(self.seeds))
        return layers.Dense(size, kernel_initializer=initializer, name=name)(x)
