"""The code, commands, links and tables of the pages."""

import ast
import functools
import inspect
import os
import re
import runpy
import shlex
import subprocess
import sys

import keras
import pytest

import mtk
from tests.docs import pages

sys.path.append(str(pages.DOCS / "extensions"))
import command_pages

# Pages whose code trains no network; the others take seconds each.
QUICK = {
    f"docs/{name}.md"
    for name in ("concepts/fronts", "concepts/gramian", "concepts/sharing", "howto/from_torchjd")
}
WITH_PYTHON = pages.with_code("python")
WITH_SHELL = [page for page in pages.written() if pages.blocks(page, "bash")]


RUNS = [block for page in WITH_SHELL for block in pages.blocks(page, "bash") if block.mark == "run"]


def test_pages_contain_code():
    assert len(WITH_PYTHON) > 25
    assert len(WITH_SHELL) > 10
    assert RUNS


def _parameter(page):
    marks = () if pages.name(page) in QUICK else pytest.mark.slow
    return pytest.param(page, marks=marks, id=pages.name(page))


@pytest.fixture
def new_folder(tmp_path, monkeypatch):
    """Changes to an empty working directory, from which `houses` can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(pages.DOCS / "examples"))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    yield tmp_path
    keras.mixed_precision.set_dtype_policy("float32")


@pytest.mark.parametrize("page", [_parameter(page) for page in WITH_PYTHON])
def test_python_of_page_runs(page, new_folder):
    path = new_folder / "program.py"
    path.write_text(pages.program(page), encoding="utf-8")
    runpy.run_path(str(path), run_name="__main__")


@pytest.mark.parametrize("page", [*WITH_PYTHON, pages.ROOT / "README.md"], ids=pages.name)
def test_names_and_arguments_exist(page):
    wrong = []
    for block in pages.blocks(page, "python"):
        for node in ast.walk(ast.parse(block.text)):
            wrong += [f"{pages.name(page)}:{block.line}: {w}" for w in _wrong(node)]
    assert not wrong, wrong


@pytest.mark.parametrize("library", ["keras", "libmtl", "torchjd"])
def test_names_in_tables_exist(library):
    """`Name(argument, ...)` in the last column of a table is a class and its arguments."""
    page = pages.DOCS / "howto" / f"from_{library}.md"
    cells = [line.split("|")[-2] for line in page.read_text().splitlines() if line.endswith("|")]
    homes = [mtk.combiners, mtk.models.sharing, mtk]
    wrong = []
    for text in re.findall(r"`((?:mtk\.)?[A-Z]\w+(?:\([^`]*\))?)`", " ".join(cells)):
        called = re.fullmatch(r"(?:mtk\.)?(\w+)(\(.*\))?", text)
        kind = next((found for home in homes if (found := getattr(home, called[1], None))), None)
        given = ast.parse(f"f{called[2] or '()'}", mode="eval").body
        names = {a.id for a in given.args if isinstance(a, ast.Name)}
        names |= {keyword.arg for keyword in given.keywords}
        if kind is None or names - set(inspect.signature(kind).parameters):
            wrong.append(text)
    assert not wrong


def _wrong(node):
    """Returns the attributes of `mtk` in a part of a program that do not exist."""
    if isinstance(node, ast.Attribute) and (path := _path(node)):
        return [] if _found(path) is not None else [path]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        called = _path(node.func) and _found(_path(node.func))
        if callable(called):
            known = inspect.signature(called).parameters
            anything = any(p.kind is p.VAR_KEYWORD for p in known.values())
            given = {keyword.arg for keyword in node.keywords if keyword.arg}
            return [] if anything else sorted(given - set(known))
    return []


def _path(node):
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join(reversed(parts)) if isinstance(node, ast.Name) and node.id == "mtk" else None


def _found(path):
    try:
        return functools.reduce(getattr, path.split("."), mtk)
    except AttributeError:
        return None


@pytest.mark.parametrize("page", WITH_SHELL, ids=pages.name)
def test_commands_exist(page):
    for block in pages.blocks(page, "bash"):
        for line in block.text.replace("\\\n", " ").splitlines():
            words = re.search(r"(?:python -m mtk\.|^mtk )(\w+)(.*)", line)
            if words:
                known = set(re.findall(r"--[a-z_]+", _help(words[1]))) | {"--version", "--help"}
                given = re.findall(r"(?<=\s)(--(?!gin\.)[a-z_]+)", words[2])
                assert set(given) <= known, f"{pages.name(page)}: {line}"
            for path in re.findall(r"--gin_file=(\S+\.gin)", line):
                assert (pages.ROOT / path).is_file(), f"{pages.name(page)}: {path}"
            for path in re.findall(r"(?:^|python )((?:tools|docs)/\S+)", line):
                assert (pages.ROOT / path).is_file(), f"{pages.name(page)}: {path}"


_help = functools.cache(command_pages.help_of)


@pytest.mark.slow
@pytest.mark.parametrize("block", RUNS, ids=lambda block: shlex.quote(block.text.splitlines()[0]))
def test_shell_block_runs(block, new_folder):
    own = {"PYTHONPATH": str(pages.ROOT), "PATH": f"{os.path.dirname(sys.executable)}:{os.defpath}"}  # noqa: PTH120
    done = subprocess.run(
        ["bash", "-e", "-c", block.text], env={**os.environ, **own}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_links_between_pages_exist():
    made = re.compile(r"docs/(reference/(api/.*|api|commands)|methods/(table|[A-Z]\w*))\.md")
    wrong = []
    for page in pages.written():
        for link in re.findall(r"\]\(([^)#\s]+)[^)\s]*\)", page.read_text(encoding="utf-8")):
            target = (page.parent / link).resolve()
            outside = "://" in link or link.startswith("mailto:")
            if outside or made.fullmatch(str(target).removeprefix(f"{pages.ROOT}/")):
                continue
            if not target.exists():
                wrong.append(f"{pages.name(page)}: {link}")
    assert not wrong, wrong


def test_papers_are_linked():
    named = re.compile(r"(?<![\[\w-])[A-ZÀ-Ž]\w+ (?:et al\.|& [A-ZÀ-Ž]\w+),?\s\(?(?:19|20)\d\d")
    wrong = [
        f"{pages.name(page)}: {found}"
        for page in pages.written()
        for found in named.findall(page.read_text(encoding="utf-8"))
    ]
    assert not wrong, wrong


def test_table_rows_have_a_cell_per_column():
    """Markdown drops cells beyond the last column, and shifts others."""
    wrong = []
    for page in pages.written():
        text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S)
        for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.M):
            rows = table.splitlines()
            counts = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]
            wrong += [row for row, n in zip(rows, counts, strict=True) if n != counts[0]]
    assert not wrong, wrong


def test_every_package_is_listed():
    listed = (pages.DOCS / "concepts" / "flow.md").read_text()
    parts = [path.parent.name for path in (pages.ROOT / "mtk").glob("*/__init__.py")]
    assert [part for part in parts if f"`mtk/{part}/`" not in listed] == []


def test_files_of_results_exist():
    """Files that a page of results mentions exist beside it."""
    wrong = []
    for page in pages.written():
        for name in re.findall(r"`((?:table|figure)s?_[\w.]+)`", page.read_text()):
            if not list(page.with_suffix("").glob(f"*/{name}")):
                wrong.append(f"{pages.name(page)}: {name}")
    assert not wrong


def test_every_page_is_in_a_toctree():
    listed = set()
    for page in pages.written():
        for toctree in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), re.S):
            entries = [e for e in toctree.splitlines() if e and not e.startswith(":")]
            listed |= {(page.parent / f"{entry}.md").resolve() for entry in entries}
    own = {p for p in pages.written() if p.is_relative_to(pages.DOCS)} - {pages.DOCS / "index.md"}
    assert own - listed == set()
