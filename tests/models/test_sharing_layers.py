"""Each sharing layer equals its paper's formula in NumPy; invalid arguments are errors."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from mtk.models.sharing import CGC, MTAN, PLE, CrossStitch, DSelectK, Experts, MMoE
from mtk.models.sharing.dselect_k import smooth_step

TASKS = ["a", "b"]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 3)).astype("float32")
IMAGES = RNG.normal(size=(2, 4, 4, 3)).astype("float32")


def _softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _dense(layer, x):
    return np.tanh(x @ layer.kernel.numpy() + layer.bias.numpy())


def _expert():
    return layers.Dense(4, "tanh", bias_initializer="normal")


def _mixture(gate, experts, x):
    return sum(gate[:, [i]] * _dense(expert, x) for i, expert in enumerate(experts))


def test_mmoe():
    layer = MMoE(TASKS, 3, _expert())
    found = layer(X)
    for task in TASKS:
        gate = _softmax(X @ layer.gates[task].kernel.numpy())
        expected = _mixture(gate, layer.experts.experts, X)
        np.testing.assert_allclose(found[task], expected, atol=1e-6)


def test_gates_read_the_spatial_mean_of_an_image():
    layer = MMoE(TASKS, 2, layers.Conv2D(4, 3, padding="same"))
    found = layer(IMAGES)["a"]
    gate = _softmax(IMAGES.mean(axis=(1, 2)) @ layer.gates["a"].kernel.numpy())
    each = [expert(IMAGES).numpy() for expert in layer.experts.experts]
    expected = sum(gate[:, i, None, None, None] * x for i, x in enumerate(each))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def _cgc(level, x):
    """Computes one level from `{task: x, "shared": x}`."""
    outputs = {
        name: [_dense(expert, x[name]) for expert in side.experts]
        for name, side in level.experts.items()
    }
    found = {}
    for name, gate in level.gates.items():
        seen = outputs[name] + outputs["shared"]
        if name == "shared":
            seen = [y for of in outputs.values() for y in of]
        weights = _softmax(x[name] @ gate.kernel.numpy())
        found[name] = sum(weights[:, [i]] * y for i, y in enumerate(seen))
    return found


def test_cgc():
    layer = CGC(TASKS, 2, 3, _expert)
    found = layer(X)
    expected = _cgc(layer, dict.fromkeys([*TASKS, "shared"], X))
    assert list(found) == TASKS
    for task in TASKS:
        np.testing.assert_allclose(found[task], expected[task], atol=1e-6)


@pytest.mark.parametrize("own_inputs", [False, True])
def test_ple(own_inputs):
    levels = [CGC(TASKS, 1, 2, _expert, shared_gate=True), CGC(TASKS, 2, 1, _expert)]
    names = [*TASKS, "shared"]
    x = {name: X + i * own_inputs for i, name in enumerate(names)}
    found = PLE(levels)(x if own_inputs else X)
    assert levels[0].gates["shared"].kernel.shape == (3, 4)
    expected = _cgc(levels[1], _cgc(levels[0], x))
    for task in TASKS:
        np.testing.assert_allclose(found[task], expected[task], atol=1e-6)


def test_smooth_step():
    x = np.array([-9.0, -0.5, -0.25, 0.0, 0.1, 0.5, 9.0])
    with tf.GradientTape() as tape:
        variable = tf.Variable(x)
        found = smooth_step(variable, 1.0)
    between = -2 * x**3 + 1.5 * x + 0.5
    np.testing.assert_allclose(found, np.where(x < -0.5, 0, np.where(x > 0.5, 1, between)))
    slope = np.where(np.abs(x) < 0.5, 1.5 - 6 * x**2, 0)
    np.testing.assert_allclose(tape.gradient(found, variable), slope, atol=1e-12)


def _selectors(gate, x):
    """Computes the selectors r `(B, k, E)` per expert and bit."""
    t = x @ gate.code_kernel.numpy() + gate.code_bias.numpy()
    t = np.clip(t / gate.gamma, -0.5, 0.5).reshape(len(x), gate.k, gate.num_bits)
    s = -2 * t**3 + 1.5 * t + 0.5
    found = np.ones((len(x), gate.k, gate.num_experts))
    for expert in range(gate.num_experts):
        for bit in range(gate.num_bits):
            one = s[..., bit]
            found[..., expert] *= one if expert >> bit & 1 else 1 - one
    return found


@pytest.mark.parametrize(("experts", "k", "gamma"), [(2, 1, 1.0), (4, 2, 3.0), (5, 3, 2.0)])
def test_dselect_k(experts, k, gamma):
    layer = DSelectK(TASKS, experts, _expert(), k=k, gamma=gamma, entropy=0.3)
    layer.build(X.shape)
    for gate in layer.gates.values():  # The initial weights make all selectors equal.
        gate.code_kernel.assign(RNG.normal(size=gate.code_kernel.shape))
    found = layer(X)
    penalty = 0.0
    for task, gate in layer.gates.items():
        r = _selectors(gate, X)
        alpha = _softmax(X @ gate.weight_kernel.numpy() + gate.weight_bias.numpy())
        mixed = np.einsum("bk,bke->be", alpha, r)
        expected = _mixture(mixed, layer.experts.experts, X)
        np.testing.assert_allclose(found[task], expected, atol=2e-5)
        entropy = -(r * np.log(r + 1e-6)).sum(axis=(1, 2)).mean()
        penalty += 0.3 * entropy
        if experts & (experts - 1):
            penalty += (1 / (r.sum(axis=-1) + 1e-6)).sum(axis=1).mean()
    np.testing.assert_allclose(sum(map(float, layer.losses)), penalty, rtol=1e-4)


def test_dselect_k_selects_k_experts_when_the_smooth_step_saturates():
    layer = DSelectK(["a"], 8, _expert(), k=2, seed=0)
    layer.build(X.shape)
    gate = layer.gates["a"]
    gate.code_kernel.assign(1e3 * RNG.normal(size=gate.code_kernel.shape))
    found = gate(X).numpy()
    assert ((found > 0).sum(axis=1) <= 2).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert len({tuple(row) for row in found > 0}) > 1


@pytest.mark.parametrize("per_channel", [False, True])
def test_cross_stitch(per_channel):
    names = ["a", "b", "c"]
    layer = CrossStitch(names, same=0.8, per_channel=per_channel)
    x = {name: X + i for i, name in enumerate(names)}
    start = layer(x)
    np.testing.assert_allclose(start["b"], 0.1 * x["a"] + 0.8 * x["b"] + 0.1 * x["c"], rtol=1e-5)
    for row in layer.rows.values():
        assert row.shape == (3, 3 if per_channel else 1)
        row.assign(RNG.normal(size=row.shape))
    found = layer(x)
    for task, row in layer.rows.items():
        expected = sum(row.numpy()[j] * x[name] for j, name in enumerate(names))
        np.testing.assert_allclose(found[task], expected, atol=1e-5)


def test_mtan():
    """1x1 convolutions are matrix products; batch norm starts as a division by a constant."""
    layer = MTAN(TASKS, filters=5, pool=2)
    taken = {task: RNG.normal(size=(2, 4, 4, 2)).astype("float32") for task in TASKS}
    late = RNG.normal(size=(2, 4, 4, 6)).astype("float32")
    found = layer(IMAGES, late, taken)
    norm = (1 + 1e-3) ** -0.5
    for task in TASKS:
        g, h = (part.layers[0].kernel.numpy()[0, 0] for part in layer.masks[task])
        x = np.concatenate([IMAGES, taken[task]], axis=-1)
        mask = 1 / (1 + np.exp(-np.maximum(x @ g * norm, 0) @ h * norm))
        kernel = layer.further.layers[0].kernel.numpy()
        chosen = np.pad(mask * late, ((0, 0), (1, 1), (1, 1), (0, 0)))
        near = np.lib.stride_tricks.sliding_window_view(chosen, (3, 3), axis=(1, 2))
        y = np.maximum(np.einsum("bhwcij,ijcf->bhwf", near, kernel) * norm, 0)
        expected = y.reshape(2, 2, 2, 2, 2, 5).max(axis=(2, 4))
        np.testing.assert_allclose(found[task], expected, atol=1e-5)
    assert layer.further.layers[0].kernel.shape == (3, 3, 6, 5)


def test_first_mtan_block_needs_no_previous_features():
    assert MTAN(TASKS, 5)(IMAGES, IMAGES)["b"].shape == (2, 4, 4, 5)


@pytest.mark.parametrize("seed", [None, 3])
def test_cloned_experts_have_separate_weights(seed):
    initializer = keras.initializers.GlorotUniform(seed=seed)
    expert = keras.Sequential([layers.Dense(4, kernel_initializer=initializer)], name="e")
    cgc = CGC(TASKS, 2, 2, expert)
    cgc(X)
    kernels = [v.numpy().ravel() for v in cgc.trainable_variables if v.shape == (3, 4)]
    kernels = [k for k in kernels if k.any()]
    assert len({tuple(kernel) for kernel in kernels}) == len(kernels) == 6 + 2
    assert not expert.built


def test_experts_with_the_same_name_get_unique_paths():
    layer = MMoE(TASKS, 2, lambda: layers.Dense(4, name="expert"))
    layer(X)
    assert len({v.path for v in layer.variables}) == len(layer.variables) == 6


def test_experts_may_differ():
    experts = [layers.Dense(4), keras.Sequential([layers.Dense(9, "relu"), layers.Dense(4)])]
    assert MMoE(TASKS, 2, experts)(X)["a"].shape == (5, 4)


def _the_same_layer_twice():
    dense = layers.Dense(3)
    return [dense, dense]


@pytest.mark.parametrize(
    ("make", "culprit"),
    [
        (lambda: MMoE(TASKS, 0, _expert()), "0"),
        (lambda: MMoE(TASKS, 2.0, _expert()), "2.0"),
        (lambda: MMoE([], 2, _expert()), "task_names"),
        (lambda: MMoE("ab", 2, _expert()), "task_names"),
        (lambda: MMoE(["a", "a"], 2, _expert()), "task_names"),
        (lambda: MMoE(TASKS, 2, [_expert()]), "1 layer;"),
        (lambda: MMoE(TASKS, 2, 7), "7"),
        (lambda: MMoE(TASKS, 2, lambda: 7), "7"),
        (lambda: MMoE(TASKS, 2, _the_same_layer_twice()), "twice"),
        (lambda: MMoE(TASKS, 2, [layers.Dense(3), layers.Dense(4)])(X), "the same shape"),
        (lambda: MMoE(TASKS, 1, MMoE(TASKS, 1, _expert()))(X), "one tensor"),
        (lambda: MMoE(TASKS, 2, _expert())(X[:, 0]), "features"),
        (lambda: Experts([]), "one or more"),
        (lambda: DSelectK(TASKS, 2, _expert(), k=3), "k=3"),
        (lambda: DSelectK(TASKS, 2, _expert(), k=0), "k=0"),
        (lambda: DSelectK(TASKS, 1, _expert(), k=1), "num_experts=1"),
        (lambda: DSelectK(TASKS, 2, _expert(), gamma=0), "gamma=0"),
        (lambda: DSelectK(TASKS, 2, _expert(), gamma=float("nan")), "gamma=nan"),
        (lambda: DSelectK(TASKS, 2, _expert(), entropy=-1), "entropy=-1"),
        (lambda: CGC(TASKS, 0, 1, _expert()), "0"),
        (lambda: CGC(TASKS, 1, 0, _expert()), "0"),
        (lambda: CGC([*TASKS, "shared"], 1, 1, _expert()), "shared"),
        (lambda: CGC(TASKS, 1, 1, [_expert()]), "'shared': 1"),
        (lambda: CGC(TASKS, 1, 1, _expert())({"a": X, "b": X}), "shared"),
        (lambda: CGC(TASKS, 1, 1, _expert())({"a": X, "c": X, "shared": X}), "'c'"),
        (lambda: PLE([]), "levels"),
        (lambda: PLE([CGC(TASKS, 1, 1, _expert), CGC(TASKS, 1, 1, _expert)]), "Level 1"),
        (lambda: PLE([CGC(TASKS, 1, 1, _expert, shared_gate=True)]), "Level 1"),
        (
            lambda: PLE([CGC(TASKS, 1, 1, _expert, True), CGC(["a", "c"], 1, 1, _expert)]),
            "'c'",
        ),
        (lambda: CrossStitch(TASKS, same=1.5), "1.5"),
        (lambda: CrossStitch(TASKS)({"a": X}), "'b'"),
        (lambda: CrossStitch(TASKS)(X), "not a dict"),
        (lambda: CrossStitch(TASKS)({"a": X, "b": X[:, :2]}), "the same shape"),
        (lambda: MTAN(TASKS, 0), "filters=0"),
        (lambda: MTAN(TASKS, 2)(IMAGES, IMAGES, {"a": IMAGES}), "'b'"),
        (lambda: MTAN(TASKS, 2)(IMAGES, IMAGES[:, 1:]), "height and width"),
    ],
)
def test_invalid_arguments_are_named(make, culprit):
    with pytest.raises(ValueError, match=culprit):
        make()
