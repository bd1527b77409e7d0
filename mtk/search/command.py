"""Searches for task weights with few runs, as described by a gin file."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mtk import flags, places, tf_logging
from mtk.display import counted

if TYPE_CHECKING:
    from mtk.search.spec import Search
    from mtk.study import Grid

_EPILOG = """\
examples:
  python -m mtk.search --gin_file=configs/searches/multi_digits.gin --study_dir=studies/search
  python -m mtk.search --gin_file=configs/searches/multi_digits.gin --dry_run
  python -m mtk.report --study_dir=studies/search --out=report

A configuration can run any code, even with --dry_run. Use only configurations you trust. Run the
same command again to continue a search that was stopped or killed, with the same result; with more
runs (--gin.search.Search.runs=30) it extends the search. Several searches can work on the same
folder.
Exit codes: 0 all runs are done; 1 runs have failed or no trial meets the goal; 2 bad input; 75
stopped by a signal or a full disk (run the same command again to continue).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the flags, does the search, and returns the exit code."""
    parser = flags.parser("mtk.search", __doc__, _EPILOG)
    add = parser.add_argument
    add("--study_dir", metavar="PATH", type=flags.folder, help="folder for the search's runs")
    add(
        "--dry_run",
        action="store_true",
        help="check the search and show its first points; run nothing",
    )
    add("--retry_failed", action="store_true", help="repeat failed runs")
    given, bindings = flags.parse(parser, sys.argv[1:] if arguments is None else arguments)
    from mtk import config

    return config.exit_code(lambda: _search(given, bindings), given.traceback)


def _search(given: argparse.Namespace, bindings: list[str]) -> int:
    from mtk import config
    from mtk.search.searching import search
    from mtk.search.spec import Search
    from mtk.study import Grid, sweep
    from mtk.study.grid import beside_includes, refuse_run_settings

    # Checks that do not need TensorFlow, whose import takes seconds.
    names = config.check_names(given.gin_file, bindings)
    names.require(
        "mtk.search.spec",
        "The configuration does not describe a search: nothing binds search.Search, whose "
        "'name' is required. Give a search file, such as those in configs/searches. To run a grid, "
        "use: mtk sweep",
    )
    refuse_run_settings(names, "search.Search.settings")
    if any(not module.startswith(("mtk.study", "mtk.search")) for module in names.imported):
        tf_logging.start_tensorflow()
    config.parse(given.gin_file, bindings)
    asked = config.bound(Search)()
    if given.study_dir is None and not given.dry_run:
        raise ValueError("A search needs an output folder. Give one: --study_dir=PATH.")
    if not given.dry_run:
        places.check_kind(Path(given.study_dir), "a search")
        flags.as_folder("study_dir", given.study_dir)
    folders = [config.find(file).parent for file in given.gin_file]
    asked = beside_includes(asked, folders, names.folders)
    grid = Grid(asked.study, folders)
    grid.check_names(needs_data=not given.dry_run)
    tf_logging.start_tensorflow()
    if given.dry_run:
        print(_described(asked, grid))
        return 0
    own = {"search": asked, "folders": folders, "study_dir": given.study_dir}
    own["retry_failed"] = given.retry_failed
    # The files in configs/engines are written for sweeps.
    engine = config.values(sweep).get("engine")
    if engine is not None:
        own["engine"] = engine
    found = config.bound(search, given=list(own))(**own)
    print(found)
    return int(found.exit_code)


def _described(asked: "Search", grid: "Grid") -> str:
    """Returns a description of the budget and the first points; nothing is written."""
    points = asked.make_sampler().ask(asked.trials)
    for point in points:
        grid.run(next(iter(asked.study.methods)), point, asked.seeds[0])
    kept = f", {counted(asked.reserved, 'run')} reserved for confirmation" if asked.reserved else ""
    of = f"{counted(asked.trials, 'trial')} of {counted(len(asked.seeds), 'run')}"
    head = f"{asked.name}: {of}{kept}. First points:"
    return "\n".join([head, *(f"  {point}" for point in points)])
