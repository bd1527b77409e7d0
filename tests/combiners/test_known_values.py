"""Weights worked out by hand, one row each."""

import math

import numpy as np
import pytest
import tensorflow as tf

from mtk import combiners

ORTHOGONAL = [[1, 0], [0, 4]]
CONFLICT = [[1, -1], [-1, 2]]
THREE = [[1, 0, 0], [0, 4, 0], [0, 0, 16]]
PAIR_AND_ONE = [[1, -1, 0], [-1, 2, 0], [0, 0, 9]]

GRAMIANS = [
    # (method, Gramian, losses or None, weights)
    (combiners.MGDA(), ORTHOGONAL, None, [4 / 5, 1 / 5]),
    (combiners.MGDA(), [[4, 2], [2, 1]], None, [0, 1]),
    (combiners.MGDA(), [[1e6, 100], [100, 1]], None, [0, 1]),
    (combiners.MGDA(), CONFLICT, None, [3 / 5, 2 / 5]),
    (combiners.MGDA(), THREE, None, [16 / 21, 4 / 21, 1 / 21]),
    (combiners.MGDA(), [[2, 0, 0], [0, 0, 0], [0, 0, 0]], None, [0, 1 / 2, 1 / 2]),
    (combiners.MGDA("l2"), ORTHOGONAL, None, [1 / 2, 1 / 2]),
    (combiners.MGDA("l2"), [[2, 0], [0, 0]], None, [1, 0]),
    (combiners.MGDA("loss"), ORTHOGONAL, [1, 2], [1 / 2, 1 / 2]),
    (combiners.MGDA("loss+"), ORTHOGONAL, [1, 2], [1 / 5, 4 / 5]),
    (combiners.MGDA("loss+"), THREE, [1, 2, 4], [1 / 21, 4 / 21, 16 / 21]),
    (combiners.PCGrad(), CONFLICT, None, [1, 3 / 4]),
    (combiners.PCGrad(), [[1, 1], [1, 2]], None, [1 / 2, 1 / 2]),
    (combiners.PCGrad(), PAIR_AND_ONE, None, [2 / 3, 1 / 2, 1 / 3]),
    (combiners.GradVac(), CONFLICT, None, [1, 3 / 4]),
    (combiners.UPGrad(), CONFLICT, None, [1, 3 / 4]),
    (combiners.UPGrad(), PAIR_AND_ONE, None, [2 / 3, 1 / 2, 1 / 3]),
    (combiners.UPGrad(), [[1, 0, 0], [0, 0, 0], [0, 0, 1]], None, [1 / 3, 1 / 3, 1 / 3]),
    (combiners.IMTLG(), ORTHOGONAL, None, [2 / 3, 1 / 3]),
    (combiners.IMTLG(), THREE, None, [4 / 7, 2 / 7, 1 / 7]),
    (combiners.IMTLG(), [[1, 2], [2, 4]], None, [2 / 3, 1 / 3]),
    (combiners.IMTLG(), [[1, -2], [-2, 4]], None, [2 / 3, 1 / 3]),
    (combiners.IMTLG(), [[1, 0], [0, 0]], None, [1, 0]),
    (combiners.IMTL(), ORTHOGONAL, None, [2 / 3, 1 / 3]),
    (combiners.NashMTL("paper"), ORTHOGONAL, None, [1, 1 / 2]),
    (combiners.NashMTL("paper"), [[1, -1], [-1, 4]], None, [math.sqrt(2), math.sqrt(1 / 2)]),
    (combiners.NashMTL("paper"), THREE, None, [1, 1 / 2, 1 / 4]),
    (combiners.NashMTL("mean"), [[1, -1], [-1, 4]], None, [2 / 3, 1 / 3]),
    # sqrt(|G|_F) times as long, |G|_F = sqrt(17); then of length one, |d|^2 = 2 without clipping.
    (combiners.NashMTL(max_norm=0.0), ORTHOGONAL, None, [17**0.25, 17**0.25 / 2]),
    (combiners.NashMTL(), ORTHOGONAL, None, [math.sqrt(1 / 2), math.sqrt(1 / 8)]),
    (
        combiners.NashMTL(max_norm=3.0),
        THREE,
        None,
        [math.sqrt(3), math.sqrt(3 / 4), math.sqrt(3 / 16)],
    ),
    (combiners.NashMTL(), [[1e-4, 0], [0, 1e-4]], None, [2**0.25, 2**0.25]),
    # Parallel gradients: all weights are optimal, and equal ones are chosen.
    (combiners.MGDA("l2"), [[1, 2], [2, 4]], None, [1 / 2, 1 / 2]),
    (combiners.MGDA("l2"), np.outer([1, 3, 7], [1, 3, 7]), None, [1 / 3, 1 / 3, 1 / 3]),
    # Equal norms in units of the preference, (2/3, 4/3): the improvements are as 1 to 2.
    (combiners.MGDA(preference=[1, 2]), ORTHOGONAL, None, [2 / 3, 1 / 3]),
    # Half of the projection (1, 1/2), and three halves of (1, 1); their mean.
    (combiners.UPGrad(preference=[1, 3]), CONFLICT, None, [1, 7 / 8]),
    (combiners.AlignedMTL(preference=[1, 3]), ORTHOGONAL, None, [1 / 4, 3 / 8]),
    (combiners.CAGrad(0.0, preference=[1, 3]), ORTHOGONAL, None, [1 / 4, 3 / 4]),
    # Orthogonal: w_i^2 |g_i|^2 = r_i, at (1/2, 3/2).
    (
        combiners.NashMTL("paper", preference=[1, 3]),
        ORTHOGONAL,
        None,
        [math.sqrt(1 / 2), math.sqrt(3 / 8)],
    ),
    # Both at the length of the mean of their norms, 3/2.
    (combiners.EnCodecBalancer(), ORTHOGONAL, None, [3 / 4, 3 / 8]),
    (combiners.EnCodecBalancer([1, 3], 4.0), ORTHOGONAL, None, [1, 3 / 2]),
    # The gradients of the logarithms are equally long.
    (combiners.DBMTL(beta=0.0), ORTHOGONAL, [1, 2], [1 / 2, 1 / 4]),
    (combiners.DBMTL(beta=0.0), ORTHOGONAL, [1, 1], [1, 1 / 2]),
    (combiners.AlignedMTL(), ORTHOGONAL, None, [1 / 2, 1 / 4]),
    (combiners.AlignedMTL(), [[2, -1], [-1, 2]], None, [1 / 2, 1 / 2]),
    (combiners.AlignedMTL(), [[1, 2], [2, 4]], None, [0.3, 0.6]),
    (combiners.AlignedMTL(), [[1e-8, 0], [0, 1e8]], None, [1 / 2, 5e-9]),
    (combiners.AlignedMTL(), [[1, 0], [0, 0]], None, [1 / 2, 0]),
    # g_w is g_1 here: d = g_0 + c |g_0| g_1, |g_0| = sqrt(5) / 2.
    (combiners.CAGrad(0.5), ORTHOGONAL, None, [(2 + math.sqrt(5)) / 6, 1 / 3]),
    (combiners.CAGrad(0.5, "1+c^2"), ORTHOGONAL, None, [(2 + math.sqrt(5)) / 5, 2 / 5]),
    (combiners.CAGrad(0.5, "none"), ORTHOGONAL, None, [(2 + math.sqrt(5)) / 4, 1 / 2]),
    (combiners.CAGrad(0.0), CONFLICT, None, [1 / 2, 1 / 2]),
    # |g_2| = 2 |g_1|, opposed: g_w vanishes, and so does what conflicts with neither.
    (combiners.CAGrad(2.0, "none"), [[1, -2], [-2, 4]], None, [1.7, 0.85]),
    (combiners.GradNorm(), ORTHOGONAL, None, [1 / 2, 1 / 2]),
    (combiners.IGN(), ORTHOGONAL, None, [2 / 3, 1 / 3]),
    (combiners.IGN(), [[4, 2], [2, 1]], None, [1 / 3, 2 / 3]),
    (combiners.IGN(), THREE, None, [4 / 7, 2 / 7, 1 / 7]),
    (combiners.IGN(), [[1, 0], [0, 0]], None, [1, 0]),
    # Independent: w_i = a_i sum(|g|) / (K |g_i| sum(a)) with C a = 1.
    (combiners.ConFIG(), ORTHOGONAL, None, [3 / 4, 3 / 8]),
    (combiners.ConFIG(), THREE, None, [7 / 9, 7 / 18, 7 / 36]),
    (combiners.ConFIG(), CONFLICT, None, [(1 + 2**0.5) / 4, (1 + 2**0.5) / 4 / 2**0.5]),
    (combiners.ConFIG(), [[1, 2], [2, 4]], None, [3 / 4, 3 / 8]),
    (combiners.ConFIG(), [[1, -2], [-2, 4]], None, [0, 0]),
    (combiners.ConFIG([1, 2]), ORTHOGONAL, None, [1 / 2, 1 / 2]),
    (combiners.DualProj(), CONFLICT, None, [1 / 2, 1 / 2]),
    # The mean conflicts with g_1: half of g_1 is added.
    (combiners.DualProj(), [[1, -2], [-2, 9]], None, [1, 1 / 2]),
    (combiners.DualProj([3, 1]), [[1, -2], [-2, 9]], None, [3 / 4, 1 / 4]),
    (combiners.DualProj(), [[1, 0], [0, 0]], None, [1 / 2, 1 / 2]),
    # Orthogonal: w |g|^2 = w^(-1/alpha), w = |g|^(-2 alpha / (alpha + 1)).
    (combiners.FairGrad(scale="paper"), ORTHOGONAL, None, [1, 2 ** (-4 / 3)]),
    (combiners.FairGrad(5.0, "paper"), THREE, None, [1, 2 ** (-5 / 3), 4 ** (-5 / 3)]),
    # Made from w = (1, 1/4): G w = (1, 2).
    (combiners.FairGrad(scale="paper"), [[5 / 4, -1], [-1, 12]], None, [1, 1 / 4]),
    (combiners.FairGrad(), [[5 / 4, -1], [-1, 12]], None, [4 / 5, 1 / 5]),
    (combiners.FairGrad(1.0, "paper"), [[1, -1], [-1, 4]], None, [2**0.5, 0.5**0.5]),
    # alpha = 1 and r = (2/5, 8/5): (w |g|)^2 = r.
    (combiners.FairGrad(1.0, "paper", [1, 4]), ORTHOGONAL, None, [0.4**0.5, 0.4**0.5]),
    # First steps, from equal weights and with one Gramian for all parts of the batch:
    # a step of -0.1 (1/2, 2), and the projection back on the simplex.
    (combiners.MoDo(0.1, 0.0), ORTHOGONAL, None, [0.575, 0.425]),
    (combiners.MoDo(10.0, 0.0), ORTHOGONAL, None, [1, 0]),
    # A step of -(1/2, 2) / |G|; after many it is MGDA.
    (
        combiners.SDMGrad(0.0, iterations=1),
        ORTHOGONAL,
        None,
        [1 / 2 + 3 / 4 / math.sqrt(17), 1 / 2 - 3 / 4 / math.sqrt(17)],
    ),
    (combiners.SDMGrad(0.0, iterations=500), ORTHOGONAL, None, [4 / 5, 1 / 5]),
    # Adam's first step has the length of the learning rate, where there is a slope: (11, 10) / 10.
    (combiners.AutoLambda(0.1, [1, 0]), ORTHOGONAL, None, [11 / 21, 10 / 21]),
    # Both tasks prefer the longer gradient; with orthogonal ones their changes are opposite.
    (
        combiners.MOML(0.1),
        [[4, 2], [2, 1]],
        None,
        [1 / (1 + math.exp(-0.2)), 1 / (1 + math.exp(0.2))],
    ),
    (combiners.MOML(0.1), ORTHOGONAL, None, [1 / 2, 1 / 2]),
    # nu is zero: half of each unit gradient, at the length of the mean gradient, sqrt(5) / 2.
    (combiners.FORUM(), ORTHOGONAL, None, [math.sqrt(5) / 4, math.sqrt(5) / 8]),
    # Halfway from equal weights to those of MGDA.
    (combiners.CRMOGM(combiners.MGDA(), 0.5), ORTHOGONAL, None, [0.65, 0.35]),
    (combiners.WarmUp(combiners.MGDA(), 1), ORTHOGONAL, None, [1 / 2, 1 / 2]),
    (combiners.WarmUp(combiners.MGDA(), 1, [3, 1]), ORTHOGONAL, None, [3 / 4, 1 / 4]),
    (combiners.TaskSubset(combiners.MGDA(), 2), ORTHOGONAL, None, [4 / 5, 1 / 5]),
    (combiners.Every(combiners.MGDA(), 5), ORTHOGONAL, None, [4 / 5, 1 / 5]),
    # Half of each, at a length of 3/2.
    (combiners.UnitGradients(combiners.MGDA()), ORTHOGONAL, None, [3 / 4, 3 / 8]),
]


