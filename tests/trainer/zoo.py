"""Small networks of many kinds of layers, shapes and losses, each with data and tasks.

Every call of a builder gives the same network again: two builds are clones of each other, with
the same weights, seeds and state.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import mtk

EXAMPLES, BATCH = 30, 6


class Problem(NamedTuple):
    """A network with its data and the loss of each task."""

    network: keras.Model
    x: Any
    y: dict[str, np.ndarray]
    losses: dict[str, keras.losses.Loss]

    @property
    def tasks(self) -> list[mtk.Task]:
        return [mtk.Task(name, loss) for name, loss in self.losses.items()]

    def batch(self, number: int = 0, size: int = BATCH):
        """Returns `(x, y)` of one batch."""
        rows = slice(number * size, (number + 1) * size)
        return tf.nest.map_structure(lambda array: array[rows], (self.x, self.y))


@dataclass(frozen=True)
class Kind:
    """A way to build a problem, and what holds for its network.

    Attributes:
        make: Builds the problem.
        parts: Whether micro-batches give the gradient of the whole batch.
        replicas: Whether replicas give the gradient of the whole batch.
        grouped: Whether it has grouped convolutions.
        features: Whether one tensor separates its trunk from its heads.
        recurrent: Whether it has a loop, which takes long to trace.
        twin: Whether it is similar to another kind, so that it runs only with the slow tests.
    """

    make: Callable[[], Problem]
    parts: bool = True
    replicas: bool = True
    grouped: bool = False
    features: bool = True
    twin: bool = False
    recurrent: bool = False


KINDS: dict[str, Kind] = {}


def build(name: str) -> Problem:
    keras.utils.set_random_seed(7)
    return KINDS[name].make()


def rotation(
    ways: Sequence[Any],
    fits: Callable[[Kind, Any], bool] = lambda *_: True,
    costly: Callable[[Kind, Any], bool] = lambda *_: False,
    always: Sequence[tuple[str, Any]] = (),
):
    """Yields each kind with each way that fits; by default each kind runs with one way.

    Args:
        ways: Values of the second parameter of the test.
        fits: Tells whether a way applies to a kind.
        costly: Tells whether a kind takes long with a way.
        always: Pairs of a kind's name and a way that always run by default.
    """
    for index, (name, each) in enumerate(KINDS.items()):
        cheap = [way for way in ways if fits(each, way) and not costly(each, way)]
        chosen = None if each.twin or not cheap else cheap[index % len(cheap)]
        for way in ways:
            if not fits(each, way):
                continue
            marks = () if way == chosen or (name, way) in always else (pytest.mark.slow,)
            title = "-".join(map(str, way)) if isinstance(way, tuple) else str(way)
            yield pytest.param(name, way, marks=marks, id=f"{name}-{title}")


def each_way_once(
    ways: Sequence[Any],
    fits: Callable[[Kind, Any], bool] = lambda *_: True,
    first: int = 0,
    quick: Sequence[Any] | None = None,
    on_each: int = 1,
):
    """Yields each kind with each way that fits; by default each way once, with different kinds.

    By default `test_against_jacobian` covers each kind. Kinds that take long run only with the slow
    tests.

    Args:
        ways: Values of the second parameter of the test.
        fits: Tells whether a way applies to a kind.
        first: The index of the kind for the first way, so that tests use different kinds.
        quick: The ways that run by default; all, if not given.
        on_each: The number of ways per kind by default; they share cached results.
    """
    cheap = names(lambda kind: not kind.twin and not kind.recurrent)
    chosen: dict[Any, str] = {}
    for index, way in enumerate(ways if quick is None else quick):
        turned = cheap[(first + 3 * (index // on_each)) % len(cheap) :] + cheap
        taken = list(chosen.values())
        chosen[way] = next(k for k in turned if fits(KINDS[k], way) and taken.count(k) < on_each)
    for name, each in KINDS.items():
        for way in ways:
            if fits(each, way):
                title = "-".join(map(str, way)) if isinstance(way, tuple) else str(way)
                marks = () if chosen.get(way) == name else (pytest.mark.slow,)
                yield pytest.param(name, way, marks=marks, id=f"{name}-{title}")


def names(condition: Callable[[Kind], bool] = lambda kind: True) -> list[str]:
    return [name for name, kind in KINDS.items() if condition(kind)]


def variables(network: keras.Model) -> list[Any]:
    """Returns all variables that training may change, also of seeds, metrics and raw variables."""
    found = [*network.trainable_variables, *network.variables]
    for layer in network._flatten_layers():
        found += [v for metric in getattr(layer, "_metrics", ()) for v in metric.variables]
        found += [v for v in vars(layer).values() if isinstance(v, tf.Variable)]
    return list({id(v): v for v in found}.values())


def names_of(network: keras.Model) -> list[str]:
    return [getattr(v, "path", v.name) for v in variables(network)]


def values(network: keras.Model) -> list[np.ndarray]:
    return [v.numpy() for v in variables(network)]


def assert_close(found, expected, tolerance, names=None) -> None:
    """Compares arrays by position; the tolerance is relative to a largest value above one."""
    for index, (one, two) in enumerate(zip(found, expected, strict=True)):
        one, two = np.asarray(one), np.asarray(two)
        scale = max(1.0, float(np.abs(two).max(initial=0.0)))
        title = "" if names is None else names[index]
        assert np.isfinite(one.astype("float64")).all(), title
        np.testing.assert_allclose(one, two, rtol=0, atol=tolerance * scale, err_msg=title)


def kind(**traits: bool) -> Callable:
    def register(make: Callable[[], Problem]) -> Callable[[], Problem]:
        KINDS[make.__name__] = Kind(make, **traits)
        return make

    return register


def _random() -> np.random.Generator:
    return np.random.default_rng(3)


def _normal(*shape: int) -> np.ndarray:
    return _random().normal(size=(EXAMPLES, *shape)).astype("float32")


def _tokens(length: int = 4, number: int = 4, low: int = 0) -> np.ndarray:
    """Returns tokens of a small vocabulary, so that each occurs several times in a batch."""
    return _random().integers(low, number, (EXAMPLES, length)).astype("int32")


def _targets(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    return {t: rng.normal(size=(EXAMPLES, *s)).astype("float32") for t, s in shapes.items()}


def _problem(inputs: Any, outputs: dict[str, Any], x: Any) -> Problem:
    """Returns a problem whose tasks are regressions."""
    shapes = {name: tuple(output.shape[1:]) for name, output in outputs.items()}
    losses = {name: keras.losses.MeanSquaredError() for name in outputs}
    return Problem(keras.Model(inputs, outputs), x, _targets(shapes), losses)


def _heads(h: Any, number: int = 2) -> dict[str, Any]:
    return {
        task: layers.Dense(k + 1, name=f"head_{task}")(h) for k, task in enumerate("abc"[:number])
    }


def _dense(h: Any, units: int = 4, **options: Any) -> Any:
    return layers.Dense(units, **{"activation": "tanh", **options})(h)


def _flat(h: Any) -> Any:
    return layers.Flatten()(h)


def _vectors(trunk: Callable[[Any], Any], number: int = 2, width: int = 5) -> Problem:
    i = keras.Input((width,))
    return _problem(i, _heads(trunk(i), number), _normal(width))


def _sequences(trunk: Callable[[Any], Any]) -> Problem:
    i = keras.Input((4, 3))
    return _problem(i, _heads(trunk(i)), _normal(4, 3))


def _images(trunk: Callable[[Any], Any], number: int = 2) -> Problem:
    i = keras.Input((6, 6, 2))
    return _problem(i, _heads(_flat(trunk(i)), number), _normal(6, 6, 2))


def _words(trunk: Callable[[Any], Any], low: int = 0, **options: Any) -> Problem:
    i = keras.Input((4,), dtype="int32")
    h = trunk(layers.Embedding(7, 3, name="words", **options)(i))
    return _problem(i, _heads(h), _tokens(low=low))


# Dense layers.


@kind()
def dense() -> Problem:
    return _vectors(lambda i: _dense(_dense(i)), 3)


@kind(twin=True)
def two_of_three() -> Problem:
    """A layer that two tasks of three share."""
    i = keras.Input((5,))
    h = _dense(i)
    g = _dense(h)
    return _problem(i, {**_heads(g), "c": layers.Dense(2)(h)}, _normal(5))


@kind()
def called_twice() -> Problem:
    twice = layers.Dense(5, activation="tanh")
    return _vectors(lambda i: twice(twice(i)))


@kind(twin=True)
def residual() -> Problem:
    def trunk(i):
        h = _dense(i)
        h = h + _dense(h, use_bias=False)
        return layers.Add()([h, _dense(h)])

    return _vectors(trunk)


@kind(twin=True)
def frozen() -> Problem:
    def trunk(i):
        h = _dense(i, trainable=False)
        norm = layers.BatchNormalization(trainable=False)
        return _dense(norm(_dense(h)))

    return _vectors(trunk)


@kind(twin=True)
def frozen_head() -> Problem:
    i = keras.Input((5,))
    h = _dense(i)
    outputs = {"a": layers.Dense(1, trainable=False)(h), "b": layers.Dense(2)(_dense(h))}
    return _problem(i, outputs, _normal(5))


@kind(features=False)
def mmoe() -> Problem:
    i = keras.Input((5,))
    experts = ops.stack([_dense(i) for _ in range(3)], axis=1)
    outputs = {}
    for task in "ab":
        gate = layers.Dense(3, activation="softmax", use_bias=False)(i)
        outputs[task] = layers.Dense(1)(ops.sum(gate[:, :, None] * experts, axis=1))
    return _problem(i, outputs, _normal(5))


class CrossStitch(layers.Layer):
    def build(self, shapes):
        self.mix = self.add_weight(name="mix", shape=(2, 2), initializer="random_normal")

    def call(self, towers):
        return ops.unstack(ops.matmul(ops.stack(towers, -1), self.mix + ops.eye(2)), axis=-1)


@kind(features=False, twin=True)
def cross_stitch() -> Problem:
    i = keras.Input((5,))
    one, two = CrossStitch()([_dense(i), _dense(i)])
    return _problem(i, {"a": layers.Dense(1)(one), "b": layers.Dense(2)(two)}, _normal(5))


class LowRank(layers.Layer):
    """A frozen kernel and a trained difference of rank two that starts from zero."""

    def build(self, shape):
        def weight(name, shape, initializer, trainable=True):
            return self.add_weight(
                name=name, shape=shape, initializer=initializer, trainable=trainable
            )

        self.kernel = weight("kernel", (shape[-1], 4), "glorot_uniform", trainable=False)
        self.down = weight("down", (shape[-1], 2), "glorot_uniform")
        self.up = weight("up", (2, 4), "zeros")

    def call(self, x):
        return ops.matmul(x, self.kernel) + ops.matmul(ops.matmul(x, self.down), self.up)


@kind(twin=True)
def low_rank() -> Problem:
    return _vectors(lambda i: layers.Activation("tanh")(LowRank()(_dense(i))))


@kind(twin=True)
def keras_low_rank() -> Problem:
    layer = layers.Dense(4, activation="tanh")
    problem = _vectors(lambda i: layer(_dense(i)))
    layer.enable_lora(2)
    return problem


@kind(twin=True)
def adding_activation() -> Problem:
    """The activation of a layer without a bias adds a function of its input to it."""

    def trunk(i):
        return _dense(i, 40, activation=lambda z: z + ops.tanh(z), use_bias=False)

    return _vectors(trunk, 3, width=40)


@kind(twin=True)
def adding_activation_of_convolution() -> Problem:
    def trunk(i):
        h = layers.Conv2D(16, 3, activation="tanh")(i)
        return layers.Conv2D(16, 4, use_bias=False, activation=lambda z: z + ops.sigmoid(z))(h)

    return _images(trunk)


@kind(twin=True)
def stopped_gate() -> Problem:
    def gate(y):
        return y + ops.stop_gradient(y) * y

    def trunk(i):
        h = _dense(i, 40, activation=gate, use_bias=False)
        return layers.Activation("tanh")(h)

    return _vectors(trunk, 3, width=40)


class SpreadBias(layers.Layer):
    """A bias that broadcasts over a new axis."""

    def build(self, shape):
        self.bias = self.add_weight(name="bias", shape=(3, shape[-1]), initializer="random_normal")

    def call(self, x):
        return x[:, None] + self.bias


@kind(twin=True)
def spread_bias() -> Problem:
    def trunk(i):
        return _flat(
            layers.Activation("tanh")(SpreadBias()(_dense(i, 40, use_bias=False, activation=None)))
        )

    return _vectors(trunk, 3, width=40)


@kind(twin=True)
def parametric_activation() -> Problem:
    return _vectors(lambda i: layers.PReLU()(_dense(i, activation=None)))


@kind(twin=True)
def einsum_dense() -> Problem:
    def trunk(i):
        return _flat(layers.EinsumDense("btd,de->bte", (4, 3), bias_axes="e", activation="tanh")(i))

    return _sequences(trunk)


# Normalizations.


def _batch_norm(**options: Any) -> Problem:
    # No bias before it: its gradient would only be rounding error.
    return _vectors(
        lambda i: layers.Activation("tanh")(
            layers.BatchNormalization(momentum=0.9, **options)(
                _dense(i, use_bias=False, activation=None)
            )
        )
    )


@kind(parts=False, replicas=False, twin=True)
def batch_norm() -> Problem:
    return _batch_norm()


@kind(parts=False)
def synchronized_batch_norm() -> Problem:
    return _batch_norm(synchronized=True)


@kind(twin=True)
def group_norm() -> Problem:
    def trunk(i):
        return layers.Activation("tanh")(layers.GroupNormalization(2)(layers.Conv2D(4, 3)(i)))

    return _images(trunk)


@kind(twin=True)
def layer_norm() -> Problem:
    return _vectors(lambda i: layers.Activation("tanh")(layers.LayerNormalization()(_dense(i))))


@kind(twin=True)
def rms_and_unit_norm() -> Problem:
    return _vectors(lambda i: layers.UnitNormalization()(layers.RMSNormalization()(_dense(i))))


@kind(twin=True)
def spectral_dense() -> Problem:
    return _vectors(lambda i: layers.SpectralNormalization(layers.Dense(4, activation="tanh"))(i))


@kind(twin=True)
def spectral_convolution() -> Problem:
    return _images(
        lambda i: layers.SpectralNormalization(layers.Conv2D(3, 3, activation="tanh"))(i)
    )


# Convolutions.


@kind()
def convolution_and_pooling() -> Problem:
    return _images(lambda i: layers.MaxPooling2D(2)(layers.Conv2D(4, 3, activation="relu")(i)), 3)


@kind(twin=True)
def convolution_1d() -> Problem:
    def trunk(i):
        h = layers.Conv1D(4, 2, padding="causal", activation="tanh")(i)
        return layers.GlobalAveragePooling1D()(h)

    return _sequences(trunk)


@kind(grouped=True)
def grouped_convolution() -> Problem:
    return _images(lambda i: layers.Conv2D(4, 3, groups=2, activation="tanh")(i))


@kind(grouped=True, twin=True)
def depthwise_convolution() -> Problem:
    return _images(lambda i: layers.DepthwiseConv2D(3, depth_multiplier=2, activation="tanh")(i))


@kind(grouped=True, twin=True)
def separable_convolution() -> Problem:
    return _images(lambda i: layers.SeparableConv2D(3, 3, activation="tanh")(i))


@kind(twin=True)
def transposed_convolution() -> Problem:
    def trunk(i):
        h = layers.Conv2D(2, 3, strides=2, activation="tanh")(i)
        return layers.Conv2DTranspose(2, 3, activation="tanh")(h)

    return _images(trunk)


@kind(twin=True)
def dense_outputs() -> Problem:
    """A prediction for each pixel: labels of two sizes."""
    i = keras.Input((6, 6, 2))
    h = layers.Conv2D(3, 3, padding="same", activation="tanh")(i)
    outputs = {"a": layers.Conv2D(1, 1)(h), "b": layers.Conv2D(2, 2, strides=2)(h)}
    return _problem(i, outputs, _normal(6, 6, 2))


# Words and sequences.


@kind()
def repeated_tokens() -> Problem:
    return _words(_flat)


@kind(twin=True)
def two_embeddings() -> Problem:
    """One table looked up twice, and one that few examples read."""
    one, two = keras.Input((4,), dtype="int32"), keras.Input((2,), dtype="int32")
    table = layers.Embedding(7, 3)
    h = ops.concatenate([_flat(table(one)), _flat(table(two))], axis=-1)
    h = layers.Concatenate()([_dense(h), _flat(layers.Embedding(20, 2)(two))])
    return _problem((one, two), _heads(h), (_tokens(), _tokens(2)))


class Untied(layers.Layer):
    """Logits over the vocabulary, by the transposed matrix of an embedding."""

    def __init__(self, embedding):
        super().__init__()
        self.embedding = embedding

    def call(self, h):
        return ops.matmul(h, ops.transpose(self.embedding.embeddings))


@kind(features=False)
def tied_weights() -> Problem:
    i = keras.Input((4,), dtype="int32")
    table = layers.Embedding(7, 3)
    h = _dense(layers.GlobalAveragePooling1D()(table(i)), 3)
    network = keras.Model(i, {"a": Untied(table)(h), "b": layers.Dense(2)(h)})
    losses = {
        "a": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "b": keras.losses.MeanSquaredError(),
    }
    x = _tokens()
    return Problem(network, x, {"a": x[:, 0], **_targets({"b": (2,)})}, losses)


@kind(twin=True, recurrent=True)
def masked_lstm() -> Problem:
    return _words(layers.LSTM(4), mask_zero=True)


@kind(recurrent=True)
def masked_sequence() -> Problem:
    """A prediction for each token; padding does not count."""
    i = keras.Input((4,), dtype="int32")
    h = layers.GRU(4, return_sequences=True)(layers.Embedding(7, 3, mask_zero=True)(i))
    network = keras.Model(i, {"a": layers.Dense(3)(h), "b": layers.Dense(2)(h)})
    x = np.sort(_tokens(), axis=1)[:, ::-1].copy()
    x[:, 0] = np.maximum(x[:, 0], 1)
    losses = {
        "a": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "b": keras.losses.MeanSquaredError(),
    }
    return Problem(network, x, {"a": x % 3, **_targets({"b": (4, 2)})}, losses)


@kind()
def attention() -> Problem:
    def trunk(h):
        # The bias of the keys has no effect: its gradient would only be rounding error.
        h = h + layers.MultiHeadAttention(2, 2, use_bias=False)(h, h)
        return layers.GlobalAveragePooling1D()(layers.LayerNormalization()(h))

    return _words(trunk)


def _stateful(layer: type) -> Problem:
    i = keras.Input(batch_shape=(BATCH, 4, 3))
    return _problem(i, _heads(layer(4, stateful=True)(i)), _normal(4, 3))


@kind(parts=False, replicas=False, recurrent=True)
def stateful_lstm() -> Problem:
    return _stateful(layers.LSTM)


@kind(parts=False, replicas=False, twin=True, recurrent=True)
def stateful_gru() -> Problem:
    return _stateful(layers.GRU)


@kind(parts=False, replicas=False, recurrent=True, twin=True)
def dropout_of_lstm() -> Problem:
    return _sequences(layers.LSTM(4, dropout=0.3, recurrent_dropout=0.2, seed=5))


class DropoutCell(layers.Layer):
    """A custom recurrent cell that contains a layer with a seed."""

    def __init__(self, units):
        super().__init__()
        self.state_size = units
        self.mix = layers.Dense(units, activation="tanh")
        self.drop = layers.Dropout(0.3, seed=6)

    def build(self, shape):
        self.mix.build((None, shape[-1] + self.state_size))

    def call(self, x, states, training=False):
        h = self.drop(self.mix(ops.concatenate([x, states[0]], -1)), training=training)
        return h, [h]


@kind(parts=False, replicas=False, recurrent=True, twin=True)
def dropout_in_a_cell() -> Problem:
    return _sequences(layers.RNN(DropoutCell(4)))


@kind(parts=False, replicas=False, twin=True)
def dropout_in_an_unrolled_cell() -> Problem:
    return _sequences(layers.RNN(DropoutCell(4), unroll=True))


@kind(recurrent=True, twin=True)
def bidirectional() -> Problem:
    return _sequences(layers.Bidirectional(layers.GRU(3)))


@kind(twin=True)
def time_distributed() -> Problem:
    def trunk(i):
        return _flat(layers.TimeDistributed(layers.Dense(3, activation="tanh"))(i))

    return _sequences(trunk)


# Randomness.


@kind(parts=False, replicas=False)
def dropout() -> Problem:
    return _vectors(lambda i: layers.Dropout(0.4, seed=1)(_dense(layers.Dropout(0.2, seed=2)(i))))


@kind(parts=False, replicas=False, twin=True)
def spatial_dropout() -> Problem:
    return _images(lambda i: layers.SpatialDropout2D(0.4, seed=1)(layers.Conv2D(4, 3)(i)))


@kind(parts=False, replicas=False, twin=True)
def gaussian_noise() -> Problem:
    def trunk(i):
        return layers.GaussianDropout(0.2, seed=2)(_dense(layers.GaussianNoise(0.3, seed=1)(i)))

    return _vectors(trunk)


# Losses of layers.


@kind()
def weight_regularizers() -> Problem:
    def trunk(i):
        return _dense(i, kernel_regularizer=keras.regularizers.L2(0.02), bias_regularizer="l1")

    return _vectors(trunk)


@kind(parts=False, replicas=False)
def activity_regularizer() -> Problem:
    """The penalty is a sum over the batch, whose mean over parts is not that of the batch."""
    return _vectors(lambda i: _dense(i, activity_regularizer=keras.regularizers.L2(0.01)))


@kind(twin=True)
def regularized_embedding() -> Problem:
    return _words(_flat, embeddings_regularizer="l2")


class Added(layers.Layer):
    def call(self, x):
        self.add_loss(0.1 * ops.mean(ops.square(x)))
        return x


@kind(twin=True)
def added_loss() -> Problem:
    return _vectors(lambda i: Added()(_dense(i)))


# State of custom layers.


class Counter(layers.Layer):
    """Counts its calls in a raw variable."""

    def __init__(self):
        super().__init__()
        self.calls = tf.Variable(0.0, trainable=False, name="calls")

    def call(self, x, training=False):
        if training:
            self.calls.assign_add(1.0)
        return x


@kind()
def counter() -> Problem:
    return _vectors(lambda i: Counter()(_dense(i)))


class Watch(layers.Layer):
    """Tracks a metric."""

    def __init__(self, name="watch"):
        super().__init__(name=name)
        self.size = keras.metrics.Mean(name="size")

    def call(self, x):
        self.size.update_state(ops.abs(x))
        return x


@kind(twin=True)
def metric_in_a_layer() -> Problem:
    return _vectors(lambda i: Watch()(_dense(i)))


class Centre(layers.Layer):
    """Subtracts a moving mean."""

    def build(self, shape):
        self.mean = self.add_weight(
            name="mean", shape=shape[1:], initializer="zeros", trainable=False
        )

    def call(self, x, training=False):
        centred = x - ops.convert_to_tensor(self.mean)
        if training:
            self.mean.assign(0.9 * self.mean + 0.1 * ops.mean(ops.stop_gradient(x), axis=0))
        return centred


@kind(parts=False, replicas=False, twin=True)
def moving_mean() -> Problem:
    return _vectors(lambda i: Centre()(_dense(i)))


# Forms of networks.


@kind(twin=True)
def dict_inputs() -> Problem:
    i = {"left": keras.Input((3,), name="left"), "right": keras.Input((2,), name="right")}
    h = _dense(ops.concatenate([_dense(i["left"]), i["right"]], axis=-1))
    return _problem(i, _heads(h), {"left": _normal(3), "right": _normal(2)})


@kind(twin=True)
def list_inputs() -> Problem:
    i = [keras.Input((3,)), keras.Input((2,))]
    return _problem(i, _heads(_dense(layers.Concatenate()(i))), [_normal(3), _normal(2)])


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.trunk = layers.Dense(4, activation="tanh")
        self.outs = {"a": layers.Dense(1), "b": layers.Dense(2)}

    def call(self, inputs):
        h = self.trunk(inputs)
        return {name: out(h) for name, out in self.outs.items()}


@kind()
def subclassed() -> Problem:
    network, x = Subclassed(), _normal(5)
    network(x[:2])
    losses = {name: keras.losses.MeanSquaredError() for name in "ab"}
    return Problem(network, x, _targets({"a": (1,), "b": (2,)}), losses)


@kind(twin=True)
def nested() -> Problem:
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(4, activation="tanh")])
    i = keras.Input((4,))
    outer = keras.Model(i, _dense(i))
    return _vectors(lambda x: outer(inner(x)))


@kind(twin=True)
def concatenated_heads() -> Problem:
    i = keras.Input((5,))
    h = _dense(i)
    both = layers.Concatenate()([layers.Dense(k)(h) for k in (1, 2, 1)])
    return _problem(i, {"a": both[:, :1], "b": both[:, 1:3], "c": both[:, 3:]}, _normal(5))


@kind(twin=True)
def stacked_heads() -> Problem:
    i = keras.Input((5,))
    h = _dense(i)
    stack = ops.stack([layers.Dense(2)(h) for _ in "abc"], axis=1)
    parts = ops.unstack(stack, 3, axis=1)
    return _problem(i, dict(zip("abc", parts, strict=True)), _normal(5))


@kind(features=False, twin=True)
def one_kernel_for_all() -> Problem:
    """One layer whose columns belong to different tasks: the whole layer counts as shared."""
    i = keras.Input((5,))
    both = layers.Dense(3)(_dense(i))
    return _problem(i, {"a": both[:, :1], "b": both[:, 1:]}, _normal(5))


@kind()
def mixed_losses() -> Problem:
    i = keras.Input((5,))
    h = _dense(i)
    outputs = {
        "class": layers.Dense(3)(h),
        "flag": layers.Dense(1, activation="sigmoid")(h),
        "size": layers.Dense(2)(h),
    }
    losses = {
        "class": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "flag": keras.losses.BinaryCrossentropy(),
        "size": keras.losses.Huber(0.5),
    }
    x = _normal(5)
    y = {"class": np.argmax(x[:, :3], 1), "flag": (x[:, :1] > 0).astype("float32")}
    return Problem(keras.Model(i, outputs), x, {**y, **_targets({"size": (2,)})}, losses)


class Slopes(layers.Layer):
    """Returns values and their derivatives by the inputs, like physics-informed networks."""

    def __init__(self):
        super().__init__()
        self.hidden, self.values = layers.Dense(4, "tanh"), layers.Dense(1)

    def call(self, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = self.values(self.hidden(x))
        return tf.concat([y, tape.gradient(y, x)], -1)


@kind()
def derivatives() -> Problem:
    return _vectors(lambda i: Slopes()(i))
