"""The example programs: readers of published file formats, and training."""

import gzip
import sys

import numpy as np
import pytest

from tests.docs.pages import DOCS

sys.path.append(str(DOCS / "examples"))
import adult
import energy
import jura
import regression
import tox21

ARFF = """\
% a comment
@relation table

@attribute x1 numeric
@attribute x2 numeric
@attribute Y1 numeric
@attribute Y2 numeric

@data
1,2,3,4
5,6,7,8.5
"""
ADULT = """\
age,type_employer,fnlwgt,education,education_num,marital,occupation,relationship,race,sex,capital_gain,capital_loss,hr_per_week,country,income
45,Private,1,9th,5,Married-civ-spouse,Sales,Husband,White,Male,0,0,40,United-States,<=50K
28,Private,2,Bachelors,13,Never-married,Sales,Not-in-family,White,Female,9,0,50,France,>50K
33,State-gov,3,Bachelors,13,Never-married,Tech-support,Own-child,Black,Male,0,0,20,France,<=50K
"""
TOX21 = """\
#1    ,2    ,3     ,4
#NR-AR,SR-p53,mol_id,smiles
0,N/A,TOX1,CCO
N/A,1,TOX2,c1ccccc1
1,0,TOX3,CC(=O)O
"""


@pytest.mark.parametrize("compressed", [False, True])
def test_arff_is_read(tmp_path, compressed):
    path = tmp_path / ("t.arff.gz" if compressed else "t.arff")
    path.write_bytes(gzip.compress(ARFF.encode()) if compressed else ARFF.encode())
    x, y, names = regression.read_arff(path, targets=2)
    np.testing.assert_array_equal(x, [[1, 2], [5, 6]])
    np.testing.assert_array_equal(y, [[3, 4], [7, 8.5]])
    assert names == ["Y1", "Y2"]


@pytest.mark.parametrize("text", ["a,b\n1,2\n", ARFF + "1,2\n", ARFF.replace("8.5", "?")])
def test_invalid_arff_raises(tmp_path, text):
    (tmp_path / "t.arff").write_text(text)
    with pytest.raises(ValueError):
        regression.read_arff(tmp_path / "t.arff", targets=2)


def test_folds_partition_the_rows():
    found = list(regression.folds(23, 10, seed=1))
    assert sorted(np.concatenate([test for _, test in found])) == list(range(23))
    assert all(not set(train) & set(test) for train, test in found)


def test_relative_rmse_is_one_for_the_training_mean_and_zero_for_the_labels():
    rng = np.random.default_rng(0)
    train, true = rng.normal(size=(50, 2)), rng.normal(size=(20, 2))
    mean = np.broadcast_to(train.mean(axis=0), true.shape)
    np.testing.assert_allclose(regression.relative_rmse(true, mean, train), 1.0)
    np.testing.assert_allclose(regression.relative_rmse(true, true, train), 0.0)


def test_cross_validation_standardizes_and_restores_units():
    x = np.random.default_rng(0).normal(size=(100, 3))
    y = 1000 + 50 * x[:, :2]

    def fit(inputs, targets, test, seed):
        assert np.abs(targets.mean(axis=0)).max() < 1e-9
        return test @ np.linalg.lstsq(inputs, targets, rcond=None)[0]

    np.testing.assert_allclose(regression.cross_validate(x, y, fit), 0.0, atol=1e-9)


def test_adult_is_read(tmp_path):
    (tmp_path / "adult.csv").write_text(ADULT)
    inputs, labels, sizes = adult.read(tmp_path / "adult.csv")
    np.testing.assert_array_equal(labels["income"], [0, 1, 0])
    np.testing.assert_array_equal(labels["never_married"], [0, 1, 1])
    assert sizes["country"] == 2
    assert not {"marital", "relationship"} & set(inputs)
    np.testing.assert_allclose(inputs["numbers"].mean(axis=0), 0.0, atol=1e-6)


def test_adult_without_a_column_raises(tmp_path):
    (tmp_path / "adult.csv").write_text(ADULT.replace("country", "land"))
    with pytest.raises(ValueError, match="country"):
        adult.read(tmp_path / "adult.csv")


@pytest.mark.parametrize("text", [TOX21, TOX21.split("\n", 1)[1].replace("#", "")])
def test_tox21_is_read(tmp_path, text):
    (tmp_path / "tox21.csv.gz").write_bytes(gzip.compress(text.encode()))
    smiles, labels = tox21.read(tmp_path / "tox21.csv.gz")
    assert smiles == ["CCO", "c1ccccc1", "CC(=O)O"]
    np.testing.assert_array_equal(labels["NR-AR"], [[0], [np.nan], [1]])
    np.testing.assert_array_equal(labels["SR-p53"], [[np.nan], [1], [0]])


def test_tox21_without_molecules_raises(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="smiles"):
        tox21.read(tmp_path / "t.csv")


def test_unreadable_molecules_are_skipped():
    pytest.importorskip("rdkit")
    x, readable = tox21.fingerprints(["CCO", "no molecule", "c1ccccc1"])
    assert x.shape == (2, 1024)
    assert readable.tolist() == [True, False, True]


@pytest.mark.slow
@pytest.mark.parametrize("example", [energy, jura])
def test_regressions_learn(example, monkeypatch):
    monkeypatch.setattr(jura, "MEMBERS", 1)
    monkeypatch.setattr(example, "EPOCHS", 20)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 4)).astype("float32")
    y = np.stack([x[:, 0] + x[:, 1], x[:, 0] - x[:, 2]], axis=1)
    predicted = example.fit(x, y, x, 0, names=["a", "b"])
    assert np.mean((predicted - y) ** 2) < 0.3 * y.var()


@pytest.mark.slow
def test_adult_trains(tmp_path, monkeypatch, capsys):
    rows = ADULT.splitlines()
    (tmp_path / "adult.csv").write_text("\n".join([rows[0], *rows[1:] * 20]) + "\n")
    monkeypatch.setattr(adult, "BATCH", 8)
    monkeypatch.setattr(sys, "argv", ["adult.py", str(tmp_path / "adult.csv")])
    adult.main()
    assert "never_married: test ROC-AUC 1.0" in capsys.readouterr().out


@pytest.mark.slow
def test_tox21_trains(tmp_path, monkeypatch, capsys):
    pytest.importorskip("rdkit")
    rows = TOX21.splitlines()
    (tmp_path / "t.csv").write_text("\n".join([*rows[:2], *rows[2:] * 20]) + "\n")
    monkeypatch.setattr(tox21, "BATCH", 8)
    monkeypatch.setattr(sys, "argv", ["tox21.py", str(tmp_path / "t.csv"), "--combiner=PCGrad"])
    tox21.main()
    assert "mean: 1.0" in capsys.readouterr().out
