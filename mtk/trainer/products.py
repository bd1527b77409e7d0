"""Kernels whose task gradients need not be made, because their Gramian follows from two factors.

A convolution or dense layer multiplies its kernel by patches P of its input, `(rows, size)`. The
gradient of task k by the kernel is `P^T D_k`, where D_k, `(rows, channels)`, is the task's gradient
by the layer's output. So

    <P^T D_k, P^T D_l> = <P P^T D_k, D_l>,      sum_k w_k P^T D_k = P^T (sum_k w_k D_k):

the Gramian needs no product of the kernel's size per task, and the combined gradient needs one in
all. With few rows and a large kernel (the last stages of a convolutional network, wide dense
layers) this saves time, and the K copies of the kernel's gradient.

Reference:
    The identity is that of Goodfellow, *Efficient per-example gradient computations* (2015), for
    norms; here it serves inner products between tasks.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from mtk.trainer.recording import Call

# Where the saving is small, the further operations would eat it up.
_WORTHWHILE = 0.75
# Tasks of a Gramian's rows that are computed at a time.
_AT_ONCE = 8


class Linear(NamedTuple):
    """A layer that multiplies patches of its input by a kernel which nothing else reads.

    Attributes:
        layer: The layer, called once in a forward pass.
        kernel: Its kernel.
        window: Height and width of a patch; empty if the layer is dense.
        strides: From patch to patch; empty if the layer is dense.
        padding: "SAME" or "VALID"; empty if the layer is dense.
    """

    layer: keras.Layer
    kernel: keras.Variable
    window: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    padding: str = ""


class Product(NamedTuple):
    """One forward pass through such a layer.

    Attributes:
        linear: The layer.
        inputs: What it read.
        outputs: What it put out.
        tape: The persistent tape that recorded it.
    """

    linear: Linear
    inputs: tf.Tensor
    outputs: tf.Tensor
    tape: tf.GradientTape

    def patches(self) -> tf.Tensor:
        """Returns P, `(rows, size)`: what each row of the output was multiplied from."""
        linear, patches = self.linear, self.inputs
        if linear.window:
            one = [1, 1, 1, 1]
            window, strides = [1, *linear.window, 1], [1, *linear.strides, 1]
            patches = tf.image.extract_patches(patches, window, strides, one, linear.padding)
        return tf.reshape(patches, (_rows(self.outputs), -1))

    def gramian(self, task_gradients: tf.Tensor) -> tf.Tensor:
        """Returns the inner products of the task gradients of the kernel, `(K, K)`.

        Args:
            task_gradients: Tensor `(K, *outputs.shape)`: the task gradients of the output.
        """
        patches = self.patches()
        affine = tf.matmul(patches, patches, transpose_b=True)
        number, rows = task_gradients.shape[0], affine.shape[0]
        flat = tf.reshape(task_gradients, (number, -1))
        found: list[tf.Tensor] = []
        for first in range(0, number, _AT_ONCE):
            # One after the other, so that what they need in between exists once.
            with tf.control_dependencies(found[-1:]):
                some = tf.reshape(flat[first : first + _AT_ONCE], (-1, rows, flat.shape[1] // rows))
            found.append(tf.matmul(_seen(affine, some), flat, transpose_b=True))
        return tf.concat(found, 0)

    def combined(self, task_gradients: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Returns the weighted sum of the task gradients of the kernel.

        Args:
            task_gradients: Tensor `(K, *outputs.shape)`: the task gradients of the output.
            weights: Tensor `(K,)`.
        """
        merged = tf.tensordot(weights, task_gradients, 1)
        kernel = self.linear.kernel.value
        return self.tape.gradient(self.outputs, kernel, output_gradients=merged)

    def saves(self, num_tasks: int) -> bool:
        """Whether this takes less multiplications than a gradient of the kernel for each task."""
        rows, channels = _rows(self.outputs), int(self.outputs.shape[-1])
        size = math.prod(self.linear.kernel.shape) // channels
        direct = num_tasks * rows * size * channels
        factors = rows * rows * (size + num_tasks * channels) + rows * size * channels
        return factors < _WORTHWHILE * direct


