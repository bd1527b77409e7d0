"""Gramians of losses, for custom training loops."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mtk import gradients
from mtk.sharing.analysis import with_inner
from mtk.trainer import MultiTaskModel, combine, step

# Number of gradient elements held at once: 256 MiB. Beyond it, passes are repeated.
_HELD_AT_MOST = 2**26
_COPIES = frozenset({"Identity", "Cast"})
_GATHERS = frozenset({"GatherV2", "ResourceGather"})
# `tf.vectorized_map` cannot convert loops with tensor lists, as in recurrent layers, nor
# conditionals. Its gradient of a product of a batch of matrices with a single one, as in
# `EinsumDense` and thus in Keras' attention, is wrong and may crash the process by a memory fault.
_NOT_VECTORIZED = frozenset(
    {
        *("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum"),
        *("If", "StatelessIf", "While", "StatelessWhile", "TensorListReserve"),
    }
)


def gramian(losses: Any, variables: Any, tape: tf.GradientTape | None = None) -> tf.Tensor:
    """Returns the inner products of gradients: of K losses, or of the losses of a model.

    * `gramian(losses, variables, tape)`: of K losses recorded by a persistent tape. One backward
      pass per loss, as long as all gradients fit into 256 MiB; otherwise losses are processed in
      blocks, and the passes of a block are repeated for each block before it.
    * `gramian(model, batch)` with a `MultiTaskModel`: of its task losses, without loss weights,
      with respect to the shared variables. The batch has a form accepted by `train_step`. The model
      is not changed.
    * `gramian(model, batch)` with another compiled Keras model: of the loss of each example of the
      batch `(x, y)` or `(x, y, sample_weight)`, with respect to the trainable variables; see
      `per_example_gramian`. Layers run in inference mode.

    Call it inside a `tf.function` if it is called often.

    Args:
        losses: K scalars, one tensor `(K,)`, or a model.
        variables: What to differentiate with respect to (a variable, a tensor watched by the tape,
            or a structure of them), or the batch.
        tape: The persistent tape that has recorded the losses.

    Returns:
        Tensor `(K, K)`, float32.

    Raises:
        ValueError: If there is no loss or no variable, a loss is not a scalar, a tape is missing or
            given with a model, or the model is not compiled.
    """
    if isinstance(losses, keras.Model):
        if tape is not None:
            raise ValueError("`gramian(model, batch)` creates its own tape. Leave `tape` out.")
        return _of_model(losses, variables)
    if tape is None:
        raise ValueError(
            "`gramian(losses, variables, tape)` needs the persistent tape that recorded the "
            "losses: `with tf.GradientTape(persistent=True) as tape: ...`. Received: tape=None"
        )
    return _of_losses(losses, variables, tape)


def _of_model(model: keras.Model, batch: Any) -> tf.Tensor:
    if isinstance(model, MultiTaskModel):
        return _of_tasks(model, batch)
    if not model.compiled:
        raise ValueError(
            "The loss of each example is the compiled loss of the model, but the model is not "
            "compiled with a loss. Call `model.compile(loss=...)`, or use "
            "`mtk.per_example_gramian` with a function."
        )

    def loss(x: Any, y: Any, weight: Any = None) -> tf.Tensor:
        x, y = tf.nest.map_structure(lambda t: t[None], (x, y))
        weight = None if weight is None else tf.nest.map_structure(lambda t: t[None], weight)
        return model.compute_loss(x, y, model(x, training=False), weight, training=False)

    return per_example_gramian(loss, tuple(batch), model.trainable_variables)


def _of_tasks(model: MultiTaskModel, batch: Any) -> tf.Tensor:
    """Computes one step, whatever the model's combiner, and undoes its state changes."""
    model.inspect(batch)
    equal = combine.equal_weights(model.task_names)
    spec = dataclasses.replace(model.step_spec(), combiner=equal, loss_factors=None, per_task=True)
    result = step.compute(spec, batch)
    result.state.rewind()
    return result.gramian


