"""Results of an exported network equal those of the network itself."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
from mtk.experiment.evaluation import evaluate
from mtk.export import export, save_keras
from mtk.models import Transformer
from mtk.workloads import Workload
from tests.networks import NETWORKS, batch, tasks
from tests.quick import some


class Given(Workload):
    """A workload of given tasks, with one dataset for all splits."""

    name = "given"

    def __init__(self, used, examples):
        self.tasks, self.examples = used, examples
        self.num_train = 1

    def network(self, seed=None):
        raise AssertionError("the exported network is what is evaluated")

    def train(self, batch_size, steps, seed, first_step=0):
        raise AssertionError("nothing is trained")

    def train_evaluation(self, batch_size):
        return self.examples

    validation = test = train_evaluation


def expected_results(network, used, examples):
    """Returns the results of the network itself, in the form of `evaluate`, and its loss."""
    model = mtk.MultiTaskModel(network, used)
    model.compile()
    logs = model.evaluate(examples, verbose=0, return_dict=True)
    return {
        task.name: {
            name: logs[f"{task.name}_{name}"]
            for name in ("loss", *(metric.name for metric in task.metrics))
        }
        for task in used
    }, logs["loss"]


def check(network, used, examples, path, inputs=None):
    expected, mean = expected_results(network, used, examples)
    assert all(np.isfinite(list(of_task.values())).all() for of_task in expected.values())
    export(network, path / "saved_model", inputs)
    assert save_keras(network, path / "model.keras")
    for name in ("saved_model", "model.keras"):
        found = evaluate(lambda: Given(used, examples), path / name)
        assert found["loss"] == pytest.approx(mean, rel=1e-6)
        for task, metrics in expected.items():
            assert found["tasks"][task] == pytest.approx(metrics, rel=1e-6)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # At the end of the generator.
@pytest.mark.parametrize(
    "kind", some(["dense", "convolutional", "embedding", "attention"], ["dense"])
)
def test_labels_missing_by_mask_and_by_nan(tmp_path, kind):
    batches = [batch(kind, size, seed) for seed, size in enumerate((12, 12, 5))]
    spec = tf.nest.map_structure(lambda t: tf.TensorSpec((None, *t.shape[1:]), t.dtype), batches[0])
    examples = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=spec)
    check(NETWORKS[kind](), tasks(), examples, tmp_path)


@pytest.mark.slow
def test_masked_padding_does_not_count(tmp_path):
    ids = keras.Input((None,), dtype="int32", name="ids")
    words = keras.layers.Embedding(7, 4, mask_zero=True)(ids)
    network = keras.Model(ids, {"tag": keras.layers.Dense(3)(words)})
    rng = np.random.default_rng(0)
    x = rng.integers(1, 7, (6, 5)) * (np.arange(5) < rng.integers(1, 6, (6, 1)))
    labels = {"tag": rng.integers(0, 3, (6, 5))}
    examples = tf.data.Dataset.from_tensor_slices((x.astype("int32"), labels)).batch(4)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    check(network, [mtk.Task("tag", loss, ["accuracy"])], examples, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("mixed", [False, True])
def test_separate_inputs_and_mixed_batches(tmp_path, mixed):
    network = Transformer(9, 1, width=8, feed_forward_width=8, num_heads=2)
    rng = np.random.default_rng(0)

    def sub_batch(size):
        ids = rng.integers(1, 9, (3, size, 5)).astype("int32")
        return {"source": ids[0], "target_in": ids[1]}, ids[2]

    x, y = sub_batch(8)
    network(x)
    if mixed:
        data = (x, y, rng.integers(0, 2, 8).astype("int32"))
    else:
        data = {"de": (x, y), "fr": sub_batch(8)}
    examples = tf.data.Dataset.from_tensor_slices(data).batch(5)
    spec = tf.TensorSpec((None, None), tf.int32)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    used = [mtk.Task(name, loss, ["accuracy"]) for name in ("de", "fr")]
    check(network, used, examples, tmp_path, {"source": spec, "target_in": spec})


@pytest.mark.slow
def test_network_of_other_tasks_is_refused(tmp_path):
    network, data = NETWORKS["dense"](), batch("dense")
    export(network, tmp_path)
    x, y, _ = data
    examples = tf.data.Dataset.from_tensors((x, {"left": y["left"], "top": y["right"]}))
    used = [mtk.Task(name, "sparse_categorical_crossentropy") for name in ("left", "top")]
    with pytest.raises(ValueError, match=r"outputs do not match the tasks.*\['left', 'top'\]"):
        evaluate(lambda: Given(used, examples), tmp_path)


def test_unknown_split_is_refused(tmp_path):
    export(NETWORKS["dense"](), tmp_path)
    with pytest.raises(ValueError, match=r"\['train', 'validation', 'test'\].*'dev'"):
        evaluate(lambda: Given(tasks(), None), tmp_path, split="dev")