def gramians(pairs: Sequence[tuple[Product, tf.Tensor]]) -> list[tf.Tensor]:
    """Returns the Gramian of each product, computed one after the other to save memory.

    Args:
        pairs: Products, and the task gradients of their outputs.
    """
    found: list[tf.Tensor] = []
    for product, task_gradients in pairs:
        with tf.control_dependencies(found[-1:]):
            found.append(product.gramian(task_gradients))
    return found


def _seen(affine: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Returns `affine @ rows[k]` for each k, `(K, n c)`, by one product of matrices."""
    number, height, width = rows.shape
    columns = tf.reshape(tf.transpose(rows, (1, 0, 2)), (height, number * width))
    products = tf.reshape(tf.matmul(affine, columns), (height, number, width))
    return tf.reshape(tf.transpose(products, (1, 0, 2)), (number, height * width))


def _rows(outputs: tf.Tensor) -> int:
    return math.prod(outputs.shape[:-1])


def find(
    graph: tf.Graph, variables: Sequence[keras.Variable], calls: Sequence[Call]
) -> list[Linear]:
    """Finds such layers in the graph of one forward pass.

    Args:
        graph: A function graph that holds a forward pass.
        variables: The variables to look at.
        calls: The layers' calls in it.
    """
    handles = {id(v.value.handle): v for v in variables}
    by_operation: dict[str, list[Call]] = {}
    for call in calls:
        for tensor in call.outputs[:1]:
            by_operation.setdefault(_unbiased(tensor).name, []).append(call)
    found = []
    for outer, inner in graph.captures:
        variable = handles.get(id(outer))
        product = None if variable is None else _only_product(inner)
        if product is None:
            continue
        called = [c for c in by_operation.get(product.name, []) if _is_whole(c, product)]
        often = sum(c.layer is called[0].layer for c in calls) if called else 0
        if often == 1:
            found.append(_linear(called[0].layer, variable, product))
    return found


def _unbiased(output: tf.Tensor) -> tf.Operation:
    """Returns the operation that made an output, before a bias was added."""
    made = output.op
    return made.inputs[0].op if made.type in ("BiasAdd", "AddV2") else made


def _only_product(handle: tf.Tensor) -> tf.Operation | None:
    """Returns the multiplication by a variable, if that is all that is done with it."""
    reads = handle.consumers()
    if len(reads) != 1 or reads[0].type != "ReadVariableOp":
        return None
    uses = reads[0].outputs[0].consumers()
    if len(uses) != 1 or not _is_plain(uses[0]):
        return None
    return uses[0] if uses[0].inputs[1] is reads[0].outputs[0] else None


def _is_plain(product: tf.Operation) -> bool:
    if product.inputs[0].dtype != tf.float32:
        return False
    if product.type == "MatMul":
        return not (product.get_attr("transpose_a") or product.get_attr("transpose_b"))
    if product.type != "Conv2D" or product.get_attr("data_format") != b"NHWC":
        return False
    same_groups = product.inputs[0].shape[-1] == product.inputs[1].shape[2]
    padded = product.get_attr("padding") in (b"SAME", b"VALID")
    return same_groups and padded and set(product.get_attr("dilations")) == {1}


def _is_whole(call: Call, product: tf.Operation) -> bool:
    """Whether the layer does nothing but to multiply its input and to add a bias."""
    read = call.inputs[:1]
    return bool(read) and product.inputs[0] is read[0] and len(call.outputs) == 1


def _linear(layer: keras.Layer, kernel: keras.Variable, product: tf.Operation) -> Linear:
    if product.type == "MatMul":
        return Linear(layer, kernel)
    strides = tuple(product.get_attr("strides")[1:3])
    padding = product.get_attr("padding").decode()
    return Linear(layer, kernel, tuple(kernel.shape[:2]), strides, padding)


def of_calls(
    linear: Sequence[Linear], calls: Sequence[Call], num_tasks: int, tape: tf.GradientTape
) -> list[Product]:
    """Returns the passes through such layers that are worth it.

    Args:
        linear: The layers.
        calls: What was recorded of them.
        num_tasks: K.
        tape: The persistent tape that recorded them.
    """
    by_layer = {id(call.layer): call for call in calls}
    found = []
    for each in linear:
        call = by_layer[id(each.layer)]
        product = Product(each, call.inputs[0], call.outputs[0], tape)
        if product.outputs.shape.is_fully_defined() and product.saves(num_tasks):
            found.append(product)
    return found
