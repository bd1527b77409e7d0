"""Measures how often the verdict errs, and what it finds, on simulated studies.

    python tools/verdict_power.py --studies=150

Each study has eight methods, nine static weightings and three learning rates; 80 % of the variance
over seeds is common to all runs of a seed. The table is that of docs/verdict.md. It takes about 10
minutes on one core.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from simulated_studies import GAINING, Cell, verdicts

from mtk.analysis.verdict import BETTER, EQUIVALENT, WORSE, Verdict

Verdicts = dict[str, dict[str, Verdict]]


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        title: What is measured.
        examples: Whether the verdict sees the test examples, where the test set is finite.
        cells: The kinds of study.
        share: Returns what one study contributes.
        target: What the mean must reach at least, or at most if it is an error.
        is_error: Whether less is better.
    """

    title: str
    cells: Sequence[Cell]
    share: Callable[[Verdicts], float]
    target: str
    is_error: bool = False
    examples: bool = True


def found(said: Verdicts) -> float:
    """Returns 1 if the first method is called better on the first question."""
    return float(next(iter(said.values()))[GAINING].answer == BETTER)


def any_better(said: Verdicts) -> float:
    """Returns 1 if any method is called better on any question."""
    return float(any(v.answer == BETTER for own in said.values() for v in own.values()))


def others_better(said: Verdicts) -> float:
    """Returns 1 if any method but the first is called better on any question."""
    every = [v for own in said.values() for name, v in own.items() if name != GAINING]
    return float(any(v.answer == BETTER for v in every))


def any_different(said: Verdicts) -> float:
    """Returns 1 if any method is called better or worse on the first question.

    On the mean over tasks, a weighting that is not the best one is worse.
    """
    return float(any(v.answer in (BETTER, WORSE) for v in next(iter(said.values())).values()))


def equivalent(said: Verdicts) -> float:
    """Returns the share of methods that are called equivalent on the first question."""
    return float(np.mean([v.answer == EQUIVALENT for v in next(iter(said.values())).values()]))


# The null methods are equal to a static weighting, so any difference is one of the examples.
FINITE = Cell(test_size=500, test_noise=0.1)

ROWS = [
    Row(
        "gain of 10 % of the width, noise 4 / 12 %, found",
        [Cell(gain=0.1, noise=0.04), Cell(gain=0.1, noise=0.12)],
        found,
        "0.95 / 0.40",
    ),
    Row(
        "gain of 25 %, noise 12 / 25 %, found",
        [Cell(gain=0.25, noise=0.12), Cell(gain=0.25, noise=0.25)],
        found,
        "0.95 / 0.50",
    ),
    Row(
        "the same with curvatures that differ 30 times",
        [Cell(gain=0.25, noise=n, ratio=30.0) for n in (0.12, 0.25)],
        found,
        "-",
    ),
    *(
        Row(
            f"null: any of eight methods called better in a study; curvatures 1 / 10 / 30, noise "
            f"{100 * noise:.0f} %",
            [Cell(ratio=ratio, noise=noise) for ratio in (1.0, 10.0, 30.0)],
            any_better,
            "0.05",
            is_error=True,
        )
        for noise in (0.04, 0.12, 0.25)
    ),
    Row(
        "null methods with weights up to 0.03 and 0.97, curvatures 1 / 30, any called better",
        [Cell(reach=1.6, ratio=ratio) for ratio in (1.0, 30.0)],
        any_better,
        "0.05",
        is_error=True,
    ),
    Row(
        "null on a flat front, noise 12 %, one learning rate, 2 / 3 / 5 seeds, any called better "
        "or worse on the front",
        [Cell(flat=True, noise=0.12, common=0.5, rates=1, seeds=seeds) for seeds in (2, 3, 5)],
        any_different,
        "0.05",
        is_error=True,
    ),
    Row("null called equivalent, noise 4 %, 5 seeds", [Cell()], equivalent, "0.60"),
    Row(
        "gain of 25 %, noise 4 %, K = 3 / 5, found",
        [Cell(gain=0.25, num_tasks=k) for k in (3, 5)],
        found,
        "0.80 / 0.60",
    ),
    Row(
        "null, K = 3 / 5, any called better in a study",
        [Cell(num_tasks=k) for k in (3, 5)],
        any_better,
        "0.05",
        is_error=True,
    ),
    Row(
        "the same with curvatures that differ 10 times",
        [Cell(num_tasks=k, ratio=10.0) for k in (3, 5)],
        any_better,
        "0.05",
        is_error=True,
    ),
    Row(
        "null, one method with six times the others' noise, called better",
        [Cell(noisy=True)],
        found,
        "0.05",
        is_error=True,
    ),
    Row(
        "the other methods beside it, any called better in a study",
        [Cell(noisy=True)],
        others_better,
        "0.05",
        is_error=True,
    ),
    Row(
        "null, four methods with ten times the noise of static weights, 2 / 3 seeds, any called "
        "better in a study",
        [Cell(noise=0.1, common=0.0, static_noise=0.1, methods=4, seeds=seeds) for seeds in (2, 3)],
        any_better,
        "0.05",
        is_error=True,
    ),
    Row(
        "null, finite test set (500 examples, 10 % of the width), any called better in a study",
        [FINITE],
        any_better,
        "0.05",
        is_error=True,
    ),
    Row("the same, any called better or worse on the front", [FINITE], any_different, "-"),
    Row(
        "the same, seeds alone, any called better or worse on the front",
        [FINITE],
        any_different,
        "-",
        is_error=True,
        examples=False,
    ),
    Row(
        "gain of 50 % on the finite test set, found",
        [replace(FINITE, gain=0.5)],
        found,
        "-",
    ),
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the flags and prints the table."""
    parser = argparse.ArgumentParser("python tools/verdict_power.py", description=__doc__)
    parser.add_argument("--studies", type=int, default=150, help="simulated studies per cell")
    flags = parser.parse_args(arguments)
    start = time.monotonic()
    said: dict[tuple[Cell, bool], list[Verdicts]] = {}
    print("| | measured | target |\n|---|---|---|")
    for row in ROWS:
        shares = []
        for cell in row.cells:
            kind = cell, row.examples or not cell.test_size
            if kind not in said:
                said[kind] = [verdicts(cell, s, kind[1]) for s in range(flags.studies)]
            shares.append(np.mean([row.share(each) for each in said[kind]]))
        bound = "at most" if row.is_error else "at least"
        target = row.target if row.target == "-" else f"{bound} {row.target}"
        print(f"| {row.title} | {' / '.join(f'{s:.2f}' for s in shares)} | {target} |", flush=True)
    print(f"\n{flags.studies} studies a cell, {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
