"""Runs a study described by a gin file, or the part of it that is left."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mtk import flags, places, tf_logging

_EPILOG = """\
examples:
  python -m mtk.sweep --gin_file=configs/studies/multi_digits.gin --study_dir=studies/digits
  python -m mtk.sweep --gin_file=configs/studies/multi_digits.gin --dry_run
  python -m mtk.sweep --gin_file=configs/studies/multi_digits.gin \\
      --gin_file=configs/engines/ray.gin --study_dir=studies/digits
  python -m mtk.sweep --study_dir=studies/digits --tail

A configuration can run any code, even with --dry_run. Use only configurations you trust.
Before the first run, everything that the runs need is built once; if a run cannot be built, none
starts. Run the same command again to continue a sweep that was stopped or killed; finished runs are
not repeated. Several sweeps can work on the same folder. On SIGINT, SIGTERM and SIGHUP, every run
writes a checkpoint first.
Exit codes: 0 all runs are done; 1 some runs have failed; 2 bad input; 75 stopped by a signal, a
full disk or --max_runs (run the same command again to continue).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the flags, does the runs, and returns the exit code."""
    parser = flags.parser("mtk.sweep", __doc__, _EPILOG)
    add = parser.add_argument
    add("--study_dir", metavar="PATH", type=flags.folder, help="folder for the study's runs")
    add(
        "--dry_run",
        action="store_true",
        help="show the runs, their number and estimated time; run nothing",
    )
    add("--retry_failed", action="store_true", help="repeat failed runs")
    replay = (
        "afterwards, repeat the best runs of the methods with their mean weights as static weights"
    )
    add("--replay", action="store_true", help=replay)
    add(
        "--only",
        metavar="METHOD",
        action="append",
        default=[],
        help="run only this method; repeatable",
    )
    add("--max_runs", metavar="N", type=flags.positive, help="start at most N runs")
    tail = "follow the log of a running run (default: the one that wrote last)"
    add("--tail", metavar="RUN", nargs="?", const="", help=tail)
    given, bindings = flags.parse(parser, sys.argv[1:] if arguments is None else arguments)
    from mtk import config

    return config.exit_code(lambda: _sweep(given, bindings), given.traceback)


def _sweep(given: argparse.Namespace, bindings: list[str]) -> int:
    from mtk import config, study
    from mtk.study.grid import beside_includes, refuse_run_settings

    if given.tail is not None:
        if given.study_dir is None:
            raise ValueError("--tail needs the study folder. Give it: --study_dir=PATH.")
        study.tail(given.study_dir, given.tail)
        return 0
    # Checks that do not need TensorFlow, whose import takes seconds.
    names = config.check_names(given.gin_file, bindings)
    names.require(
        "mtk.study.spec",
        "The configuration does not describe a study: nothing binds study.Study, whose 'name' "
        "is required. Give a study file, such as those in configs/studies. To train a single run, "
        "use: mtk train",
    )
    refuse_run_settings(names, "study.Study.settings")
    if any(not module.startswith("mtk.study") for module in names.imported):
        tf_logging.start_tensorflow()
    config.parse(given.gin_file, bindings)
    asked = config.bound(study.Study)()
    if given.study_dir is None and not given.dry_run:
        raise ValueError("A study needs an output folder. Give one: --study_dir=PATH.")
    if not given.dry_run:
        places.check_kind(Path(given.study_dir), "a study")
        flags.as_folder("study_dir", given.study_dir)
    folders = [config.find(file).parent for file in given.gin_file]
    asked = beside_includes(asked, folders, names.folders)
    for label in given.only:
        asked.check_method(label)
    study.Grid(asked, folders).check_names(needs_data=not given.dry_run)
    tf_logging.start_tensorflow()
    named = ("study_dir", "retry_failed", "replay", "dry_run", "only", "max_runs")
    own = {"study": asked, "folders": folders, **{name: getattr(given, name) for name in named}}
    return int(config.bound(study.sweep, given=list(own))(**own))


if __name__ == "__main__":
    flags.exit_with(main)