@pytest.mark.parametrize(
    ("combiner", "gramian", "losses", "weights"),
    GRAMIANS,
    ids=lambda value: value.name if isinstance(value, combiners.Combiner) else "",
)
def test_weights_from_the_gramian(combiner, gramian, losses, weights):
    number = len(gramian)
    combiner.build(number)
    found = combiner.gramian_weights(
        tf.constant(gramian, tf.float32),
        tf.ones(number) if losses is None else tf.constant(losses, tf.float32),
        tf.ones(number, tf.bool),
    ).numpy()
    gramian = np.array(gramian, float)
    np.testing.assert_allclose(gramian @ found, gramian @ weights, atol=1e-5 * gramian.max())
    if np.linalg.matrix_rank(gramian) == number:
        np.testing.assert_allclose(found, weights, rtol=1e-5, atol=1e-7)


LOSSES = [
    # (method, losses, counts, weights)
    (combiners.RLW(), [5, 0], [1, 0], [1, 0]),
    (combiners.StaticWeights([3, 1]), [5, 6], [1, 1], [3 / 4, 1 / 4]),
    (combiners.StaticWeights([3, 1]), [5, 0], [1, 0], [1, 0]),
    (combiners.ProportionalSampling(), [5, 6], [30, 10], [3 / 4, 1 / 4]),
    (combiners.UncertaintyWeights(["a"]), [5, 6], [1, 1], [1 / 4, 1 / 2]),
    (combiners.UncertaintyWeights(["a"]), [5, 0], [1, 0], [1 / 2, 0]),
    (combiners.DWA(2), [5, 6], [1, 1], [1 / 2, 1 / 2]),
    (combiners.FAMO(), [1, 3], [1, 1], [3 / 4, 1 / 4]),
    (combiners.FAMO(bounds=[-1, 1]), [1, 3], [1, 1], [1 / 2, 1 / 2]),
    (combiners.FAMO(), [0, 3], [1, 1], [0, 1]),
    (combiners.FAMO(), [0, 0], [1, 1], [1 / 2, 1 / 2]),
    (combiners.FAMO(), [-2, 3], [1, 1], [0, 1]),
    (combiners.IMTLL(), [5, 6], [1, 1], [1 / 2, 1 / 2]),
    (combiners.ScaleInvariant(), [1, 3], [1, 1], [3 / 4, 1 / 4]),
    (combiners.ScaleInvariant([-1, 1]), [1, 3], [1, 1], [1 / 2, 1 / 2]),
    (combiners.ScaleInvariant(), [-2, 3], [1, 1], [0, 1]),
    (combiners.GLS(), [1, 4], [1, 1], [1, 1 / 4]),
    (combiners.GLS({"a": -3, "b": 0}), [1, 4], [1, 1], [1 / 2, 1 / 2]),
    (combiners.GLS(), [1, 0], [1, 0], [1, 0]),
    (combiners.UWSO(1.0), [1, 0.5], [1, 1], [1 / (1 + math.e), math.e / (1 + math.e)]),
    (combiners.UWSO(2.0), [1e-30, 3], [1, 1], [1, 0]),
    (combiners.STCH(1), [1, 3], [1, 1], [3 / 4, 1 / 4]),
    (combiners.STCH(1, preference=[1, 2]), [1, 3], [1, 1], [3 / 5, 2 / 5]),
    (combiners.Tchebycheff(), [5, 6], [1, 1], [0, 1]),
    (combiners.Tchebycheff(), [6, 6], [1, 1], [1 / 2, 1 / 2]),
    (combiners.Tchebycheff([3, 1]), [5, 6], [1, 1], [1, 0]),
    (combiners.Tchebycheff(ideal={"a": 4.5, "b": 6}), [5, 6], [1, 1], [1, 0]),
    (combiners.Tchebycheff(), [-5, 0], [1, 0], [1, 0]),
    # u = (1, 1) / sqrt(2), the way from the ray (1, -1) / sqrt(2).
    (combiners.PBI(), [4, 3], [1, 1], [3, -2]),
    (combiners.PBI(0.0), [4, 3], [1, 1], [1 / 2, 1 / 2]),
    (combiners.PBI(preference=[1, 2]), [2, 1], [1, 1], [2 / 3, 1 / 3]),
    (combiners.PBI(ideal=[3, 2]), [4, 3], [1, 1], [1 / 2, 1 / 2]),
    # |L| = 5 and u . L / |L| = 7 / (5 sqrt(2)).
    (
        combiners.COSMOS(1.0),
        [3, 4],
        [1, 1],
        [0.5 - 4 / 125 / math.sqrt(2), 0.5 + 3 / 125 / math.sqrt(2)],
    ),
    (combiners.COSMOS(preference=[1, 2]), [2, 1], [1, 1], [1 / 3, 2 / 3]),
    (combiners.SoftAdapt(), [5, 6], [1, 1], [1 / 2, 1 / 2]),
    (combiners.SoftAdapt(variant="loss_weighted"), [2, 6], [1, 1], [1 / 4, 3 / 4]),
]


