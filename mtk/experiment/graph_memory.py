"""The memory that a graph needs, estimated from the graph alone."""

from collections.abc import Iterable

import tensorflow as tf

# They hand on their first input, or look at a variable, without a copy.
_ALIASES = {
    *("Identity", "Reshape", "Squeeze", "ExpandDims", "StopGradient", "PreventGradient"),
    *("ReadVariableOp", "EnsureShape", "CheckNumerics", "Snapshot"),
}
# They may write their output over an input of the same size that nothing else needs.
_IN_PLACE = {
    *("Add", "AddV2", "AddN", "Sub", "Mul", "RealDiv", "Neg", "Square", "Sqrt", "Rsqrt", "Exp"),
    *("Relu", "ReluGrad", "BiasAdd", "Tanh", "TanhGrad", "Sigmoid", "SigmoidGrad", "Softmax"),
    *("Select", "SelectV2", "Maximum", "Minimum", "Cast"),
}
_CALLS = {"f": ("PartitionedCall", "StatefulPartitionedCall"), "body": ("While", "StatelessWhile")}
_STACKS = ("TensorListStack", "TensorListConcatV2")


def peak(graph: tf.Graph) -> int:
    """Returns the bytes of tensors that are alive at once, at most.

    As if the operations ran one after the other in the order in which they were made, each tensor
    were freed after its last use, and a list of tensors had the size of what it is stacked to.
    Variables, which live on, and what an operation needs inside itself do not count; nor does it
    count that operations run side by side, or that TensorFlow rewrites the graph.

    Args:
        graph: The graph of a function, its shapes known.
    """
    return _Timeline(graph).peak()


class _Timeline:
    """The operations of a graph in order, and when each tensor is last used."""

    def __init__(self, graph: tf.Graph):
        self.operations = _needed(graph)
        self.roots: dict[int, tf.Tensor] = {}
        self.last_use: dict[int, int] = {}
        for time, operation in enumerate(self.operations):
            for source, same in _handed_on(operation):
                self.roots[id(same)] = self._root(source)
            for tensor in operation.inputs:
                self.last_use[id(self._root(tensor))] = time
        # What comes from outside and what goes there is the caller's.
        self.outside = {id(self._root(t)) for t in getattr(graph, "outputs", [])}

    def peak(self) -> int:
        alive, highest = 0, 0
        for time, operation in enumerate(self.operations):
            dying = {
                id(root): _size(root)
                for root in map(self._root, operation.inputs)
                if self.last_use[id(root)] == time and self._owned(root)
            }
            if operation.type in _IN_PLACE and (alike := self._alike(operation, dying)):
                alive -= dying.pop(alike)
            made = [t for t in operation.outputs if self._root(t) is t and self._owned(t)]
            alive += sum(map(_size, made))
            highest = max(highest, alive + _inside(operation))
            alive -= sum(dying.values())
            alive -= sum(_size(t) for t in made if id(t) not in self.last_use)
        return highest

    def _root(self, tensor: tf.Tensor) -> tf.Tensor:
        return self.roots.get(id(tensor), tensor)

    def _owned(self, tensor: tf.Tensor) -> bool:
        return tensor.op.type != "Placeholder" and id(tensor) not in self.outside

    def _alike(self, operation: tf.Operation, dying: dict[int, int]) -> int | None:
        wanted = _size(operation.outputs[0])
        return next((key for key, size in dying.items() if size == wanted), None)


def _handed_on(operation: tf.Operation) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Returns the pairs of an input and the output that is the same tensor."""
    if operation.type in _ALIASES and operation.inputs:
        return [(operation.inputs[0], operation.outputs[0])]
    if operation.type not in _CALLS["body"]:
        return []
    body = _function(operation, "body")
    pairs = zip(operation.inputs, operation.outputs, body.inputs, body.outputs, strict=True)
    return [(source, same) for source, same, given, left in pairs if _origin(left) is given]


def _origin(tensor: tf.Tensor) -> tf.Tensor:
    """Returns what a tensor is a view of."""
    while tensor.op.type in _ALIASES and tensor.op.inputs:
        tensor = tensor.op.inputs[0]
    return tensor


def _needed(graph: tf.Graph) -> list[tf.Operation]:
    """Returns the operations that the outcome depends on, in the order of their making."""
    outputs = [tensor.op for tensor in getattr(graph, "outputs", [])]
    waiting = [*outputs, *getattr(graph, "control_outputs", [])]
    if not waiting:
        return graph.get_operations()
    found: set[str] = set()
    while waiting:
        operation = waiting.pop()
        if operation.name not in found:
            found.add(operation.name)
            waiting += [*(tensor.op for tensor in operation.inputs), *operation.control_inputs]
    return [operation for operation in graph.get_operations() if operation.name in found]


def _inside(operation: tf.Operation) -> int:
    """Returns what the functions that an operation calls need beside their inputs and outputs."""
    for attribute, kinds in _CALLS.items():
        if operation.type in kinds:
            return peak(_function(operation, attribute))
    if operation.type in ("If", "StatelessIf"):
        branches = ("then_branch", "else_branch")
        return max(peak(_function(operation, branch)) for branch in branches)
    return 0


def _function(operation: tf.Operation, attribute: str) -> tf.Graph:
    name = operation.get_attr(attribute).name
    # The one way from an operation to the graph of what it calls.
    return operation.graph._get_function(name).graph


def _size(tensor: tf.Tensor) -> int:
    if tensor.dtype == tf.variant:
        return max(map(_size, _stacked(tensor, set())), default=0)
    number = tensor.shape.num_elements()
    return 0 if number is None or tensor.dtype.size is None else number * tensor.dtype.size


def _stacked(tensor: tf.Tensor, seen: set[int]) -> Iterable[tf.Tensor]:
    """Yields what a list of tensors is stacked to, where it is."""
    for operation in tensor.consumers():
        if operation.type in _STACKS:
            yield operation.outputs[0]
        elif operation.type == "Identity" and id(operation) not in seen:
            seen.add(id(operation))
            yield from _stacked(operation.outputs[0], seen)