def _of_losses(losses: Any, variables: Any, tape: tf.GradientTape) -> tf.Tensor:
    if tf.is_tensor(losses) and losses.shape.rank == 1:
        with tape:
            losses = tf.unstack(losses)
    if not isinstance(losses, (list, tuple)) or any(one.shape.rank for one in losses):
        shapes = [tuple(one.shape) for one in tf.nest.flatten(losses)]
        raise ValueError(
            "The K losses must be a list of scalars or one tensor `(K,)`. Received: a "
            f"{type(losses).__name__} with the shapes {shapes}"
        )
    sources = [_value(v) for v in tf.nest.flatten(variables)]
    if not losses or not sources:
        raise ValueError(
            f"A Gramian needs at least one loss and one variable. Received: {len(losses)} "
            f"losses and {len(sources)} variables"
        )

    def rows(block: Sequence[tf.Tensor]) -> list[gradients.TaskGradient]:
        none: list[list[tf.Tensor]] = [[] for _ in block]
        return gradients.per_task(tape, block, tf.stack(block), sources, none, "unrolled")[0]

    size = sum(math.prod(source.shape) for source in sources)
    number = max(1, _HELD_AT_MOST // max(size, 1))
    if number >= len(losses):
        return gradients.gramian(rows(losses))
    half = max(1, number // 2)
    return _in_blocks([losses[at : at + half] for at in range(0, len(losses), half)], rows)


def _in_blocks(
    blocks: Sequence[Sequence[tf.Tensor]],
    rows: Callable[[Sequence[tf.Tensor]], list[gradients.TaskGradient]],
) -> tf.Tensor:
    """Computes a Gramian with the gradients of at most two blocks of losses in memory."""
    grid: list[list[tf.Tensor]] = [[] for _ in blocks]
    for i, block in enumerate(blocks):
        # In a graph, blocks run in sequence, or all would be in memory.
        with tf.control_dependencies(grid[i - 1][-1:] if i else []):
            first = rows(block)
        grid[i] += [tf.transpose(grid[j][i]) for j in range(i)]
        grid[i].append(gradients.gramian(first))
        for other in blocks[i + 1 :]:
            with tf.control_dependencies(grid[i][-1:]):
                second = rows(other)
            both = [tf.concat(pair, 0) for pair in zip(first, second, strict=True)]
            grid[i].append(gradients.gramian(both)[: len(block), len(block) :])
    return tf.concat([tf.concat(row, 1) for row in grid], 0)


def per_example_gramian(loss: Callable[..., tf.Tensor], examples: Any, variables: Any) -> tf.Tensor:
    """Returns the inner products of the gradients of each example's loss.

    Each example is its own batch: its loss cannot depend on the others. All go through one forward
    and one backward pass (`tf.vectorized_map`), or one after another if there are loops,
    conditionals, attention or other batched matrix products, which it does not support. For kernels
    of dense layers and convolutions and for embeddings, each used once, the inner products follow
    from those of the layer's inputs and output gradients, without computing the gradient:
    `<x_i d_i', x_j d_j'> = <x_i, x_j> <d_i, d_j>`. For other variables the gradients of all
    examples are held. This is decided by the operations that read a variable: one that is read more
    than once, or by another operation, is among the others.

    Call it inside a `tf.function` to trace it only once.

    Args:
        loss: Called with one example (the components of a tuple as arguments), whose tensors have
            no batch axis; returns a scalar. For a model restore the axis: `model(x[None])`.
        examples: A tensor `(B, ...)`, or a structure of them.
        variables: What to differentiate with respect to: a variable, or a structure of them.

    Returns:
        Tensor `(B, B)`, float32.

    Raises:
        ValueError: If there is no variable, or `loss` does not return a scalar.
    """
    variables = tf.nest.flatten(variables)
    if not variables:
        raise ValueError("A Gramian needs at least one variable. Received: none")
    factored: list[_Factored] = []

    def of_one(example: Any) -> tuple[list[tf.Tensor], list[tf.Tensor], list[tf.Tensor]]:
        graph = tf.compat.v1.get_default_graph()
        earlier = {op.name for op in graph.get_operations()}
        found = loss(*example) if isinstance(example, tuple) else loss(example)
        value = tf.convert_to_tensor(found)
        if value.shape.rank != 0:
            raise ValueError(
                "`loss` must return a scalar for one example, which has no batch axis. "
                f"Received: a tensor of shape {value.shape}"
            )
        uses = [_only_use(graph, _value(v), earlier) for v in variables]
        factored[:] = [use for use in uses if use is not None]
        others = [_value(v) for v, use in zip(variables, uses, strict=True) if use is None]
        targets = [use.output for use in factored] + others
        zero = tf.UnconnectedGradients.ZERO
        found = tf.gradients(value, targets, unconnected_gradients=zero)
        number = len(factored)
        plain = [tf.reshape(tf.convert_to_tensor(g), [-1]) for g in found[number:]]
        return [use.input for use in factored], found[:number], plain

    map_examples = tf.vectorized_map if _is_vectorized(loss, examples) else _in_turn
    inputs, deltas, plain = map_examples(of_one, examples)
    each = zip(factored, inputs, deltas, strict=True)
    terms = [use.gramian(data, delta) for use, data, delta in each]
    for rows in plain:
        terms.append(_inner(tf.cast(rows, tf.float32)))
    return tf.add_n(terms)


def _is_vectorized(loss: Callable[..., tf.Tensor], examples: Any) -> bool:
    """Whether all operations of a loss can be vectorized over examples."""
    one = _spec_of_one(examples)
    arguments = one if isinstance(one, tuple) else (one,)
    graph = tf.function(loss, autograph=False).get_concrete_function(*arguments).graph
    return not any(op.type in _NOT_VECTORIZED for op in with_inner(graph.get_operations()))


def _in_turn(function: Callable[[Any], Any], examples: Any) -> Any:
    """Maps as `tf.vectorized_map`, one example after another."""

    @tf.function(autograph=False)
    def mapped(examples: Any) -> Any:
        traced = tf.function(function, autograph=False).get_concrete_function(
            _spec_of_one(examples)
        )
        specs = tf.nest.map_structure(tf.type_spec_from_value, traced.structured_outputs)
        return tf.map_fn(function, examples, fn_output_signature=specs)

    return mapped(examples)


def _spec_of_one(examples: Any) -> Any:
    return tf.nest.map_structure(lambda t: tf.TensorSpec(t.shape[1:], t.dtype), examples)


def _value(variable: Any) -> Any:
    return variable.value if isinstance(variable, keras.Variable) else variable


class _Factored(NamedTuple):
    """The only operation that reads a variable, whose gradient is a product.

    Attributes:
        operation: A MatMul, Conv2D, GatherV2 or ResourceGather.
        input: Its input besides the variable, for one example.
        output: Its output.
    """

    operation: tf.Operation
    input: tf.Tensor
    output: tf.Tensor

    def gramian(self, data: tf.Tensor, deltas: tf.Tensor) -> tf.Tensor:
        """Returns the variable's part of the Gramian, `(B, B)`.

        Args:
            data: The inputs of all examples, `(B, *input.shape)`.
            deltas: Gradients of the outputs, `(B, *output.shape)`.
        """
        deltas = _rows(tf.cast(deltas, tf.float32))
        if self.operation.type in _GATHERS:
            rows = tf.reshape(data, [tf.shape(deltas)[0], -1, 1])
            everyone = tf.reshape(rows, [1, -1])
            return _by_pairs(lambda one: tf.cast(one == everyone, tf.float32), rows, deltas)
        if self.operation.type == "Conv2D":
            data = _patches(self.operation, data)
        data = _rows(tf.cast(data, tf.float32))
        if deltas.shape[1] == 1:
            return _inner(data[:, 0]) * _inner(deltas[:, 0])
        if _multiplies_less(data.shape, deltas.shape):
            products = tf.matmul(data, deltas, transpose_a=True)
            return _inner(tf.reshape(products, [-1, data.shape[2] * deltas.shape[2]]))
        flat = tf.reshape(data, [-1, data.shape[2]])
        return _by_pairs(lambda one: tf.matmul(one, flat, transpose_b=True), data, deltas)


def _multiplies_less(data: tf.TensorShape, deltas: tf.TensorShape) -> bool:
    """Whether per-example gradients cost less than the products of all pairs of rows."""
    rows, ins, outs = deltas[1], data[2], deltas[2]
    examples = deltas[0] or 64  # A typical batch size if unknown.
    if rows is None:
        return True
    return (rows + examples) * ins * outs <= examples * rows**2 * (ins + outs)


def _by_pairs(
    products: Callable[[tf.Tensor], tf.Tensor], data: tf.Tensor, deltas: tf.Tensor
) -> tf.Tensor:
    """Sums the products of all pairs of rows of two examples, one example at a time.

    Args:
        products: Products of one example's rows with all `B R` rows: `(R, B R)`.
        data: Tensor `(B, R, ...)`.
        deltas: Tensor `(B, R, outs)`.
    """
    number = tf.shape(deltas)[0]
    flat = tf.reshape(deltas, [-1, deltas.shape[2]])

    def with_all(one: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        both = products(one[0]) * tf.matmul(one[1], flat, transpose_b=True)
        return tf.reduce_sum(tf.reshape(tf.reduce_sum(both, 0), [number, -1]), 1)

    return tf.map_fn(with_all, (data, deltas), fn_output_signature=tf.float32)


def _only_use(graph: Any, source: Any, earlier: set[str]) -> _Factored | None:
    """Returns the only operation that reads a variable, if its gradient is a product."""
    if not isinstance(source, tf.Variable):
        return None

    def users(tensor: tf.Tensor) -> list[tf.Operation]:
        new = [op for op in tensor.consumers() if op.name not in earlier]
        return [op for op in new if op.type != "ReadVariableOp" or op.outputs[0].consumers()]

    tensor = graph.capture(source.handle)
    found = users(tensor)
    while len(found) == 1 and found[0].type in {"ReadVariableOp", *_COPIES}:
        tensor = found[0].outputs[0]
        found = users(tensor)
    return _factored(found[0], tensor) if len(found) == 1 else None


def _factored(op: tf.Operation, variable: tf.Tensor) -> _Factored | None:
    places = [i for i, tensor in enumerate(op.inputs) if tensor is variable]
    if "_gradient_op_type" in op.node_def.attr:
        return None
    if op.type == "MatMul" and places == [1] and not op.get_attr("transpose_a"):
        return _Factored(op, op.inputs[0], op.outputs[0])
    if op.type == "Conv2D" and places == [1] and _is_plain(op):
        return _Factored(op, op.inputs[0], op.outputs[0])
    if op.type == "ResourceGather" and places == [0] and not op.get_attr("batch_dims"):
        return _Factored(op, op.inputs[1], op.outputs[0])
    if op.type == "GatherV2" and places == [0] and not op.get_attr("batch_dims"):
        axis = tf.get_static_value(op.inputs[2])
        return _Factored(op, op.inputs[1], op.outputs[0]) if axis == 0 else None
    return None


def _is_plain(convolution: tf.Operation) -> bool:
    """Whether a convolution's input patches can be extracted, and it is not grouped."""
    data, kernel = (tensor.shape for tensor in convolution.inputs)
    padding = convolution.get_attr("padding") in (b"SAME", b"VALID")
    last = convolution.get_attr("data_format") == b"NHWC"
    return padding and last and data.rank == 4 and data[3] == kernel[2]


def _patches(convolution: tf.Operation, data: tf.Tensor) -> tf.Tensor:
    """Returns the input patch of each output position of a convolution, `(B, ..., patch)`."""
    height, width = convolution.inputs[1].shape[:2]
    found = tf.image.extract_patches(
        tf.reshape(data, [-1, *data.shape[-3:]]),
        [1, height, width, 1],
        convolution.get_attr("strides"),
        convolution.get_attr("dilations"),
        convolution.get_attr("padding").decode(),
    )
    return tf.reshape(found, [tf.shape(data)[0], *data.shape[1:2], *found.shape[1:]])


def _rows(tensor: tf.Tensor) -> tf.Tensor:
    """Returns a tensor `(B, ..., n)` as `(B, R, n)`."""
    inner = tensor.shape[1:-1]
    rows = math.prod(inner) if inner.is_fully_defined() else -1
    return tf.reshape(tensor, [tf.shape(tensor)[0], rows, tensor.shape[-1]])


def _inner(rows: tf.Tensor) -> tf.Tensor:
    return tf.matmul(rows, rows, transpose_b=True)
