"""Docstrings have Markdown's code, as in Keras: this makes them what Sphinx reads."""

import inspect
import re
import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# A block of code, the example of an interpreter, or a heading that Sphinx does not know.
_BLOCKS = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)^ *```$"
    r"|(?P<doctest>^ *>>> .*?(?=\n\s*\n|\Z))"
    r"|^(?P<margin> *)(?P<heading>Examples?):$",
    re.MULTILINE | re.DOTALL,
)
_CODE = re.compile(r"`([^`]+)`")
# What means something to reStructuredText and nothing to a reader.
_SPECIAL = re.compile(r"(\||(?<=\w)_(?!\w)|(?<=\S )\*+(?=\s)|(?<=\w)\*(?=\w))")


def to_restructured_text(lines: list[str]) -> list[str]:
    """Returns the lines of a docstring in the form that Sphinx reads.

    Blocks of code become directives, names in single backquotes literals, and characters that would
    mean something else are escaped.

    Args:
        lines: Of the docstring, without its indentation.
    """
    text, done, parts = "\n".join(lines), 0, []
    for block in _BLOCKS.finditer(text):
        parts += [_prose(text[done : block.start()]), _block(block)]
        done = block.end()
    return "".join([*parts, _prose(text[done:])]).split("\n")


def _block(block: re.Match[str]) -> str:
    if block["doctest"]:
        return f"\n{block['doctest']}"
    if block["heading"]:
        return f"{block['margin']}.. rubric:: Example\n"
    code = textwrap.indent(block["code"], "   ")
    return f"\n{block['indent']}.. code-block:: {block['language'] or 'text'}\n\n{code}"


def _prose(text: str) -> str:
    parts = _CODE.split(text)  # Every second one is code.
    escaped = [_SPECIAL.sub(r"\\\1", part) for part in parts[::2]]
    literals = [f"``{part.strip()}``" for part in parts[1::2]] + [""]
    return "".join(a + b for a, b in zip(escaped, literals, strict=True))


def _process(app: "Sphinx", what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    del app, what, name, obj, options
    lines[:] = to_restructured_text(lines)


def _signature(app: "Sphinx", what: str, name: str, obj: Any, *others: Any) -> Any:
    """Returns the arguments of a class: Keras' layers hide them behind `*args, **kwargs`."""
    del app, name, others
    if what != "class" or "__init__" not in vars(obj):
        return None
    signature = inspect.signature(obj.__init__)
    plain = [
        p.replace(annotation=p.empty) for p in signature.parameters.values() if p.name != "self"
    ]
    return str(signature.replace(parameters=plain, return_annotation=signature.empty)), None


def setup(app: "Sphinx") -> dict[str, Any]:
    """Converts docstrings before napoleon reads them."""
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _process, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
