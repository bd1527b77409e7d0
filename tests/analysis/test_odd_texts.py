"""Arbitrary texts in a study are shown as plain text, and never used as file names."""

import csv
import html
import io
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pandas as pd
import pytest

from mtk import analysis
from mtk.analysis import plain_text
from mtk.analysis.figures import style
from mtk.analysis.plain_text import FileNames
from mtk.analysis.reporting import contents, figure_list, spreadsheet
from tests.analysis.odd_texts import (
    EVERY,
    TEXTS,
    entry,
    random_texts,
    write_failed,
    write_list,
    write_odd_study,
)
from tests.analysis.pages import composed
from tests.analysis.synthetic import Run, record, write_run

# The tags of our pages.
TAGS = """
    html head meta title style script body header nav main section h1 h2 h3 p a b i ul li div
    span table caption thead tbody tr th wbr td details summary figure figcaption picture source img
"""
ATTRIBUTES = """
    lang charset http-equiv name content id class download href src srcset media alt width
    loading scope open tabindex role aria-label data-value
"""
FILE = re.compile(r"[a-z0-9_]{1,110}\.(png|svg|csv)")
RUN = re.compile(r"[A-Za-z0-9=.,+_-]{1,110}")


class Strict(HTMLParser):
    """Parses a page, and fails at tags or attributes that our pages do not use."""

    def __init__(self, text):
        super().__init__()
        self.words, self.scripts = "", 0
        self.feed(text)
        assert self.scripts == 1

    def handle_starttag(self, tag, attributes):
        assert tag in TAGS.split(), tag
        self.scripts += tag == "script"
        for name, value in attributes:
            assert name in ATTRIBUTES.split(), name
            if name in ("href", "src", "srcset"):
                start = (
                    "data:text/csv;base64,",
                    "data:image/png;base64,",
                    "#verdict-",
                    "#section-",
                )
                assert value.startswith((*start, "#how"))

    def handle_data(self, data):
        self.words += data


@pytest.fixture
def unrendered(monkeypatch):
    """A report without figures, which take most of the time."""
    monkeypatch.setattr(contents, "render", composed)
    monkeypatch.setattr(figure_list, "OF_A_STUDY", [])
    monkeypatch.setattr(figure_list, "OVER_STUDIES", [])


def check_report(out, folder):
    """Checks that a report is complete and escaped, and that nothing else was written."""
    page = (out / "index.html").read_bytes().decode("utf-8")
    assert plain_text.printable(page.replace("\n", " ")) == page.replace("\n", " ")
    for path in [*(out / "figures").iterdir(), *(out / "tables").iterdir()]:
        assert FILE.fullmatch(path.name), path.name
        if path.suffix == ".svg" and path.stat().st_size:
            ET.fromstring(path.read_bytes())
    for path in (out / "tensorboard").rglob("*"):
        assert RUN.fullmatch(path.name), path.name
    for path in (out / "tables").iterdir():
        check_cells(path.read_bytes())
    assert {path.name for path in folder.iterdir()} == {"study", "out"}
    return Strict(page)


def check_cells(content):
    for row in csv.reader(io.StringIO(content.decode("utf-8"))):
        for cell in row:
            assert plain_text.printable(cell) == cell
            if cell.startswith(("=", "+", "-", "@")):
                float(cell)


@pytest.mark.slow
def test_report_with_all_texts(unrendered, tmp_path):
    study = tmp_path / "study"
    runs = [Run(weight=w, tasks=("$\\frac{left", "_right")) for w in (0.3, 0.5, 0.7)]
    runs += [Run("\0$_", "PCGrad", tasks=("$\\frac{left", "_right"))]
    for run in runs:
        write_run(study / "runs" / run.hash, run, evaluations=3)
    lost = [Run("failed", rate=number) for number in range(2, len(TEXTS) + 2)]
    for run, text in zip(lost, TEXTS.values(), strict=True):
        write_failed(study / "runs" / run.hash, text)
    listed = [entry(run, {"f.x": "x", **{f"f.{t}": t for t in TEXTS.values()}}) for run in runs]
    listed += [entry(run, {f"f.{t}": t}) for run, t in zip(lost, TEXTS.values(), strict=True)]
    write_list(study, listed, name="\ud800<b>", remarks=list(TEXTS.values()))
    page = check_report(analysis.report([study], tmp_path / "out").parent, tmp_path)
    table = analysis.load(study)
    assert table["status"].value_counts().to_dict() == {"finished": 4, "failed": len(lost)}
    assert "$\\frac{left: loss" not in page.words  # Only figures use this title.
    assert "<script>alert(1)" in page.words


