"""ResNet-50 as a trunk for dense prediction: dilation in place of strides."""

import functools
from collections.abc import Iterator

import keras
import tensorflow as tf
from keras import layers

from mtk.models.resnet import picked

_STRIDES = (1, 2, 2, 2)  # of the four stages; the stem divides by four
_LEAST_STRIDE = 4
_EPSILON = 1.001e-5  # Keras' own


@keras.saving.register_keras_serializable("mtk")
class DilatedConv2D(keras.layers.Conv2D):
    """Keras' `Conv2D` for dilation rates that are not small relative to the image.

    Keras rearranges the image into one batch entry per phase of the dilation and back, which for a
    rate of 36 on 16x32 pixels multiplies the work by more than ten (measured); this layer passes
    the rate to the device's kernel. Arguments as in `Conv2D`, channels last.

    On CPUs TensorFlow computes the gradient of such a kernel only with oneDNN, which it uses on
    some CPUs, and not in float16. Otherwise this is Keras' layer.
    """

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        if max(self.dilation_rate) > 1 and not _has_gradient(self.compute_dtype):
            return super().convolution_op(inputs, kernel)
        return tf.nn.conv2d(
            inputs,
            tf.convert_to_tensor(kernel),
            self.strides,
            self.padding.upper(),
            dilations=self.dilation_rate,
        )


@functools.cache
def _has_gradient(dtype: str) -> bool:
    """Whether the device computes the gradient of a dilated kernel."""
    with tf.init_scope():
        image, sizes = tf.zeros((1, 4, 4, 1), dtype), (3, 3, 1, 1)
        given = {"strides": (1, 1, 1, 1), "padding": "SAME", "dilations": (1, 2, 2, 1)}
        try:
            tf.raw_ops.Conv2DBackpropFilter(
                input=image, filter_sizes=sizes, out_backprop=image, **given
            )
        except tf.errors.OpError:
            return False
    return True


def resnet50(
    image: keras.KerasTensor,
    seeds: Iterator[int | None],
    output_stride: int = 8,
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3),
    widths: tuple[int, int, int, int] = (64, 128, 256, 512),
    synchronized: bool = True,
) -> keras.KerasTensor:
    """Applies the residual network, without its classifier, to images.

    Layers have the names and the weights of `keras.applications.ResNet50`. A stage that would
    exceed the output stride keeps its resolution, and all its 3x3 convolutions and those of later
    stages are dilated instead: the pixels that exist without dilation keep their values.

    Args:
        image: `(B, height, width, channels)`.
        seeds: Seeds of the initial weights, one per convolution.
        output_stride: Ratio of the image size to that of the features: 4, 8, 16, or 32, which is
            the network without dilation.
        blocks: Number of bottleneck blocks of the four stages.
        widths: Their number of channels; the output of a block has four times as many.
        synchronized: Whether batch norm takes its statistics over all replicas.

    Returns:
        Features `(B, height / output_stride, width / output_stride, 4 * widths[-1])`, rounded up.

    Raises:
        ValueError: If the output stride is not one of these.

    Reference:
        He et al., *Deep residual learning for image recognition* (2016), table 1; Chen et al.,
        *DeepLab* (2018), section 3.1, for the dilation. Departure: strided convolutions are
        zero-padded as in Keras, for its ImageNet weights.
    """
    schedule = _schedule(output_stride)
    bottleneck = _Bottleneck(seeds, synchronized)
    x = layers.ZeroPadding2D(3, name="conv1_pad")(image)
    x = bottleneck.convolution(x, widths[0], "conv1", kernel=7, stride=2, padding="valid")
    x = layers.ReLU(name="conv1_relu")(x)
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    stages = zip(blocks, widths, schedule, strict=True)
    for stage, (number, width, (stride, dilation)) in enumerate(stages, start=2):
        for block in range(1, number + 1):
            name = f"conv{stage}_block{block}"
            x = bottleneck(x, width, stride if block == 1 else 1, dilation, name, block == 1)
    return x


def _schedule(output_stride: int) -> list[tuple[int, int]]:
    """Returns the stride and the dilation of each stage."""
    total, dilation, schedule = _LEAST_STRIDE, 1, []
    for stride in _STRIDES:
        if total * stride > output_stride:
            dilation, stride = dilation * stride, 1
        total *= stride
        schedule.append((stride, dilation))
    if total != output_stride:
        raise ValueError(f"`output_stride` must be 4, 8, 16 or 32. Received: {output_stride}")
    return schedule


class _Bottleneck:
    """A residual block of three convolutions."""

    def __init__(self, seeds: Iterator[int | None], synchronized: bool):
        self.seeds = seeds
        self.synchronized = synchronized

    def __call__(
        self, x: keras.KerasTensor, width: int, stride: int, dilation: int, name: str, first: bool
    ) -> keras.KerasTensor:
        around = x = picked(x, stride, name)
        if first:
            around = self.convolution(x, 4 * width, f"{name}_0")
        x = self.convolution(x, width, f"{name}_1")
        x = layers.ReLU(name=f"{name}_1_relu")(x)
        x = self.convolution(x, width, f"{name}_2", kernel=3, dilation=dilation)
        x = layers.ReLU(name=f"{name}_2_relu")(x)
        x = self.convolution(x, 4 * width, f"{name}_3")
        return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([around, x]))

    def convolution(
        self,
        x: keras.KerasTensor,
        width: int,
        name: str,
        kernel: int = 1,
        stride: int = 1,
        dilation: int = 1,
        padding: str = "same",
    ) -> keras.KerasTensor:
        """Applies convolution and batch norm; the redundant bias is for the ImageNet weights."""
        x = DilatedConv2D(
            width,
            kernel,
            strides=stride,
            dilation_rate=dilation,
            padding=padding,
            kernel_initializer=keras.initializers.HeNormal(seed=next(self.seeds)),
            name=f"{name}_conv",
        )(x)
        norm = layers.BatchNormalization(
            momentum=0.9, epsilon=_EPSILON, synchronized=self.synchronized, name=f"{name}_bn"
        )
        return norm(x)
