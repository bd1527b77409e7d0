"""What the README shows is what runs."""

import re
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import mtk
from mtk import config

README = Path(__file__).parent.parent / "README.md"


EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_example_in_the_way_of_keras_runs():
    inputs = keras.Input((8,))
    features = keras.layers.Dense(16, activation="relu")(inputs)
    outputs = {"price": keras.layers.Dense(1)(features)}
    outputs["sold"] = keras.layers.Dense(1, activation="sigmoid")(features)
    x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    names = {"x": x, "price": x[:, 0], "sold": (x[:, 1] > 0).astype("int32")}
    exec(EXAMPLES[0], {"mtk": mtk, "network": keras.Model(inputs, outputs), **names})


def test_library_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = EXAMPLES[2]
    assert len(example.strip().splitlines()) <= 5
    inputs = keras.Input((8,))
    features = keras.layers.Dense(16, activation="relu")(inputs)
    outputs = {
        name: keras.layers.Dense(2, activation="softmax")(features) for name in ("left", "right")
    }
    x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    labels = {"left": (x[:, 0] > 0).astype("int32"), "right": (x[:, 1] > 0).astype("int32")}
    dataset = tf.data.Dataset.from_tensor_slices((x, labels)).batch(16)
    names = {"train": dataset, "validation": dataset, "network": keras.Model(inputs, outputs)}
    exec(example, {"keras": keras, "mtk": mtk, **names})
    assert list((tmp_path / "logs").rglob("events.out.tfevents.*"))


def test_every_combiner_has_a_row_and_every_row_a_combiner():
    table = README.read_text().split("## The methods")[1].split("##")[0]
    named = set(re.findall(r"`(\w+)`", table.split("The Gramian is")[0])) - {"mtk"}
    bases = {"Combiner", "GramianCombiner", "LossCombiner", "PartsCombiner", "Combined"}
    methods = {name for name in mtk.combiners.__all__ if name[0].isupper()} - bases
    assert named == methods


def test_the_commands_name_files_that_exist():
    for path in re.findall(r"--gin_file=(\S+?\.gin)", README.read_text()):
        assert (README.parent / path).is_file() or config.find(path).is_file(), path


def test_the_links_lead_to_pages_that_exist():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README.read_text()) if ":" not in link]
    assert len(links) > 20
    assert [link for link in links if not (README.parent / link).is_file()] == []
