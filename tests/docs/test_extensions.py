"""Pages that Sphinx extensions generate from code."""

import re
import sys
import tomllib

import pytest

from mtk import combiners
from tests.docs.pages import DOCS

sys.path.append(str(DOCS / "extensions"))
import docstrings
import method_pages
import package_pages

PAGES = method_pages.pages(DOCS)


@pytest.mark.parametrize("kind", method_pages.methods(), ids=lambda kind: kind.__name__)
def test_every_method_has_a_page(kind):
    page = PAGES[f"methods/{kind.__name__}.md"]
    assert f"autoclass:: mtk.combiners.{kind.__name__}" in page
    assert f"[{kind.__name__}]" in PAGES["methods/table.md"]


@pytest.mark.parametrize("kind", method_pages.methods(), ids=lambda kind: kind.__name__)
def test_every_method_is_complete(kind):
    """Methods have a source, a formula, known values, a gin file and a row in the README."""
    name = kind.__name__
    assert "Reference:" in kind.__doc__
    page = PAGES[f"methods/{name}.md"]
    assert "$$" in page
    assert "**Paper" in page
    assert "Time of a step" in page
    assert "Memory beyond" in page
    assert "## Known values" in page
    overlays = (DOCS.parent / "configs" / "combiners").glob("*.gin")
    assert any(re.search(rf"@?{name}\b", path.read_text()) for path in overlays)
    assert f"`{name}`" in (DOCS.parent / "README.md").read_text()


def test_new_method_gets_a_page(monkeypatch):
    class Inverse(combiners.GramianCombiner):
        """Weighs by inverse norms."""

    monkeypatch.setattr(combiners, "Inverse", Inverse, raising=False)
    monkeypatch.setattr(combiners, "__all__", [*combiners.__all__, "Inverse"])
    page = method_pages.pages(DOCS)["methods/Inverse.md"]
    assert "Weighs by inverse norms." in page
    assert "one backward pass per task" in page


def test_facts_refer_to_existing_methods():
    facts = tomllib.loads((DOCS / "methods" / "facts.toml").read_text())
    assert set(facts) <= {kind.__name__ for kind in method_pages.methods()}
    for known in facts.values():
        assert set(known) <= {"papers", "formula", "defaults", "faults"}
        assert all(url.startswith("https://") for _, url in known["papers"])


def test_pages_show_known_values_and_costs():
    assert "`[0.8, 0.2]`" in PAGES["methods/MGDA.md"]
    assert "MGDA(at='representation')" in PAGES["methods/MGDA.md"]
    assert "`MGDA(normalization='l2')`" in PAGES["methods/MGDA.md"]


def test_reference_lists_what_packages_export():
    found = package_pages.pages()
    assert ".. autoclass:: mtk.MultiTaskModel" in found["reference/api/mtk.md"]
    assert ".. autofunction:: mtk.experiment.run" in found["reference/api/mtk.experiment.md"]


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("With |g| and `|g|`, 2 * 3.", r"With \|g\| and ``|g|``, 2 \* 3."),
        ("* one\n* *Two*, (2021)", "* one\n* *Two*, (2021)"),
        ("Returns:\n    `{task: y}`.", "Returns:\n    ``{task: y}``."),
        ("```python\nx * y\n```\n", "\n.. code-block:: python\n\n   x * y\n\n"),
        ("Example:\n>>> a_ * `b`\n'c_'", ".. rubric:: Example\n\n\n>>> a_ * `b`\n'c_'"),
    ],
)
def test_docstrings_are_converted_to_restructured_text(given, made):
    assert docstrings.to_restructured_text(given.split("\n")) == made.split("\n")
