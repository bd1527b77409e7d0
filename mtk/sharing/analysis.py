"""Finds the structure of a network from the graph of a forward pass."""

import functools
import operator
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from mtk.sharing import probe
from mtk.sharing.layer_calls import LayerCall, all_layers, outside_graphs, recorded
from mtk.sharing.probe import Forward, TaskLosses
from mtk.sharing.structure import LayerOutput, Structure, layer_named

# Operations through which no gradient flows.
_BARRIERS = frozenset({"StopGradient", "PreventGradient"})
# Operations that select a part of their input: at a fixed position, the gradient is zero outside of
# that part, although the graph has a path there.
_SELECTING = frozenset({"Slice", "StridedSlice", "GatherV2", "GatherNd"})
# Operations with several outputs, each of which depends on all inputs.
_BY_PRODUCTS = frozenset(
    {"SparseSoftmaxCrossEntropyWithLogits", "SoftmaxCrossEntropyWithLogits"}
    | {"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"}
)
# Output i is input i, and depends on no other.
_SIDE_BY_SIDE = "IdentityN"
# Operations that move each element to at most one place: the gradient is unchanged before them, and
# zero for elements that are not taken.
_MOVING = frozenset({"Slice", "StridedSlice", "Reshape", "Squeeze", "ExpandDims", "Transpose"})
_PRODUCTS = frozenset({"Mul", "MatMul", "BatchMatMulV2", "SelectV2"})


def analyze(
    network: keras.Model,
    task_names: Sequence[str],
    spec: Any,
    forward: Forward,
    representation: str | keras.Layer | None = None,
) -> Structure:
    """Finds the structure of a network in the graph of one forward pass.

    A task reaches a variable if a path of differentiable operations leads from the variable to the
    task's loss. If a path leads through an operation that selects (heads that are concatenated and
    sliced again) or is opaque (inner functions, conditionals, loops), perturbed weights and random
    examples are used to test whether the gradient can be nonzero.

    Args:
        network: A built network.
        task_names: The K names.
        spec: Spec of a batch: `tf.TypeSpec`s in place of tensors.
        forward: Computes the task losses of a batch.
        representation: The layer whose output the heads read, or its name; None to search for it.
    """
    passes: list[TaskLosses] = []

    def losses_of(data: Any) -> list[tf.Tensor]:
        passes.append(forward(data, None))
        return passes[-1].losses

    function = tf.function(losses_of, autograph=False)
    with outside_graphs(), recorded(all_layers(network)) as calls:
        graph = function.get_concrete_function(spec).graph
    analysis = _Analysis(network.trainable_variables, graph, graph.structured_outputs, calls)
    ambiguous = analysis.ambiguous() if len(task_names) > 1 else set()
    if ambiguous:
        analysis.refine(probe.run(network, len(task_names), spec, forward), ambiguous)
    places = None
    if representation is not None:
        named = isinstance(representation, str)
        places = [(layer_named(network, representation) if named else representation, 0)]
    return analysis.structure(network, task_names, places, passes[-1].shared_input)