@pytest.mark.parametrize(
    ("combiner", "losses", "counts", "weights"),
    LOSSES,
    ids=lambda value: value.name if isinstance(value, combiners.Combiner) else "",
)
def test_weights_from_the_losses(combiner, losses, counts, weights):
    combiner.bind(["a", "b"], [])
    combiner.build(2)
    counts = tf.constant(counts, tf.float32)
    found = combiner.task_weights(tf.constant(losses, tf.float32), counts > 0, counts)
    np.testing.assert_allclose(found, weights, rtol=1e-6, atol=1e-12)


ROWS = [[1, 0], [0, 2]]

DIRECTIONS = [
    # (method, task gradients of one variable, direction of the first step)
    (combiners.PerLayer(combiners.MGDA()), ROWS, [4 / 5, 2 / 5]),
    # All signs agree, or the leak keeps everything.
    (combiners.GradDrop(), [[1, 2], [3, 4]], [2, 3]),
    (combiners.GradDrop(leak=1.0), [[1, -2], [-3, 4]], [-1, 1]),
    # Weights after a step of -0.1 (1/2, 2): (0.575, 0.425).
    (combiners.MoCo(), ROWS, [0.575, 0.85]),
    # The first task has its turn.
    (combiners.MConFIG(), ROWS, [1, 0]),
    (combiners.ExcessMTL(), ROWS, [1 / 2, 1]),
    # The factors are 3/10 + 7/10 / 2, and 3/10 + 7/10 * 2.
    (combiners.MetaBalance(), ROWS, [1 / 2, 0.65]),
    (combiners.MetaBalance("b"), ROWS, [0.85, 1]),
    (combiners.DBMTL(), ROWS, [1, 1]),
]


@pytest.mark.parametrize(
    ("combiner", "rows", "direction"),
    DIRECTIONS,
    ids=lambda value: value.name if isinstance(value, combiners.Combiner) else "",
)
def test_directions_from_the_gradients(combiner, rows, direction):
    combiner.bind(["a", "b"], ["layer/kernel"])
    found = combiner([tf.constant(rows, tf.float32)], tf.ones(2)).gradients[0]
    np.testing.assert_allclose(found, direction, rtol=1e-5, atol=1e-7)
