"""DeepLab on a dilated ResNet-50, with one head per task."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import keras
from keras import layers

from mtk.models.imagenet import load_imagenet
from mtk.models.resnet50 import DilatedConv2D, resnet50
from mtk.models.seeds import layer_seeds


@dataclass(frozen=True)
class Head:
    """Hyperparameters of the heads.

    Args:
        width: Number of channels within a head.
        rates: Dilation rates of its branches.
        dropout: Rate of its dropout.
    """

    width: int = 256
    rates: tuple[int, ...] = (12, 24, 36)
    dropout: float = 0.5


def deeplab(
    input_shape: tuple[int, int, int],
    outputs: Mapping[str, int],
    weights: str | None = None,
    output_stride: int = 8,
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3),
    widths: tuple[int, int, int, int] = (64, 128, 256, 512),
    head: Head = Head(),
    synchronized: bool = True,
    seed: int | None = None,
) -> keras.Model:
    """Builds the network.

    A head reads the trunk's features through parallel branches (atrous spatial pyramid pooling): a
    1x1 convolution, a 3x3 one for each rate, and the mean over the image. They are projected by a
    1x1 convolution with dropout, followed by a 3x3 convolution and the outputs, which are upsampled
    to the image size by bilinear interpolation.

    Args:
        input_shape: Height, width and channels of an image, multiples of the output stride.
        outputs: Number of channels that each task predicts, by task name.
        weights: ImageNet weights for the trunk; see `mtk.models.imagenet.load_imagenet`. Random
            initial weights by default.
        output_stride: Ratio of the image size to that of the features; see `resnet50`.
        blocks: Number of blocks of the trunk's four stages.
        widths: Widths of the trunk's four stages.
        head: Hyperparameters of the heads.
        synchronized: Whether batch norm takes its statistics over all replicas.
        seed: Makes the initial weights and the dropout reproducible.

    Returns:
        A model from images to `{task: (B, height, width, channels)}`, in float32.

    Raises:
        ValueError: If the image's size is not a multiple of the output stride, or the weights
            cannot be loaded.

    Reference:
        Chen et al., *Rethinking atrous convolution for semantic image segmentation* (2017), section
        3.3, with rates and dropout of the public code (LibMTL) that the benchmark comes from.
        Departure: upsampling aligns pixel centers, not the image's corners.
    """
    check_stride(input_shape, output_stride)
    seeds = layer_seeds(seed)
    image = keras.Input(input_shape, name="image")
    features = resnet50(image, seeds, output_stride, blocks, widths, synchronized)
    layers_of = HeadLayers(seeds, head, synchronized)
    predicted = {
        task: enlarged(output_stride, task)(layers_of(features, channels, task))
        for task, channels in outputs.items()
    }
    network = keras.Model(image, predicted, name="deeplab")
    if weights is not None:
        load_imagenet(network, weights)
    return network


def check_stride(input_shape: tuple[int, int, int], output_stride: int) -> None:
    """Raises a ValueError unless the output stride divides an image's height and width."""
    height, width, _ = input_shape
    if height % output_stride or width % output_stride:
        raise ValueError(
            "Height and width of an image must be multiples of the output stride "
            f"{output_stride}. Received: {height}x{width}"
        )


def enlarged(output_stride: int, task: str) -> layers.Layer:
    """Returns the layer that upsamples a task's outputs to the image size."""
    return layers.UpSampling2D(
        output_stride, interpolation="bilinear", dtype="float32", name=f"{task}_enlarged"
    )


class HeadLayers:
    """Makes the layers of a head.

    Args:
        seeds: Seeds of the initial weights and the dropout.
        head: Hyperparameters of the head.
        synchronized: Whether batch norm takes its statistics over all replicas.
    """

    def __init__(self, seeds: Iterator[int | None], head: Head, synchronized: bool):
        self.seeds = seeds
        self.head = head
        self.synchronized = synchronized

    def __call__(self, features: keras.KerasTensor, channels: int, task: str) -> keras.KerasTensor:
        height, width = features.shape[1:3]
        branches = [self.convolution(features, 1, 1, f"{task}_point")]
        branches += [
            self.convolution(features, 3, rate, f"{task}_rate_{rate}") for rate in self.head.rates
        ]
        mean = layers.GlobalAveragePooling2D(keepdims=True, name=f"{task}_mean")(features)
        mean = self.convolution(mean, 1, 1, f"{task}_pooled")
        branches.append(layers.UpSampling2D((height, width), name=f"{task}_spread")(mean))
        x = layers.Concatenate(name=f"{task}_branches")(branches)
        x = self.convolution(x, 1, 1, f"{task}_projection")
        x = layers.Dropout(self.head.dropout, seed=next(self.seeds), name=f"{task}_dropout")(x)
        x = self.convolution(x, 3, 1, f"{task}_hidden")
        initializer = keras.initializers.GlorotUniform(seed=next(self.seeds))
        return layers.Conv2D(
            channels, 1, kernel_initializer=initializer, dtype="float32", name=f"{task}_output"
        )(x)

    def convolution(
        self, x: keras.KerasTensor, kernel: int, rate: int, name: str
    ) -> keras.KerasTensor:
        """Applies convolution, batch norm and ReLU."""
        x = DilatedConv2D(
            self.head.width,
            kernel,
            dilation_rate=rate,
            padding="same",
            use_bias=False,
            kernel_initializer=keras.initializers.HeNormal(seed=next(self.seeds)),
            name=f"{name}_convolution",
        )(x)
        norm = layers.BatchNormalization(
            momentum=0.9, epsilon=1e-5, synchronized=self.synchronized, name=f"{name}_norm"
        )
        return layers.ReLU(name=f"{name}_relu")(norm(x))
