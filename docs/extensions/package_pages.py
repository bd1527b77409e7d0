"""A page of reference for each package, from what it exports."""

import importlib

# What has a page of its own elsewhere, or nothing for programs of others.
_PACKAGES = {
    "mtk": "the model, the tasks, the comparison",
    "mtk.combiners": "base classes; each method has [a page](../../methods/index.md)",
    "mtk.gradients": "per-task gradients and the Gramian",
    "mtk.losses": "additional losses",
    "mtk.metrics": "additional metrics",
    "mtk.callbacks": "callbacks for `fit`",
    "mtk.schedules": "learning-rate schedules",
    "mtk.workloads": "tasks, data and network of a run",
    "mtk.data": "batches from arrays",
    "mtk.models": "networks",
    "mtk.models.sharing": "layers for sharing between tasks",
    "mtk.experiment": "a run",
    "mtk.distribution": "devices and processes",
    "mtk.checkpoints": "atomic snapshots of a training",
    "mtk.decoding": "translation by beam search",
    "mtk.export": "networks for other programs",
    "mtk.study": "many runs",
    "mtk.study.engines": "where the runs of a study are executed",
    "mtk.search": "searches for weights and other hyperparameters with few runs",
    "mtk.bench": "benchmarks with equal budgets and a sealed test",
    "mtk.analysis": "comparison and statistics of many runs",
}
_BASES = ("Combined", "Combiner", "GramianCombiner", "LossCombiner", "PartsCombiner")
_BASES += ("wrapper.Wrapper",)
_OF_MTK = ("MultiTaskModel", "Task", "compare", "comparison.Comparison", "front", "gramian")
_OF_MTK += ("per_example_gramian",)


def pages() -> dict[str, str]:
    """Returns the text of each page by its path in the folder of the site."""
    found = {f"reference/api/{name}.md": _page(name, text) for name, text in _PACKAGES.items()}
    rows = [f"| [{name}](api/{name}.md) | {text} |" for name, text in _PACKAGES.items()]
    rows = [row.replace("(../../methods", "(../methods") for row in rows]
    toc = ["```{toctree}", ":hidden:", "", *(f"api/{name}" for name in _PACKAGES), "```"]
    lines = ["# The library", "", "| package | |", "|---|---|", *rows, "", *toc]
    found["reference/api.md"] = "\n".join(lines) + "\n"
    return found


def _page(name: str, text: str) -> str:
    lines = [f"# {name}", "", f"{text[0].upper()}{text[1:]}.", "", "```{eval-rst}"]
    for exported in _exported(name):
        lines += [*_directive(name, exported), ""]
    return "\n".join([*lines, "```"]) + "\n"


def _exported(name: str) -> list[str]:
    if name == "mtk":
        return list(_OF_MTK)
    if name == "mtk.combiners":
        return list(_BASES)
    module = importlib.import_module(name)
    own = [k for k, v in vars(module).items() if getattr(v, "__module__", None) == name]
    return [n for n in getattr(module, "__all__", own) if not n.startswith("_")]


def _directive(name: str, exported: str) -> list[str]:
    module = importlib.import_module(name)
    found = module
    for part in exported.split("."):
        found = getattr(found, part)
    if isinstance(found, type):
        # What comes from elsewhere may be on the pages of several packages.
        own = found.__module__.startswith(name)
        options = ["   :members:"] if own else ["   :members:", "   :no-index:"]
        return [f".. autoclass:: {name}.{exported}", *options]
    kind = "autofunction" if callable(found) else "autodata"
    return [f".. {kind}:: {name}.{exported}"]
