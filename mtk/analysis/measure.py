"""Test values of the selected models, seed by seed."""

import functools
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mtk import example_values, records
from mtk.analysis import plain_text
from mtk.analysis.metric_sets import Objective, finished, points
from mtk.analysis.schema import MEASURE, SELECT
from mtk.analysis.select import STATIC, best_of_each, select, weighting
from mtk.example_values import ExampleValues

FILE = "test_examples.npz"
# Number of groups of test examples; their variance has one degree of freedom less.
GROUPS = 32
_LARGEST = 64 << 20
_RUN = ["label", "configuration", "seed"]


@dataclass(frozen=True)
class Models:
    """Models that were measured at the same seeds.

    Attributes:
        values: `(N, S, K)` for N models, S seeds and K tasks; lower is better.
        weights: `(N, K)`, all positive, for static models with known weights; otherwise None.
        examples: `(N, S, G, K)`, values over G groups of test examples, the same groups for all
            models and seeds; their mean is `values`. None if unknown.
    """

    values: np.ndarray
    weights: np.ndarray | None = None
    examples: np.ndarray | None = None


@dataclass(frozen=True)
class Measured:
    """Selected models at the seeds that all of them have.

    Attributes:
        models: Models by method, static ones under `STATIC`; methods without a model are left out.
        configurations: Configurations of the models, by method.
        seeds: The common seeds.
        remarks: What was left out and why, and other notes for the reader.
    """

    models: dict[str, Models]
    configurations: dict[str, list[str]]
    seeds: list[int]
    remarks: list[str]


def measured(runs: pd.DataFrame, objectives: Sequence[Objective]) -> Measured:
    """Returns the models of a study's second stage, or, without one, of seeds that did not select.

    Args:
        runs: A row for each run: `method`, `configuration`, `static` (whether it trained with
            static weights), `weights` (`{task: share}` of those, or None), `seed`, `stage` (or
            None), `status`, `monitored` (the value that selects on validation; lower is better),
            the metrics, and optionally `examples` (`GroupedExamples` or None).
        objectives: The objectives to compare.
    """
    runs = runs.assign(label=runs["method"].where(~runs["static"].astype(bool), STATIC))
    remarks: list[str] = []
    staged, lacks = runs[runs["stage"] == MEASURE], "run in the second stage"
    if staged.empty:
        staged, remarks = _other_seeds(runs, objectives)
        lacks = "finished runs at both the selecting and the compared seeds"
    for label in (name for name in dict.fromkeys(runs["label"]) if name not in {*staged["label"]}):
        who = "no method has a verdict" if label == STATIC else "it has no verdict"
        remarks.append(f"{label} has no {lacks}, so {who}.")
    table = _values(staged, objectives)
    has = table.iloc[:, 0].unstack("seed")
    seeds = [int(seed) for seed in has.columns[has.notna().mean() >= 0.5]]
    whole = has.dropna(subset=seeds) if seeds else has.iloc[:0]
    remarks += _left_out(staged, whole, seeds)
    if others := [seed for seed in has if int(seed) not in seeds]:
        few = "Seeds with test values for fewer than half of the models are not compared"
        remarks.append(f"{few}: {_numbers(others)}.")
    names = {}
    for label in dict.fromkeys(staged["label"]):
        own = [configuration for name, configuration in whole.index if name == label]
        own = _one_a_weighting(staged, own) if label == STATIC else own
        if own:
            names[label] = own
    keys = {n: pd.MultiIndex.from_product([[n], own, seeds]) for n, own in names.items()}
    deviations, said = _deviations(staged, keys, seeds, objectives)
    models = {}
    for label, own in names.items():
        shape = len(own), len(seeds), len(objectives)
        values = table.reindex(keys[label]).to_numpy(float).reshape(shape)
        weights = _shares(staged, own, objectives) if label == STATIC else None
        cells = None
        if deviations:
            cells = deviations[label].reshape(*shape[:2], -1, shape[2]) + values[:, :, None]
        models[label] = Models(values, weights, cells)
    return Measured(models, names, seeds, remarks + said)


