"""Tox21: twelve toxicity assays of molecules, with labels missing for most molecules.

    pip install rdkit
    python docs/examples/tox21.py tox21.csv.gz

The data are those of the Tox21 challenge, https://tripod.nih.gov/tox21/challenge/, as a table with
the twelve assays, an identifier and the molecule (SMILES); MoleculeNet, https://moleculenet.org,
has them in this form. Features are Morgan fingerprints of 1,024 bits. Prints the ROC-AUC of each
assay, and their mean, on a fifth of the molecules that was drawn at random.
"""

import argparse
import csv
import gzip
from pathlib import Path

import keras
import numpy as np

import mtk

BITS, EPOCHS, BATCH = 1024, 20, 128


def read(path: str | Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """Returns the molecules as SMILES, and the labels by assay, NaN where not measured.

    Args:
        path: The table, or the same compressed with gzip. Its names are in the first line or in a
            comment, `#NR-AR,...,mol_id,smiles`, the last one behind which rows follow.

    Raises:
        ValueError: If it has no column `smiles`.
    """
    path = Path(path)
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        lines = [line for line in file if line.strip()]
    header = max(
        (k for k, line in enumerate(lines) if line.rstrip().endswith("smiles")), default=None
    )
    if header is None:
        raise ValueError(f"{path} has no line of names that ends with 'smiles'.")
    names = lines[header].lstrip("#").strip().split(",")
    rows = list(csv.DictReader(lines[header + 1 :], names))
    assays = [name for name in names if name not in ("mol_id", "smiles")]
    labels = {
        name: np.array([_label(row[name]) for row in rows], "float32").reshape(-1, 1)
        for name in assays
    }
    return [row["smiles"] for row in rows], labels


def _label(text: str) -> float:
    return float("nan") if text in ("", "N/A") else float(text)


def fingerprints(smiles: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns a row of bits for each molecule that RDKit can read, and which these are.

    Args:
        smiles: The molecules.
    """
    from rdkit import Chem, RDLogger
    from rdkit.Chem import rdFingerprintGenerator

    RDLogger.DisableLog("rdApp.*")
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=BITS)
    molecules = [Chem.MolFromSmiles(text) for text in smiles]
    readable = np.array([molecule is not None for molecule in molecules])
    rows = [generator.GetFingerprintAsNumPy(m) for m in molecules if m is not None]
    return np.array(rows, "float32"), readable


def network(assays: list[str]) -> keras.Model:
    """Returns a network with one shared layer and an output for each assay.

    Args:
        assays: Their names.
    """
    inputs = keras.Input((BITS,))
    hidden = keras.layers.Dropout(0.2)(inputs)
    hidden = keras.layers.Dense(512, activation="relu")(hidden)
    hidden = keras.layers.Dropout(0.5)(hidden)
    dense = lambda name: keras.layers.Dense(1, activation="sigmoid", name=name)  # noqa: E731
    return keras.Model(inputs, {name: dense(name)(hidden) for name in assays})


def main() -> None:
    """Reads the file that the user names, trains, and prints the ROC-AUC of each assay."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--combiner", default="StaticWeights", help="a class in mtk.combiners")
    given = parser.parse_args()
    smiles, labels = read(given.file)
    x, readable = fingerprints(smiles)
    labels = {name: y[readable] for name, y in labels.items()}
    order = np.random.default_rng(0).permutation(len(x))
    test, train = np.split(order, [len(order) // 5])
    keras.utils.set_random_seed(0)
    auc = lambda: keras.metrics.AUC(num_thresholds=1000, name="auc")  # noqa: E731
    tasks = [mtk.Task(n, "binary_crossentropy", [auc()], missing=float("nan")) for n in labels]
    combiner = getattr(mtk.combiners, given.combiner)()
    model = mtk.MultiTaskModel(network(list(labels)), tasks, combiner)
    rate = keras.optimizers.schedules.CosineDecay(0.001, EPOCHS * (len(train) // BATCH))
    model.compile(keras.optimizers.Adam(rate), weight_decay=1e-5)
    part = lambda rows: {name: y[rows] for name, y in labels.items()}  # noqa: E731
    model.fit(x[train], part(train), batch_size=BATCH, epochs=EPOCHS, verbose=2)
    logs = model.evaluate(x[test], part(test), batch_size=1024, verbose=0, return_dict=True)
    scores = [logs[f"{name}_auc"] for name in labels]
    for name, score in zip(labels, scores, strict=True):
        print(f"{name}: test ROC-AUC {score:.4f}")
    print(f"mean: {np.mean(scores):.4f}")


if __name__ == "__main__":
    main()
