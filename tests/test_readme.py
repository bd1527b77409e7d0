"""The code, commands, tables and links of the README."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
from mtk import config
from mtk.comparison import planning

README = Path(__file__).parent.parent / "README.md"


EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
HOUSES = {"x": X, "price": X[:, 0], "sold": (X[:, 1] > 0).astype("int32")}


def network():
    inputs = keras.Input((8,))
    features = keras.layers.Dense(16, activation="relu")(inputs)
    outputs = {"price": keras.layers.Dense(1)(features)}
    outputs["sold"] = keras.layers.Dense(1, activation="sigmoid")(features)
    return keras.Model(inputs, outputs)


def build():
    model = network()
    model.compile("adam", loss={"price": "mse", "sold": "binary_crossentropy"})
    return model


def test_keras_example_runs():
    exec(EXAMPLES[0], {"mtk": mtk, "network": network(), **HOUSES})


@pytest.mark.slow
def test_comparison_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(planning, "SIZES", (planning.Size(2, 1, 2),))
    example = EXAMPLES[1].replace("epochs=20", "epochs=1")
    exec(example, {"mtk": mtk, "build": build, **HOUSES})
    said = capsys.readouterr().out
    for line in ("Use loss_weights={'price': ", "PCGrad", "MGDA"):
        assert f"\n{line}" in said


def test_every_example_is_tested():
    assert len(EXAMPLES) == 3


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


def test_table_of_methods_lists_every_combiner():
    table = README.read_text().split("## The methods")[1].split("##")[0]
    named = set(re.findall(r"`(\w+)`", table.split("The Gramian is")[0])) - {"mtk"}
    bases = {"Combiner", "GramianCombiner", "LossCombiner", "PartsCombiner", "Combined"}
    methods = {name for name in mtk.combiners.__all__ if name[0].isupper()} - bases
    assert named == methods


def test_commands_refer_to_existing_files():
    for path in re.findall(r"--gin_file=(\S+?\.gin)", README.read_text()):
        assert (README.parent / path).is_file() or config.find(path).is_file(), path


def test_links_refer_to_existing_files():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README.read_text()) if ":" not in link]
    assert len(links) > 20
    files = {link: README.parent / link.partition("#")[0] for link in links}
    assert [link for link, file in files.items() if not file.is_file()] == []