@pytest.mark.slow
@pytest.mark.parametrize("text", [*TEXTS.values(), *random_texts(10, seed=1)])
def test_report_with_a_text_everywhere(tmp_path, text):
    study = write_odd_study(tmp_path / "study", text)
    check_report(analysis.report([study], tmp_path / "out").parent, tmp_path)


@pytest.mark.slow
def test_table_with_a_text_everywhere(tmp_path):
    """`mtk` allows no slash in names of tasks: such runs are reported as damaged."""
    for number, text in enumerate(TEXTS.values()):
        study = write_odd_study(tmp_path / str(number), text)
        table = analysis.load(study)
        assert len(table) == 12
        expected = "damaged" if "/" in text else "finished"
        assert (table["status"] == expected).sum() == 10, text
        assert not table.attrs["remarks"] or len(table.attrs["remarks"][0][1]) <= 500
        for column in table:
            assert plain_text.printable(column) == column
            assert len(column) < 250
        assert len(analysis.views(table)) == 1


def test_figures_show_texts_literally():
    with style.styled():
        drawn = style.figure(8, 6)
        axis = drawn.subplots()
        shown = [plain_text.name(text) for text in EVERY[: len(TEXTS) + 30]]
        for number, text in enumerate(shown):
            axis.plot([0, 1], [number, number], label=style.label(text))
        axis.set_yticks(range(len(shown)), shown)
        axis.set(title=shown[0], xlabel=shown[0], xscale="log")
        style.plain_ticks(axis.xaxis)
        style.legend_of(drawn, axis)
        drawn.suptitle("".join(TEXTS[name] for name in ("mathematics", "TeX", "an entity")))
        picture = contents.render("a", figure_list.FOREST, drawn)
    assert len(drawn.legends[0].texts) == len(shown)
    words = "".join(ET.fromstring(picture.svg.encode("utf-8")).itertext())
    for text in shown:
        assert " ".join(text.split()) in " ".join(words.split()), text
    assert "mathdefault" not in words


@pytest.mark.parametrize("scale", ["log", "symlog"])
def test_tick_labels_of_logarithmic_axes_are_plain_numbers(scale):
    with style.styled():
        drawn = style.figure(4, 3)
        axis = drawn.subplots()
        axis.plot([0.001, 10], [0.001, 10])
        axis.set_xscale(scale)
        style.plain_ticks(axis.xaxis)
        drawn.draw_without_rendering()
        labels = [label.get_text() for label in axis.get_xticklabels()]
    assert {"1", "10"} <= set(labels)
    assert all(float(label) >= 0 for label in labels if label)


def test_display_names_are_printable_short_and_unique():
    names = [plain_text.name(text) for text in EVERY]
    assert all(name.isprintable() and len(name) <= 100 for name in names)
    assert len(set(names)) == len(set(EVERY))
    for name in names:
        assert plain_text.name(name) == name
        name.encode("utf-8")
        assert ET.fromstring(f"<a>{html.escape(name)}</a>").text == (name or None)


@pytest.mark.parametrize("name", ["left", "5_o_Clock_Shadow", "pcgrad (replayed)", "mIoU × 2", "é"])
def test_ordinary_names_are_unchanged(name):
    assert plain_text.name(name) == name


def test_file_names_are_safe_and_unique():
    names = FileNames()
    texts = [*EVERY, "A", "a", "digits-1", "digits_1", "digits 1", "A"]
    made = [names.make(text) for text in texts]
    assert all(re.fullmatch(r"[A-Za-z0-9_]{1,110}", name) for name in made)
    assert len({name.lower() for name in made}) == len(texts)


