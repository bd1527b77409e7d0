"""Names of methods as written in papers: PCGrad, not pcgrad."""

import re

import pandas as pd

from mtk.analysis.select import STATIC

# Names in papers that differ from the name of the combiner class.
_WRITTEN = {
    "AlignedMTL": "Aligned-MTL",
    "IMTLG": "IMTL-G",
    "IMTLL": "IMTL-L",
    "NashMTL": "Nash-MTL",
    "ProportionalSampling": "proportional sampling",
    "StaticWeights": STATIC,
    "UncertaintyWeights": "uncertainty weights",
}


def written(table: pd.DataFrame) -> dict[str, str]:
    """Returns each method's name for display; no two methods get the same name.

    A study's `rlw_normal` that trained with the combiner `RLW` is "RLW (normal)". A method that is
    not named after a combiner of the table keeps its name.
    """
    classes = {name.lower(): _WRITTEN.get(name, name) for name in table["combiner"].dropna()}
    methods = list(dict.fromkeys(table["method"]))
    shown = {method: _written(method, classes) for method in methods}
    taken = [*methods, *shown.values()]
    # Runs with static weights are compared under this name, whatever their label is.
    others = set(table.loc[table["role"].isin(["method", "replay"]), "method"])
    taken += [STATIC for method in others if shown[method] == STATIC]
    return {m: name if m == name or taken.count(name) == 1 else m for m, name in shown.items()}


def _written(method: str, classes: dict[str, str]) -> str:
    words = re.split(r"[\s_-]+", method)
    for number in range(len(words), 0, -1):
        found = classes.get("".join(words[:number]).lower())
        if found is not None:
            variant = " ".join(words[number:]).strip("()")
            return f"{found} ({variant})" if variant else found
    return method