class _Analysis:
    """Reachability in the graph of a forward pass; sets are bit masks.

    Args:
        variables: The trainable variables of the network.
        graph: A function graph that holds a forward pass.
        losses: The K task losses in it.
        calls: The layers' calls in it.
    """

    def __init__(
        self,
        variables: Sequence[keras.Variable],
        graph: tf.Graph,
        losses: Sequence[tf.Tensor],
        calls: Sequence[LayerCall],
    ):
        self.variables = list(variables)
        self.operations = graph.get_operations()
        self.losses, self.calls = list(losses), calls
        self.everyone = (1 << len(self.losses)) - 1
        handles = {id(v.value.handle): i for i, v in enumerate(variables)}
        self.captured = {
            inner.op.name: 1 << handles[id(outer)]
            for outer, inner in graph.captures
            if id(outer) in handles
        }
        self.data = self._depending_on_data({inner.op.name for _, inner in graph.captures})
        self.sources = self._reached_variables()
        self.reached = [self.sources.get(loss.op.name, 0) for loss in self.losses]
        self.limits: dict[str, int] = {}
        self.tasks = self._reaching_tasks()
        self.is_probed = False

    def _reached_variables(self, walls: Collection[str] = ()) -> dict[str, int]:
        """Returns the variables that each operation depends on; paths end at `walls`."""
        masks = dict(self.captured)
        # A function graph lists its operations in order of creation.
        for op in self.operations:
            if op.name in masks or op.name in walls or op.type in _BARRIERS:
                continue
            inputs = (masks.get(_origin(t).op.name, 0) for t in op.inputs if _carries_gradient(t))
            masks[op.name] = functools.reduce(operator.or_, inputs, 0)
        return masks

    def _depending_on_data(self, captured: Collection[str]) -> set[str]:
        """Returns the operations that depend on the batch."""
        found: set[str] = set()
        for op in self.operations:
            is_input = op.type == "Placeholder" and op.name not in captured
            if is_input or any(t.op.name in found for t in op.inputs):
                found.add(op.name)
        return found

    def _reaching_tasks(self, walls: Collection[str] = ()) -> dict[str, int]:
        """Returns the tasks whose loss depends on each tensor; paths end at `walls`."""
        tasks: dict[str, int] = {}
        for k, loss in enumerate(self.losses):
            tasks[loss.name] = tasks.get(loss.name, 0) | 1 << k
        for op in reversed(self.operations):
            for tensor in op.outputs:
                if tensor.name in self.limits and tensor.name in tasks:
                    tasks[tensor.name] &= self.limits[tensor.name]
            mine = self._of_outputs(op, tasks)
            if op.type == _SIDE_BY_SIDE:
                for tensor, output in zip(op.inputs, op.outputs, strict=True):
                    tasks[tensor.name] = tasks.get(tensor.name, 0) | tasks.get(output.name, 0)
            elif mine and op.type not in _BARRIERS and op.name not in walls:
                for tensor in op.inputs:
                    if _carries_gradient(tensor):
                        tasks[tensor.name] = tasks.get(tensor.name, 0) | mine
        return tasks

    @staticmethod
    def _of_outputs(op: tf.Operation, tasks: dict[str, int]) -> int:
        return functools.reduce(operator.or_, (tasks.get(t.name, 0) for t in op.outputs), 0)

    def ambiguous(self) -> set[str]:
        """Returns the operations that may pass fewer gradients than the graph shows."""
        found = set()
        for op in self.operations:
            mine = self._of_outputs(op, self.tasks)
            if not mine or not self.sources.get(op.name, 0):
                continue
            each = {self.tasks.get(t.name, 0) for t in op.outputs if _carries_gradient(t)}
            # A split, an inner function with outputs for several tasks, or a selection.
            splits = len(each) > 1 and op.type not in {*_BY_PRODUCTS, _SIDE_BY_SIDE}
            if splits or (mine != self.everyone and self._selects(op)):
                found.add(op.name)
        return found

    def _selects(self, op: tf.Operation) -> bool:
        """Whether an operation selects a fixed part of its input."""
        if op.type in _SELECTING:  # The data select the rows of an embedding.
            is_fixed = op.inputs[1].op.name not in self.data
            return self.sources.get(op.inputs[0].op.name, 0) > 0 and is_fixed
        others = [t for t in op.inputs if t.op.name not in self.data and t.op.type == "Const"]
        return op.type in _PRODUCTS and any(t.shape.num_elements() != 1 for t in others)

    def refine(self, probed: probe.Probed | None, ambiguous: Collection[str]) -> None:
        """Refines the analysis by the gradients that were found to be nonzero.

        A path without an ambiguous operation counts whatever was found, since a gradient may vanish
        by chance. So may those of all tasks, as in a recurrent layer whose random texts have one
        word each; then the graph decides.
        """
        if probed is None:
            return
        self.is_probed = True
        past = self._reached_variables(ambiguous)
        certain = [past.get(loss.op.name, 0) for loss in self.losses]
        each = zip(self.reached, probed.reached, certain, strict=True)
        by_none = ~functools.reduce(operator.or_, probed.reached)
        self.reached = [shown & (found | sure | by_none) for shown, found, sure in each]
        sure_tasks = self._reaching_tasks(ambiguous)
        for call in self.calls:
            for index, tensor in enumerate(call.outputs):
                key = (id(call.layer), call.number, index)
                if key in probed.tasks:
                    sure = sure_tasks.get(tensor.name, 0)
                    self.limits[tensor.name] = probed.tasks[key] | sure
        self.tasks = self._reaching_tasks()

    def structure(
        self,
        network: keras.Model,
        names: Sequence[str],
        places: list[LayerOutput] | None,
        shared_input: bool,
    ) -> Structure:
        """Returns the structure found.

        Args:
            network: The network.
            names: The K names of the tasks.
            places: Layers, with call indices, whose outputs are the representation; None to search
                for them.
            shared_input: Whether one forward pass serves all tasks.
        """
        variables = self.variables
        by = [[k for k, m in enumerate(self.reached) if m >> i & 1] for i in range(len(variables))]
        is_shared = [len(ks) >= min(2, len(names)) for ks in by]
        heads: dict[str, list[keras.Variable]] = {name: [] for name in names}
        for variable, ks, shared in zip(variables, by, is_shared, strict=True):
            if ks and not shared:
                heads[names[ks[0]]].append(variable)
        common = [i for i, ks in enumerate(by) if len(ks) == len(names)]
        if places is None:
            places = self._frontier()
        on_both_sides = self._on_both_sides(places)
        return Structure(
            shared=[v for v, yes in zip(variables, is_shared, strict=True) if yes],
            heads=heads,
            unowned=[],
            unreached=[v for v, ks in zip(variables, by, strict=True) if not ks],
            common=[variables[i] for i in common],
            representation=places,
            both_sides=[
                v for i, v in enumerate(variables) if is_shared[i] and on_both_sides >> i & 1
            ],
            last=self._last(network, common),
            network=network,
            shared_input=shared_input,
            grouped_convolutions=any(map(_is_grouped, with_inner(self.operations))),
        )

    def _on_both_sides(self, places: Sequence[LayerOutput]) -> int:
        """Returns the variables used both before and after the representation."""
        chosen = [(id(layer), number) for layer, number in places]
        ends = {c.outputs[0].op.name for c in self.calls if (id(c.layer), c.number) in chosen}
        past = self._reached_variables(ends)
        behind = functools.reduce(operator.or_, (past.get(t.op.name, 0) for t in self.losses))
        return behind & functools.reduce(operator.or_, (self.sources.get(e, 0) for e in ends), 0)

    def _frontier(self) -> list[LayerOutput]:
        """Finds the layer outputs that all tasks depend on and that operations of heads read."""
        places: dict[str, LayerOutput] = {}
        for call in self.calls:
            for tensor in call.outputs:
                places.setdefault(tensor.name, (call.layer, call.number))
        ends = set()
        live = self._live() if self.is_probed else None
        for op in self.operations:
            if 0 < self._of_outputs(op, self.tasks) < self.everyone and op.type not in _BARRIERS:
                for tensor in op.inputs:
                    whole = self.tasks.get(tensor.name, 0) == self.everyone
                    known = tensor.dtype.is_floating and self.sources.get(tensor.op.name, 0)
                    if whole and known and (live is None or tensor.op.name in live):
                        while tensor.name not in places and tensor.op.type in _MOVING:
                            tensor = tensor.op.inputs[0]  # A layer may output the whole.
                        ends.add(tensor.name)
        found = [places[name] for name in places if name in ends]
        # An end that is not a layer's output cannot be watched; then nothing counts as found.
        return found if len({name for name in places if name in ends}) == len(ends) else []

    def _live(self) -> set[str]:
        """Returns the operations with an output element that all tasks share.

        Concatenated heads reach all tasks as a whole, but none of their elements does.
        """
        live: set[str] = set()
        for op in self.operations:
            before = [t for t in op.inputs if _carries_gradient(t) and t.op.name in self.data]
            shared = [t for t in before if self.tasks.get(t.name, 0) == self.everyone]
            known = [t for t in before if self.sources.get(t.op.name, 0)]
            if not known or any(t.op.name in live for t in shared):
                live.add(op.name)
        return live

    def _last(self, network: keras.Model, common: Sequence[int]) -> list[keras.Variable]:
        """Returns the variables of layers with a kernel that no other such layer follows."""
        owners = _owners(network)
        kernels = [i for i in common if len(self.variables[i].shape) >= 2]
        bits = {1 << i: i for i in kernels}
        followed: set[int] = set()
        called: list[int] = []
        for op in self.operations:
            masks = [(t.op.name, self.sources.get(t.op.name, 0)) for t in op.inputs]
            own = [bits[mask] for name, mask in masks if mask in bits and name not in self.data]
            before = [mask for name, mask in masks if name in self.data]
            called += own
            for j in own:
                layer = owners[id(self.variables[j])]
                for mask in before:
                    reached = [i for i in kernels if mask >> i & 1]
                    followed |= {i for i in reached if owners[id(self.variables[i])] != layer}
        # Layers that are called more than once may all follow one another; then take the last call.
        ends = [i for i in kernels if i not in followed] or called[-1:]
        last = {owners[id(self.variables[i])] for i in ends}
        return [self.variables[i] for i in common if owners[id(self.variables[i])] in last]


