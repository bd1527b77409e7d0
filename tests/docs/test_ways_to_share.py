"""The comparison of ways to share trains on a table of the published format."""

import sys

import pytest

from tests.docs.pages import DOCS

sys.path.append(str(DOCS / "examples"))
import adult_sharing

ROWS = """\
age,type_employer,education,education_num,marital,occupation,race,sex,capital_gain,capital_loss,hr_per_week,country,income
45,Private,9th,5,Married-civ-spouse,Sales,White,Male,0,0,40,United-States,<=50K
28,Private,Bachelors,13,Never-married,Sales,White,Female,9,0,50,France,>50K
33,State-gov,Bachelors,13,Never-married,Tech-support,Black,Male,0,0,20,France,<=50K
"""


@pytest.mark.slow
def test_all_networks_are_compared(tmp_path, monkeypatch, capsys):
    head, *rows = ROWS.splitlines()
    (tmp_path / "adult.csv").write_text("\n".join([head, *rows * 150]))
    options = ["--parameters", "3000", "--seeds", "1", "--epochs", "1"]
    monkeypatch.setattr(sys, "argv", ["adult_sharing.py", str(tmp_path / "adult.csv"), *options])
    adult_sharing.main()
    printed = capsys.readouterr().out
    for name in adult_sharing.NETWORKS:
        assert f"{name}: width " in printed
    assert printed.count("gates: income") == len(adult_sharing.NETWORKS) - 1
