"""Trains a multi-task model as gin files describe it, and writes a run folder."""

import argparse
import functools
import sys
from collections.abc import Sequence

from mtk import quiet

_EPILOG = """\
examples:
  python -m mtk.train --gin_file=configs/multi_digits.gin \\
      --gin_file=configs/combiners/pcgrad.gin --run_dir=runs/pcgrad
  python -m mtk.train --gin_file=configs/multi_digits.gin --dry_run \\
      --gin.experiment.run.learning_rate=0.2 --gin_bindings="experiment.run.epochs = 3"

A text in a configuration needs quotes, also behind the shell: --gin.data_dir='"/data/mnist"'.
Exit code: 0 finished, 2 bad input, 3 the training diverged (its record is kept).
"""


def _parse(given: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Returns the flags, and all bindings: those of `--gin.NAME=VALUE` come last."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m mtk.train", None, __doc__, _EPILOG, [], style)
    parser.allow_abbrev = False
    add = parser.add_argument
    switch = functools.partial(add, action="store_true")
    many = functools.partial(add, action="append", default=[])
    many("--gin_file", metavar="FILE", help="config; a later file overlays the earlier")
    many("--gin_bindings", metavar="'NAME = VALUE'", help="binding that overlays the files")
    add("--gin.NAME", dest="_", metavar="VALUE", help="the same: --gin.experiment.run.epochs=3")
    add("--run_dir", metavar="PATH", help="new folder for metrics, curves, weights, result")
    switch("--dry_run", help="show config, model and time of a step; write nothing")
    switch("--traceback", help="show where in the code an error arose")
    bound = [flag for flag in given if flag.startswith("--gin.") and "=" in flag]
    flags = parser.parse_args([flag for flag in given if flag not in bound])
    return flags, flags.gin_bindings + [flag[6:].replace("=", " = ", 1) for flag in bound]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the flags, runs, and returns the exit code."""
    flags, bindings = _parse(sys.argv[1:] if arguments is None else arguments)
    quiet.start_tensorflow()  # Takes seconds, hence not before the flags are read.
    from mtk import config, experiment

    try:
        result = experiment.launch(flags.gin_file, bindings, flags.run_dir, flags.dry_run)
    except (ValueError, OSError) as error:
        if flags.traceback:
            raise
        print(f"error: {config.explain(error)}", file=sys.stderr)
        return 2
    return 3 if result.get("status") == "diverged" else 0


if __name__ == "__main__":
    sys.exit(main())
