"""The gin blocks and bindings on pages are valid configurations."""

import re
import shlex

import pytest

from mtk import combiners, config, experiment
from mtk.bench import Card
from mtk.search import Search
from mtk.search.spec import METHOD
from mtk.study import Grid, Study
from tests.docs import pages

BLOCKS = [
    pytest.param(block, id=f"{pages.name(page)}:{block.line}")
    for page in pages.written()
    for block in pages.blocks(page, "text")
    if re.match(r"gin\b", block.mark or "")
]
WITHIN_SENTENCES = {
    page: found
    for page in pages.written()
    if (found := re.findall(r"`((?:[a-z_]+\.)+\w+\.\w+ = [^`]+)`", page.read_text("utf-8")))
}
WORKLOAD = pages.DOCS / "howto" / "own_data.md"
COMBINER = pages.DOCS / "howto" / "bench.md"
MODULE = """
from mtk import combiners


class MyCombiner(combiners.PCGrad):
    pass


def make(data_dir=None):
    pass
"""


@pytest.fixture(autouse=True)
def _own_files(tmp_path, monkeypatch):
    """Writes the module and the configuration that the pages mention."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "my_module.py").write_text(MODULE)
    for page, word, name in (
        (WORKLOAD, "my_package", "my_workload.gin"),
        (COMBINER, "MyCombiner", "my_method.gin"),
    ):
        (own,) = [b for b in pages.blocks(page, "text") if b.mark and word in b.text]
        (tmp_path / name).write_text(own.text)
    yield
    config.parse()


@pytest.mark.parametrize("block", BLOCKS)
def test_block_is_a_valid_configuration(block, tmp_path):
    path = tmp_path / "shown.gin"
    path.write_text(block.text)
    files = [*(pages.ROOT / name for name in block.mark.split()[1:]), path]
    config.check_names(files)
    config.parse(files)
    if config.bound_values(Search):
        searches = [config.bound(Search)()]
    elif config.bound_values(Card):
        card = config.bound(Card)()
        searches = [card.search(name, card.files(name)) for name in (METHOD, *card.methods)]
    elif config.bound_values(Study):
        searches = []
        grid = Grid(config.bound(Study)(), [file.parent for file in files])
        assert grid.runs()
        assert not grid.unread()
    else:
        searches = []
        assert isinstance(config.values(experiment.run)["combiner"](), combiners.Combiner)
    for search in searches:
        _check_runs(search, [file.parent for file in files], tmp_path / "run.gin")


def _check_runs(search, folders, path):
    """Parses the configurations of a search's first runs, which contain its bindings."""
    grid = Grid(search.study, folders)
    grid.check_names()
    (method,) = search.study.methods
    if search.space.weights:
        grid.check_reads(method, search.space.weights)
    for point in search.make_sampler().ask(4):
        path.write_text(grid.run(method, point, 0).text)
        config.parse([path])


def test_every_gin_block_is_marked():
    """Every block with a binding must be marked as a configuration."""
    binding = re.compile(r"^(\w+\.)+\w+( = .*|:)$", re.M)
    wrong = [
        f"{pages.name(page)}:{block.line}"
        for page in pages.written()
        for block in pages.blocks(page, "text")
        if binding.search(block.text) and not block.mark
    ]
    assert not wrong, wrong
    assert len(BLOCKS) >= 8


@pytest.mark.parametrize("page", WITHIN_SENTENCES, ids=pages.name)
def test_inline_bindings_are_valid(page, tmp_path):
    path = tmp_path / "imports.gin"
    path.write_text(
        "from __gin__ import dynamic_registration\nimport keras\n"
        "from mtk import experiment\nfrom mtk import search\n"
    )
    config.parse([path], WITHIN_SENTENCES[page])


def test_bindings_in_commands_are_valid():
    found = 0
    for page in pages.written():
        for block in pages.blocks(page, "bash"):
            for line in block.text.replace("\\\n", " ").splitlines():
                words = shlex.split(line)
                files = [pages.ROOT / w[11:] for w in words if w.startswith("--gin_file=configs/")]
                bindings = [word[6:] for word in words if re.match(r"--gin\.\w+[^=]*=", word)]
                if files and bindings:
                    found += 1
                    config.check_names(files, bindings)
    assert found > 5