def _owners(network: keras.Model) -> dict[int, int]:
    """Returns the `id` of the innermost layer of each variable, by the variable's `id`."""
    layers = sorted([network, *all_layers(network)], key=lambda layer: -len(layer.variables))
    return {id(v): id(layer) for layer in layers for v in layer.variables}


def _origin(tensor: tf.Tensor) -> tf.Tensor:
    """Returns the original of a tensor that is a mere copy."""
    while tensor.op.type == _SIDE_BY_SIDE:
        tensor = tensor.op.inputs[tensor.value_index]
    return tensor


def _carries_gradient(tensor: tf.Tensor) -> bool:
    dtype = tensor.dtype
    return dtype.is_floating or dtype.is_complex or dtype in (tf.resource, tf.variant)


def with_inner(operations: Sequence[tf.Operation]) -> Iterator[tf.Operation]:
    """Yields operations and those of the functions that they call, which Keras uses for some."""
    for op in operations:
        yield op
        if op.type in ("PartitionedCall", "StatefulPartitionedCall"):
            inner = op.graph._get_function(op.get_attr("f").name)
            if inner is not None:
                yield from with_inner(inner.graph.get_operations())


def _is_grouped(op: tf.Operation) -> bool:
    """Whether an operation is a grouped convolution."""
    if op.type not in ("Conv2D", "Conv3D"):
        return False
    data, kernel = (t.shape for t in op.inputs)
    channels_last = op.get_attr("data_format") in (b"NHWC", b"NDHWC")
    return data.rank is not None and data[-1 if channels_last else 1] != kernel[-2]
