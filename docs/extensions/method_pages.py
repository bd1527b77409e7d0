"""A page for each method in `mtk.combiners`, from its class, what is known of it, and its tests."""

import inspect
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mtk import combiners
from mtk.combiners import Combiner

_READS = {
    "losses": "the losses of the tasks, or nothing",
    "gramian": "the [Gramian](../concepts/gramian.md) of the task gradients",
    "gradients": "the task gradients themselves",
}
_PASSES = {
    "losses": "One forward and one backward pass, as for static weights.",
    "gramian": "One forward pass, and one backward pass per task.",
    "gradients": "One forward pass, and one backward pass per task; all K gradients are kept.",
}


def methods() -> list[type[Combiner]]:
    """Returns the classes in `mtk.combiners` that are methods, by name."""
    found = [getattr(combiners, name) for name in combiners.__all__]
    bases = (Combiner, combiners.GramianCombiner, combiners.LossCombiner, combiners.PartsCombiner)
    kinds = [f for f in found if isinstance(f, type) and issubclass(f, Combiner)]
    return sorted((kind for kind in kinds if kind not in bases), key=lambda kind: kind.__name__)


def pages(docs: Path) -> dict[str, str]:
    """Returns the text of each page by its path in the folder of the site.

    Args:
        docs: That folder.
    """
    facts = tomllib.loads((docs / "methods" / "facts.toml").read_text(encoding="utf-8"))
    figures = (docs / "measured.md").read_text(encoding="utf-8")
    ratios, memory = measured(figures), measured_memory(figures)
    known = known_values()
    found = {}
    for kind in methods():
        name = kind.__name__
        costs = (ratios.get(name, []), memory.get(name, []))
        parts = (facts.get(name, {}), costs, known.get(name, []))
        found[f"methods/{name}.md"] = _page(kind, *parts)
    found["methods/table.md"] = _table(facts, ratios)
    return found


def measured(text: str) -> dict[str, list[tuple[str, str]]]:
    """Returns for each method what a step of it costs, as arguments and ratio.

    Args:
        text: Of `measured.md`, whose first table is that of LeNet.
    """
    block = text.split("--model=lenet", 1)[1].split("```", 1)[0]
    found: dict[str, list[tuple[str, str]]] = {}
    for call, ratio in re.findall(r"^(\w+\(.*?\)) +(\d+\.\d+) ", block, re.MULTILINE):
        found.setdefault(call.split("(")[0], []).append((call, ratio))
    return found


def measured_memory(text: str) -> dict[str, list[tuple[str, str, str]]]:
    """Returns for each method its arguments, a step's memory beyond static weights', and its state.

    Args:
        text: Of `measured.md`, whose tables for the MLP are those of memory.
    """
    found: dict[str, list[tuple[str, str, str]]] = {}
    for block in text.split("--model=mlp")[1:]:
        rows = r"^(\w+\(.*?\)) +(-?\d+) MiB.* (\d+\.\d+) MiB$"
        for made, beyond, state in re.findall(rows, block.split("```", 1)[0], re.MULTILINE):
            found.setdefault(made.split("(")[0], []).append((made, beyond, state))
    return found


def known_values() -> dict[str, list[tuple[str, ...]]]:
    """Returns for each method the rows of the table of known values that the tests check."""
    from tests.combiners import test_known_values as table

    found: dict[str, list[tuple[str, ...]]] = {}
    for combiner, gramian, losses, weights in table.GRAMIANS:
        row = (call(combiner), _matrix(gramian), _vector(losses), _vector(weights))
        found.setdefault(type(combiner).__name__, []).append(row)
    for combiner, losses, counts, weights in table.LOSSES:
        row = (call(combiner), f"labels {_vector(counts)}", _vector(losses), _vector(weights))
        found.setdefault(type(combiner).__name__, []).append(row)
    for combiner, rows, direction in table.DIRECTIONS:
        row = (call(combiner), f"gradients {_matrix(rows)}", "", f"direction {_vector(direction)}")
        found.setdefault(type(combiner).__name__, []).append(row)
    return found


def call(combiner: Combiner) -> str:
    """Returns the call that makes a combiner, with the arguments that are not defaults."""
    parameters = inspect.signature(type(combiner).__init__).parameters
    config = combiner.get_config()
    given = {
        name: config[name]
        for name, parameter in parameters.items()
        if name in config and name != "name" and config[name] != parameter.default
    }
    return f"{type(combiner).__name__}({', '.join(f'{n}={_short(v)}' for n, v in given.items())})"


def _short(value: Any) -> str:
    if isinstance(value, dict) and "config" in value:  # A wrapped combiner.
        return call(keras.saving.deserialize_keras_object(value))
    values = value.tolist() if isinstance(value, np.ndarray) else value
    return repr(list(values) if isinstance(values, tuple) else values)


