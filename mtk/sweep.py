"""Does the runs of a study as a gin file describes it, and goes on with those that are left."""

import sys
from collections.abc import Sequence
from pathlib import Path

from mtk import flags, quiet

_EPILOG = """\
examples:
  python -m mtk.sweep --gin_file=configs/studies/multi_digits.gin --study_dir=studies/digits
  python -m mtk.sweep --gin_file=configs/studies/multi_digits.gin --dry_run
  python -m mtk.sweep --gin_file=configs/studies/multi_digits.gin \\
      --gin_file=configs/engines/ray.gin --study_dir=studies/digits

A configuration is a program: it can run any code, with --dry_run too. Use only those you trust.
The same command goes on where it was stopped or killed; finished runs are not repeated. Several
sweeps may work on one folder. SIGINT and SIGTERM have every run write a checkpoint first.
Exit code: 0 all runs are done, 1 some have failed, 2 bad input, 75 stopped by a signal or a full
disk: then the same command goes on.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the flags, does the runs, and returns the exit code."""
    parser = flags.parser("mtk.sweep", __doc__, _EPILOG)
    add = parser.add_argument
    add("--study_dir", metavar="PATH", help="folder for the study's runs")
    add("--dry_run", action="store_true", help="show the runs, their number and time; do nothing")
    add("--retry_failed", action="store_true", help="do again what has failed")
    replay = "then do the methods' best runs again with their mean weights as static weights"
    add("--replay", action="store_true", help=replay)
    given, bindings = flags.parse(parser, sys.argv[1:] if arguments is None else arguments)
    quiet.start_tensorflow()  # Takes seconds, hence not before the flags are read.
    from mtk import config, study

    try:
        config.parse(given.gin_file, bindings)
        asked = config.bound(study.Study)()
        folders = [Path(file).parent for file in given.gin_file]
        own = ("study", "study_dir", "folders", "retry_failed", "replay", "dry_run")
        sweep = config.bound(study.sweep, given=own)
        return int(
            sweep(
                study=asked,
                study_dir=given.study_dir,
                folders=folders,
                retry_failed=given.retry_failed,
                replay=given.replay,
                dry_run=given.dry_run,
            )
        )
    except (ValueError, OSError, ImportError) as error:
        if given.traceback:
            raise
        print(f"error: {config.explain(error)}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    flags.end_with(main)
