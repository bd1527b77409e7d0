"""Does the runs of a study as a gin file describes it, and goes on with those that are left."""

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

A configuration is a program: it can run any code, with --dry_run too. Use only those you trust.
Before the first run, what the runs need is built once: if one cannot be done, none is started.
The same command goes on where it was stopped or killed; finished runs are not repeated. Several
sweeps may work on one folder. SIGINT, SIGTERM and SIGHUP have every run write a checkpoint first.
Exit code: 0 all runs are done, 1 some have failed, 2 bad input, 75 stopped by a signal, a full disk
or --max_runs: then the same command goes on.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the flags, does the runs, and returns the exit code."""
    parser = flags.parser("mtk.sweep", __doc__, _EPILOG)
    add = parser.add_argument
    add("--study_dir", metavar="PATH", type=flags.folder, help="folder for the study's runs")
    add("--dry_run", action="store_true", help="show the runs, their number and time; do nothing")
    add("--retry_failed", action="store_true", help="do again what has failed")
    replay = "then do the methods' best runs again with their mean weights as static weights"
    add("--replay", action="store_true", help=replay)
    add("--only", metavar="METHOD", action="append", default=[], help="do this method's runs only")
    add("--max_runs", metavar="N", type=flags.positive, help="start so many runs at most")
    tail = "follow the log of a running run; of the one that wrote last, if none is named"
    add("--tail", metavar="RUN", nargs="?", const="", help=tail)
    given, bindings = flags.parse(parser, sys.argv[1:] if arguments is None else arguments)
    from mtk import config

    return config.exit_code(lambda: _sweep(given, bindings), given.traceback)


def _sweep(given: argparse.Namespace, bindings: list[str]) -> int:
    from mtk import config, study
    from mtk.study.grid import refuse_run_settings

    if given.tail is not None:
        if given.study_dir is None:
            raise ValueError("Whose log? Name the study folder: --study_dir=PATH.")
        study.tail(given.study_dir, given.tail)
        return 0
    # What can be found before TensorFlow is imported, which takes seconds.
    names = config.check_names(given.gin_file, bindings)
    names.require(
        "mtk.study.spec",
        "The configuration gives no 'name' of a study: nothing binds study.Study. Give a study's "
        "file, such as those in configs/studies. A single run is done by: mtk train",
    )
    refuse_run_settings(names, "study.Study.settings")
    if any(not module.startswith("mtk.study") for module in names.imported):
        tf_logging.start_tensorflow()
    config.parse(given.gin_file, bindings)
    asked = config.bound(study.Study)()
    if given.study_dir is None and not given.dry_run:
        raise ValueError("A study needs a folder to write. Name one: --study_dir=PATH.")
    if not given.dry_run:
        places.check_kind(Path(given.study_dir), "a study")
        flags.as_folder("study_dir", given.study_dir)
    folders = [config.find(file).parent for file in given.gin_file]
    for label in given.only:
        asked.check_method(label)
    study.Grid(asked, folders).check_names(needs_data=not given.dry_run)
    tf_logging.start_tensorflow()
    named = ("study_dir", "retry_failed", "replay", "dry_run", "only", "max_runs")
    own = {"study": asked, "folders": folders, **{name: getattr(given, name) for name in named}}
    return int(config.bound(study.sweep, given=list(own))(**own))


if __name__ == "__main__":
    flags.exit_with(main)