def _matrix(rows: Any) -> str:
    return f"[{', '.join(_vector(row) for row in rows)}]"


def _vector(values: Any) -> str:
    return "" if values is None else f"[{', '.join(f'{float(v):.4g}' for v in values)}]"


def _page(
    kind: type[Combiner],
    facts: Mapping[str, Any],
    costs: tuple[Sequence[tuple[str, str]], Sequence[tuple[str, str, str]]],
    known: Sequence[tuple[str, ...]],
) -> str:
    name = kind.__name__
    lines = [f"# {name}", "", _summary(kind), ""]
    if "formula" in facts:
        lines += ["$$", facts["formula"].strip(), "$$", ""]
    lines += [
        "## Inputs and cost",
        "",
        *_cost(kind, costs[0]),
        *_memory(costs[1]),
        "",
    ]
    if "papers" in facts:
        links = [f"[{title}]({url})" for title, url in facts["papers"]]
        lines += [f"**{'Papers' if len(links) > 1 else 'Paper'}:** {'; '.join(links)}.", ""]
    lines += [
        "## The class",
        "",
        "```{eval-rst}",
        f".. autoclass:: mtk.combiners.{name}",
        "```",
        "",
    ]
    lines += _defaults(facts.get("defaults", [])) + _faults(facts.get("faults", []))
    return "\n".join(lines + _known(known)) + "\n"


def _summary(kind: type[Combiner]) -> str:
    return " ".join(inspect.getdoc(kind).split("\n\n")[0].split())  # type: ignore[union-attr]


def _cost(kind: type[Combiner], costs: Sequence[tuple[str, str]]) -> list[str]:
    passes = _PASSES[kind.reads]
    if "chosen_tasks" in vars(kind):
        passes = "One forward pass, and one backward pass per task that is chosen in the step."
    if kind.batch_parts > 1:
        passes = f"Each batch is divided into {kind.batch_parts} equal parts. {passes}"
    if kind.needs_post_update_loss:
        passes += " After the update, a second forward pass."
    parameters = inspect.signature(kind.__init__).parameters
    lines = [f"It reads {_READS[kind.reads]}. {passes}"]
    if "at" in parameters:
        lines.append(f"By default the gradients are taken at `{parameters['at'].default!r}`.")
    if "update_every" in parameters:
        lines.append("`update_every=n` computes new weights only at every n-th step.")
    required = [p for n, p in parameters.items() if p.default is p.empty and n != "self"]
    example: Any = kind if required else kind()  # An argument may decide it.
    heads = (
        "is scaled by its task's weight"
        if example.weighs_heads
        else "gets its gradient divided by K"
    )
    lines.append(f"By default each head {heads}.")
    if not costs:
        return lines
    lines += [
        "",
        "Time of a step, as a multiple of a step with static weights (LeNet, 2 tasks, batch 258;",
    ]
    lines += ["see [Measured](../measured.md)):", "", "| | ratio |", "|---|---|"]
    return lines + [f"| `{made}` | {ratio} |" for made, ratio in costs]


def _memory(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    if not rows:
        return []
    lines = [
        "",
        "Memory beyond that of static weights (MLP with 1.9 million shared parameters, 8 tasks,",
    ]
    lines += ["batch 60; one gradient takes 7 MiB):", "", "| | a step, MiB | state, MiB |"]
    return [*lines, "|---|---|---|", *(f"| `{m}` | {step} | {state} |" for m, step, state in rows)]


def _defaults(rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    lines = ["## Defaults here and in the paper", "", "| | here | paper and its code |"]
    return [*lines, "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows), ""]


def _faults(faults: Sequence[str]) -> list[str]:
    if not faults:
        return []
    lines = [
        "## Faults of public code",
        "",
        "Found in public implementations, and covered by tests here:",
        "",
    ]
    return [*lines, *(f"- {fault}" for fault in faults), ""]


def _known(rows: Sequence[tuple[str, ...]]) -> list[str]:
    if not rows:
        return []
    lines = ["## Known values", "", "Worked out by hand; the tests compare them with the code.", ""]
    lines += ["| | Gramian or other input | losses | task weights |", "|---|---|---|---|"]
    return [*lines, *(f"| {' | '.join(f'`{c}`' if c else '' for c in row)} |" for row in rows), ""]


def _table(
    facts: Mapping[str, Mapping[str, Any]], ratios: Mapping[str, Sequence[tuple[str, str]]]
) -> str:
    lines = ["| method | reads | time of a step | source |", "|---|---|---|---|"]
    for kind in methods():
        name = kind.__name__
        papers = facts.get(name, {}).get("papers", [])
        links = "; ".join(f"[{title}]({url})" for title, url in papers)
        ratio = next((ratio for _, ratio in ratios.get(name, [])), "")
        lines.append(f"| [{name}]({name}.md) | {kind.reads} | {ratio} | {links} |")
    return "\n".join(lines) + "\n"
