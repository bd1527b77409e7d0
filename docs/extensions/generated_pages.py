"""Pages that are written from the code: one for each method, each package and the commands."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import command_pages
import method_pages
import package_pages

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def _write(app: "Sphinx") -> None:
    folder = Path(app.srcdir)
    pages = {**method_pages.pages(folder), **package_pages.pages(), **command_pages.pages()}
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Sphinx reads again what has changed.
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: "Sphinx") -> dict[str, Any]:
    """Writes the pages before Sphinx looks for sources."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
