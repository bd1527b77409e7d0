"""Invalid arguments raise a clear error as early as possible."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtk import combiners
from tests.combiners.cases import BY_NAME

BAD = [
    (lambda: combiners.StaticWeights([1, -1]), "non-negative"),
    (lambda: combiners.StaticWeights([0, 0]), "non-zero sum"),
    (lambda: combiners.StaticWeights([]), "non-zero sum"),
    (lambda: combiners.StaticWeights(np.array([0.5, -0.5])), "non-negative"),
    (lambda: combiners.StaticWeights([[1, 2], [3, 4]]), "`weights` must be a number, a sequence"),
    (lambda: combiners.FAMO(bounds="low"), "`bounds` must be a number, a sequence.*'low'"),
    (lambda: combiners.GradDrop(leak=["much"]), "`leak` must be a number, a sequence"),
    (lambda: combiners.GradNorm(initial_losses={"a": [1, 2]}), "`initial_losses` must be a number"),
    (lambda: combiners.RLW("gauss"), "one of .*normal.*'gauss'"),
    (
        lambda: combiners.RLW("dirichlet", concentration=0),
        "`concentration` must be a finite number above 0. Received: concentration=0",
    ),
    (lambda: combiners.RLW("log_uniform", smallest=1.0), "between 0 and 1. Received: 1.0"),
    (lambda: combiners.UncertaintyWeights(learning_rate=-1), "`learning_rate` must be a finite"),
    (lambda: combiners.IMTLL(float("nan")), "`learning_rate`"),
    (lambda: combiners.IMTL(-0.1), "`learning_rate`"),
    (lambda: combiners.DWA(0), "`steps_per_epoch` must be an integer, 1 or more"),
    (lambda: combiners.DWA(5, temperature=0), "`temperature` must be a finite number above 0"),
    (lambda: combiners.FAMO(learning_rate=-1), "`learning_rate`"),
    (lambda: combiners.FAMO(decay=-1), "`decay` must be a finite number, 0 or more"),
    (lambda: combiners.GradNorm(alpha=-1), "`alpha` must be a finite number, 0 or more"),
    (lambda: combiners.GradNorm(learning_rate=-1), "`learning_rate`"),
    (lambda: combiners.MGDA("l1"), "`normalization` must be one of"),
    (lambda: combiners.MGDA(update_every=0), "`update_every` must be an integer"),
    (lambda: combiners.CAGrad(-0.1), "`c` must be a finite number, 0 or more"),
    (lambda: combiners.CAGrad(0.4, rescale="2"), "`rescale` must be one of"),
    (lambda: combiners.NashMTL("sum"), "`scale` must be one of .*authors.*'sum'"),
    (lambda: combiners.NashMTL(max_norm=-1), "`max_norm` must be 0 or more"),
    (
        lambda: combiners.UncertaintyWeights("size"),
        "`regression` must be a list of task names.*'size'",
    ),
    (lambda: combiners.GradVac(beta=1.5), "`beta` must be a share"),
    (lambda: combiners.GradVac(groups="task"), "`groups` must be one of"),
    (
        lambda: combiners.GradVac(groups="layer", update_every=2),
        "do not set `at` or `update_every`",
    ),
    (
        lambda: combiners.GradVac(groups="layer", at="last_layer"),
        "do not set `at` or `update_every`",
    ),
    (lambda: combiners.GradDrop(at="last_layer"), "`at` must be one of"),
    (lambda: combiners.STCH(0), "`steps_per_epoch` must be an integer"),
    (
        lambda: combiners.STCH(5, warm_up_epochs=-1),
        "`warm_up_epochs` must be a finite number, 0 or more",
    ),
    (lambda: combiners.STCH(5, mu=0.0), "`mu`"),
    (lambda: combiners.PBI(-1.0), "`theta`"),
    (lambda: combiners.COSMOS(float("nan")), "`strength`"),
    (lambda: combiners.UWSO(0.0), "`temperature`"),
    (lambda: combiners.SoftAdapt(float("inf")), "`beta`"),
    (lambda: combiners.SoftAdapt(window=1), "`window`"),
    (lambda: combiners.SoftAdapt(variant="plain"), "`variant`.*'plain'"),
    (lambda: combiners.FairGrad(0.0), "`alpha`"),
    (lambda: combiners.FairGrad(scale="authors"), "`scale`.*'authors'"),
    (lambda: combiners.GLS("low"), "`bounds`.*'low'"),
    (lambda: combiners.Tchebycheff(ideal="low"), "`ideal`.*'low'"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_invalid_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


MISMATCHED = [
    (combiners.StaticWeights([1, 1, 1]), "`weights` has 3 numbers for 2 tasks"),
    (combiners.StaticWeights({"a": 1, "c": 1}), r"`weights` is given for \['a', 'c'\]"),
    (combiners.UncertaintyWeights(["c"]), "`regression` names .*'c'.*, but the tasks are"),
    (combiners.FAMO(bounds=[0, 0, 0]), "`bounds` has 3 numbers for 2 tasks"),
    (combiners.FAMO(bounds={"a": 0}), "`bounds` is given for"),
    (combiners.ScaleInvariant(bounds={"a": 0, "c": 0}), "`bounds` is given for"),
    (combiners.PBI(ideal=[0, 0, 0]), "`ideal` has 3 numbers for 2 tasks"),
    (combiners.GradNorm(initial_losses=[1, 0]), "`initial_losses` must be positive"),
    (combiners.GradNorm(initial_losses={"a": 1, "c": 1}), "`initial_losses` is given for"),
    (combiners.GradDrop(leak=2.0), "`leak` must be a share from 0 to 1"),
    (combiners.GradDrop(leak=[0.5]), "`leak` has 1 number for 2 tasks"),
]


@pytest.mark.parametrize(("combiner", "message"), MISMATCHED)
def test_arguments_that_do_not_match_the_tasks(combiner, message):
    combiner.bind(["a", "b"], ["shared/kernel"])
    with pytest.raises(ValueError, match=message):
        combiner.build(2)


def test_gradvac_by_layer_needs_bind():
    with pytest.raises(ValueError, match="Call `bind"):
        combiners.GradVac(groups="layer")([tf.ones((2, 3))], tf.ones(2))


@pytest.mark.parametrize("name", BY_NAME)
def test_number_of_tasks_is_fixed_once_built(name):
    combiner = BY_NAME[name].make()
    combiner.bind(["a", "b"], ["shared/kernel"])
    combiner.bind_shapes({"shared/kernel": (4,)})
    combiner.build(2)
    message = "was built for 2 tasks.*new combiner for each model.*Received: 3 tasks"
    with pytest.raises(ValueError, match=message):
        combiner.bind(["a", "b", "c"], ["shared/kernel"])
    with pytest.raises(ValueError, match=message):
        combiner([tf.ones((3, 4))], tf.ones(3))
    combiner.bind(["a", "b"], ["shared/kernel"])
    assert combiner([tf.ones((2, 4))], tf.ones(2)).task_weights.shape == (2,)


GIVEN = [[0.25, 0.75], (0.25, 0.75), np.array([0.25, 0.75]), tf.constant([0.25, 0.75])]
GIVEN += [{"b": np.float32(0.75), "a": 0.25}]
TAKERS = [
    # (constructor, the values that the combiner uses)
    (combiners.StaticWeights, lambda combiner: combiner.normalized),
    (lambda leak: combiners.GradDrop(leak=leak), lambda combiner: combiner.leaks),
    (lambda bounds: combiners.FAMO(bounds=bounds), lambda combiner: combiner.log_losses.lowest),
    (
        lambda losses: combiners.GradNorm(initial_losses=losses),
        lambda combiner: combiner.given_losses,
    ),
]


@pytest.mark.parametrize(("make", "read"), TAKERS)
@pytest.mark.parametrize("given", GIVEN, ids=lambda given: type(given).__name__)
def test_values_per_task_in_any_form(make, read, given):
    """Lists, tuples, arrays, tensors and dicts give the same values and a JSON config."""
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(make(given))))
    restored = keras.saving.deserialize_keras_object(config)
    restored.bind(["a", "b"], ["shared/kernel"])
    restored.build(2)
    assert list(read(restored)) == [0.25, 0.75]