FORMULAS = [
    "=1+1",
    "+1+1",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    " =1",
    "＝1",
    "-",
    "=",
    "+a",
    "-1 to 2",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_quoted_in_cells_and_headers(text):
    (head,), (cell,) = csv.reader(
        io.StringIO(spreadsheet.csv(pd.DataFrame({text: [text]})).decode())
    )
    for found in (head, cell):
        assert found == f"'{plain_text.printable(text)}"


def test_numbers_are_not_quoted():
    table = pd.DataFrame(
        {
            "a": [-1.5, float("-inf")],
            "b": [-3, 4],
            "c": ["-1e-05", "+3"],
            "d": [-1, "x"],
            "e": [True, False],
        }
    )
    back = pd.read_csv(io.BytesIO(spreadsheet.csv(table)))
    assert back["a"].tolist() == [-1.5, float("-inf")]
    assert back["c"].tolist() == [-1e-05, 3]
    assert spreadsheet.csv(table) == table.to_csv(index=False).encode()


@pytest.mark.slow
@pytest.mark.parametrize("names", [("A", "a"), ("digits-1", "digits_1"), ("x (2)", "x_2")])
def test_studies_with_similar_names_keep_separate_tables(unrendered, tmp_path, names):
    studies = []
    for name in names:
        study = tmp_path / f"study {name}"
        run = Run(name)
        write_run(study / "runs" / run.hash, run, evaluations=2)
        write_list(study, [entry(run, {})], name=name)
        studies.append(study)
    out = analysis.report(studies, tmp_path / "out").parent
    settings = sorted(path.name for path in (out / "tables").glob("fixed_parameters*"))
    assert len({name.lower() for name in settings}) == 2
    boards = [path.name for path in (out / "tensorboard").iterdir() if path.is_dir()]
    assert len({name.lower() for name in boards}) == 2
    text = (out / "index.html").read_text(encoding="utf-8")
    links = re.findall(r'download="([^"]+)"', text)
    assert len({link.lower() for link in links}) == len(links)
    assert {*links} == {path.name for path in (out / "tables").iterdir()}


def test_tensorboard_run_names_are_descriptive(tmp_path):
    runs = [Run(weight=0.3), Run(weight=0.7), Run("pcgrad", "PCGrad", rate=0.5)]
    study = tmp_path / "study"
    for run in runs:
        write_run(study / "runs" / run.hash, run, evaluations=2)
    write_list(study, [entry(run, {}) for run in runs])
    analysis.write_hparams(analysis.load(study), tmp_path / "board")
    assert {path.name for path in (tmp_path / "board" / "synthetic").iterdir()} == {
        "static_weights,0.3-0.7,learning_rate=0.1,seed=0",
        "static_weights,0.7-0.3,learning_rate=0.1,seed=0",
        "pcgrad,learning_rate=0.5,seed=0",
    }


def test_loading_a_configuration_imports_nothing(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "trap.py").write_text("open('caught', 'w')\ndef f(x): open('caught', 'w')\n")
    monkeypatch.chdir(tmp_path)
    run = Run()
    folder = tmp_path / "study" / "runs" / run.hash
    write_run(folder, run, evaluations=2)
    (folder / "config.gin").write_text("import trap\ninclude 'trap.py'\ntrap.f.x = @trap.f()\n")
    record(folder, **{"trap.f.x": "@trap.f()", "trap.f.y": "__import__('trap')"})
    bindings = {"trap.f.x": "@trap.f()", "trap.f.y": "__import__('trap')"}
    write_list(tmp_path / "study", [entry(run, bindings)])
    table = analysis.load(tmp_path / "study")
    assert table["status"].tolist() == ["finished"]
    assert table["trap.f.x"].tolist() == ["trap.f"]
    assert not (tmp_path / "caught").exists()


def test_parameter_named_like_a_metric_is_not_a_metric(tmp_path):
    run = Run()
    study = tmp_path / "study"
    write_run(study / "runs" / run.hash, run, evaluations=2)
    record(study / "runs" / run.hash, **{"test/left/f.loss": "'low'"})
    write_list(study, [entry(run, {"validation/a/b.c": "x"})])
    table = analysis.load(study)
    assert table["status"].tolist() == ["finished"]
    assert json.loads(table[["test:left:f.loss", "validation:a:b.c"]].to_json(orient="values")) == [
        ["low", "x"]
    ]