def _deviations(
    staged: pd.DataFrame,
    keys: Mapping[str, pd.MultiIndex],
    seeds: Sequence[int],
    objectives: Sequence[Objective],
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns the deviations over groups of test examples, `(N * S, G, K)` by method.

    Without comparable examples, there are none, but a remark that says so.
    """
    if "examples" not in staged or not keys or len(seeds) < 2:
        return {}, []  # There is no interval to widen.
    known = staged.drop_duplicates(_RUN).set_index(_RUN)["examples"]
    found = {label: list(known.reindex(own)) for label, own in keys.items()}
    every = [each for own in found.values() for each in own]
    if said := _why_seeds_only(every, [objective.name for objective in objectives], len(seeds)):
        return {}, [said]
    return {
        label: np.stack([each.of(objectives) for each in own]) for label, own in found.items()
    }, []


def _why_seeds_only(every: Sequence[Any], names: Sequence[str], num_seeds: int) -> str:
    """Returns why the test examples of runs `(N * S,)` cannot widen the intervals, if so."""
    alone = "The intervals cover the variation between seeds only, not that of a finite test set"
    if lacking := sum(not isinstance(each, GroupedExamples) for each in every):
        of = f"{len(every)} runs that are compared on test"
        of = f"None of the {of} has" if lacking == len(every) else f"{lacking} of the {of} lack"
        return f"{of} a readable {FILE} (the values for each test example). {alone}."
    for name in names:
        if any(name not in each.deviations for each in every):
            return (
                f"{name} was not recorded as a mean over test examples. {alone}, for this metric."
            )
    by_seed = (every[seed::num_seeds] for seed in range(num_seeds))
    orders = [{tuple(each.orders[name] for name in names) for each in own} for own in by_seed]
    if any(len(own) > 1 for own in orders):
        return (
            "Runs with the same seed were tested on different examples, so the effect of a "
            f"seed's test set on a run does not cancel. {alone}."
        )
    if (number := len(set.union(*orders))) == num_seeds:
        return (
            "Each seed has its own test examples, so the intervals over seeds cover the "
            "variation between test examples too."
        )
    return f"Only some seeds share their test examples. {alone}." if number > 1 else ""


def _values(staged: pd.DataFrame, objectives: Sequence[Objective]) -> pd.DataFrame:
    """Returns test values by label, configuration and seed, if all are known; lower is better."""
    values = points(staged, objectives, "test")
    usable = (staged["status"] == "finished").to_numpy() & np.isfinite(values).all(1)
    table = staged[_RUN].reset_index(drop=True).join(pd.DataFrame(values))
    return table[usable].drop_duplicates(_RUN).set_index(_RUN).sort_index()


def _one_a_weighting(staged: pd.DataFrame, own: list[str]) -> list[str]:
    """Returns each weighting's best measured model on validation.

    A sweep that continued after failures may have selected another model than before.
    """
    by_model = staged[staged["configuration"].isin(own)].groupby("configuration")
    weights, values = by_model["weights"].first(), by_model["monitored"].mean()
    if weights.isna().any() or values.isna().any():
        return own
    return [
        own[n] for n in best_of_each([weighting(weights[c]) for c in own], values[own].to_numpy())
    ]


def _other_seeds(
    runs: pd.DataFrame, objectives: Sequence[Objective]
) -> tuple[pd.DataFrame, list[str]]:
    """Returns the selected models at the seeds that did not select, if stages are unknown."""
    ended = finished(runs)
    seeds = ended.drop_duplicates(_RUN)["seed"].dropna()
    if seeds.empty:
        return ended, ["No run has finished."]
    # The seed with the most runs; the smallest one if several have as many.
    first = seeds.mode().min()
    chosen = select(ended[ended["seed"] == first], objectives)
    keys = pd.MultiIndex.from_frame(chosen[["label", "configuration"]])
    own = runs[pd.MultiIndex.from_frame(runs[["label", "configuration"]]).isin(keys)]
    began = (runs["stage"] == SELECT).any()
    why = (
        "The study has no run of its second stage yet" if began else "The study has no second stage"
    )
    said = f"{why}: the runs with seed {first:g} select, and"
    if seeds.nunique() == 1:
        same = "the same runs are compared on test, with one seed and so without an interval."
        return own, [f"{said} {same}"]
    return own[own["seed"] != first], [f"{said} the runs with other seeds are compared."]


def _shares(
    staged: pd.DataFrame, own: Sequence[str], objectives: Sequence[Objective]
) -> np.ndarray | None:
    """Returns the weights of each model `(N, K)`, if all are known and positive."""
    first = staged.drop_duplicates("configuration").set_index("configuration")["weights"]
    tasks = [objective.task for objective in objectives]
    known = [weights if isinstance(weights, dict) else {} for weights in first[own]]
    shares = pd.DataFrame(known).reindex(columns=tasks).to_numpy(float)
    return shares if (shares > 0).all() else None


def _left_out(staged: pd.DataFrame, whole: pd.DataFrame, seeds: Sequence[int]) -> list[str]:
    """Returns a remark for each method with models that lack a seed."""
    said = []
    shown = _numbers(seeds) or "that most models have"
    for label, own in staged.groupby("label", sort=False):
        every = own["configuration"].unique()
        lacking = [c for c in every if (label, c) not in whole.index]
        if lacking:
            runs = own[own["configuration"].isin(lacking)].groupby("status", sort=False)
            ends = runs["seed"].unique().items()
            ended = "; ".join(f"{status} at {_numbers(own)}" for status, own in ends)
            said.append(
                f"{label}: {len(lacking)} of {len(every)} selected models are left out because "
                f"they lack test values for some of the seeds {shown} (their runs: {ended})."
            )
    return said


def _numbers(seeds: Iterable[float]) -> str:
    known = [f"{seed:g}" for seed in sorted(seed for seed in seeds if not np.isnan(seed))]
    return ", ".join([*known, *(["an unknown seed"] if any(map(np.isnan, seeds)) else [])])


class GroupedExamples(NamedTuple):
    """A run's metrics over random groups of its test examples, the same groups for all runs.

    Attributes:
        deviations: By `<task>/<metric>`, `(GROUPS,)`: the difference between the value over each
            group and that over all examples, to first order; the mean is zero.
        orders: By the same names, identifiers of the examples and their order.
    """

    deviations: dict[str, np.ndarray]
    orders: dict[str, str]

    def of(self, objectives: Sequence[Objective]) -> np.ndarray | None:
        """Returns deviations `(GROUPS, K)` of values to minimize; None if one is not known."""
        names = [objective.name for objective in objectives]
        if any(name not in self.deviations for name in names):
            return None
        signs = [objective.sign for objective in objectives]
        return np.stack([self.deviations[name] for name in names], axis=1) * signs


def examples_of(runs: pd.DataFrame) -> pd.Series:
    """Returns the grouped examples of each run that may be used to measure; None without any."""
    staged = (runs["stage"] == MEASURE).any()
    asked = (runs["status"] == "finished") & ((runs["stage"] != SELECT) | (not staged))
    found = [_examples(str(p)) if a else None for p, a in zip(runs["path"], asked, strict=True)]
    return pd.Series(found, runs.index, dtype=object)


@functools.lru_cache(maxsize=4096)
def _examples(path: str) -> GroupedExamples | None:
    """Returns the grouped examples of a run folder; None if they are missing or damaged."""
    try:
        with records.opened(Path(path) / FILE, _LARGEST) as file:
            return grouped(example_values.read(file))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        warnings.warn(f"{Path(path) / FILE} is damaged and is ignored: {error}", stacklevel=2)
        return None


def grouped(found: ExampleValues) -> GroupedExamples:
    """Returns the deviations over groups of examples.

    The deviation of a group is the sum of its examples' influences on the mean, times the number of
    groups.
    """
    step = -(-int(max(found.sizes, default=1)) // max(found.values.shape[1], 1))
    deviations, orders = {}, {}
    for row, name in enumerate(found.names):
        # With subsampled examples, a smaller test set has proportionally fewer of them.
        kept = -(-int(found.sizes[row]) // step)
        values, counts = found.values[row, :kept], found.counts[row, :kept].astype(float)
        if not kept or not counts.sum() > 0 or not np.isfinite(values).all():
            continue
        centered = counts * (values - np.average(values, weights=counts)) / counts.sum()
        sums = np.bincount(_groups(kept), centered, GROUPS)
        task, _, metric = str(name).partition("/")
        shown = f"{plain_text.name(task)}/{plain_text.name(metric)}"
        deviations[shown] = GROUPS * sums * np.sqrt(kept / int(found.sizes[row]))
        orders[shown] = str(found.orders[row])
    return GroupedExamples(deviations, orders)


@functools.lru_cache(maxsize=64)
def _groups(number: int) -> np.ndarray:
    """Returns a random group for each example, so that the order of examples has no effect."""
    return np.random.default_rng(0).permutation(number) % GROUPS
