"""The pages of the site, and the code blocks in them."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_FENCE = re.compile(
    r"^(?:% (?P<mark>[^\n]*)\n)?```(?P<language>\S[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S
)
_LANGUAGES = {"{code-cell} python": "python"}


class Block(NamedTuple):
    """A code block.

    Attributes:
    """

    language: str
    text: str
    line: int
    mark: str | None


def written():
    """Returns the hand-written pages, README included, without pages generated from code."""
    made = {"api", "methods"}
    pages = [p for p in DOCS.rglob("*.md") if p.parent.name not in made]
    pages = [p for p in pages if p.name not in ("api.md", "commands.md")]
    return sorted([*pages, DOCS / "methods" / "index.md", ROOT / "README.md"])


def blocks(page, language):
    text = page.read_text(encoding="utf-8")
    found = [
        Block(
            _LANGUAGES.get(match["language"], match["language"]),
            match["text"],
            text[: match.start()].count("\n") + 2,
            match["mark"],
        )
        for match in _FENCE.finditer(text)
    ]
    return [block for block in found if block.language == language]


def with_code(language):
    """Returns the pages of the site that contain blocks of a language."""
    return [p for p in written() if p.is_relative_to(DOCS) and blocks(p, language)]


def program(page):
    """Returns the Python blocks of a page as one program with the line numbers of the page."""
    lines = []
    for block in blocks(page, "python"):
        lines += [""] * (block.line - len(lines) - 1)
        lines += block.text.splitlines()
    return "\n".join(lines) + "\n"


def name(page):
    return str(page.relative_to(ROOT))
