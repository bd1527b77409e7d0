"""How Sphinx builds the site: `python -m sphinx -W docs build/site`, without a network."""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
DOCS = Path(__file__).parent
# The extensions, and the table of known values among the tests.
sys.path[:0] = [str(DOCS / "extensions"), str(DOCS.parent)]

project = "mtk"
author = "the authors of mtk"
html_show_copyright = False
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "docstrings",
    "generated_pages",
    "mathml",
]
exclude_patterns = ["README.md", "**/tables"]

# Pages.
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# Tests execute the notebooks; `-D nb_execution_mode=force` shows their outputs in the site.
nb_execution_mode = "off"
nb_execution_timeout = 600

# Docstrings: names in single backquotes are code, as in Markdown.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Reference", ("Call arguments", "params_style")]

nitpicky = True
# Types in docstrings of other libraries, and of what has no page of its own.
nitpick_ignore_regex = [(r"py:.*", r".*")]

html_theme = "furo"
html_title = "mtk"
html_math_renderer = "mathml"
html_copy_source = False
html_static_path: list[str] = []
