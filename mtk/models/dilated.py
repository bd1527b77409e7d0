"""Convolutions with holes, which see far without losing resolution."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("mtk")
class DilatedConv2D(keras.layers.Conv2D):
    """Keras' `Conv2D`, for dilation rates that are not small against the image.

    Keras rearranges the image into one batch entry per phase of the dilation and back, which for a
    rate of 36 on 16x32 pixels multiplies the work by more than ten (measured); this hands the rate
    to the kernel of the device. Arguments as in `Conv2D`, channels last.

    On CPUs TensorFlow takes the gradient of such a kernel through oneDNN alone, and only in float32
    or bfloat16: with `TF_ENABLE_ONEDNN_OPTS=0`, or in float16, training there ends with its error.
    """

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return tf.nn.conv2d(
            inputs,
            tf.convert_to_tensor(kernel),
            self.strides,
            self.padding.upper(),
            dilations=self.dilation_rate,
        )
