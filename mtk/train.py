"""Trains a multi-task model as gin files describe it, and writes a run folder."""

import argparse
import os
import sys
from collections.abc import Sequence

from mtk import flags, quiet

_EPILOG = """\
examples:
  python -m mtk.train --gin_file=configs/multi_digits.gin \\
      --gin_file=configs/combiners/pcgrad.gin --run_dir=runs/pcgrad
  python -m mtk.train --gin_file=configs/multi_digits.gin --dry_run \\
      --gin.experiment.run.learning_rate=0.2 --gin_bindings="experiment.run.epochs = 3"

A configuration is a program: it can run any code, with --dry_run too. Use only those you trust.
A text in a configuration needs quotes, also behind the shell: --gin.data_dir='"/data/mnist"'.
A run that was killed goes on when the same command is given again; a finished one is shown.
Exit code: 0 finished, 2 bad input or a folder that cannot be written, 3 the training diverged (its
record is kept), 4 another worker was lost, 75 stopped by SIGTERM or SIGINT after a checkpoint, once
the run has begun; before, in the seconds that TensorFlow takes to start, a signal ends the process
at once. After 4 and 75 the same command goes on.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the flags, runs, and returns the exit code."""
    parser = flags.parser("mtk.train", __doc__, _EPILOG)
    add = parser.add_argument
    run_dir = "folder for metrics, curves, weights, result"
    add("--run_dir", metavar="PATH", type=flags.folder, help=run_dir)
    dry = "show config, model, memory and time of a step; write nothing"
    add("--dry_run", action="store_true", help=dry)
    timed = "examples of the step that --dry_run times, if not those of a batch or what fits"
    add("--dry_run_batch", metavar="N", type=int, help=timed)
    window = "record these steps for TensorBoard's profiler, such as 10:20"
    add("--profile_steps", metavar="FIRST:LAST", type=flags.window, help=window)
    given, bindings = flags.parse(parser, sys.argv[1:] if arguments is None else arguments)
    from mtk import config

    try:
        config.check_names(given.gin_file, bindings)
        _check(given, bindings)
        return _train(given, bindings)
    except (ValueError, OSError, ImportError) as error:
        if given.traceback:
            raise
        print(f"error: {config.explain(error)}", file=sys.stderr)
        return 2


def _check(given: argparse.Namespace, bindings: Sequence[str]) -> None:
    """Finds what is missing before TensorFlow is imported, which takes seconds."""
    if not given.gin_file and not bindings:
        raise ValueError(
            "There is no config, and so no 'workload' to train. Give a file: --gin_file=FILE."
        )
    # Of several workers only the first one needs a folder.
    if given.run_dir is None and not given.dry_run and "TF_CONFIG" not in os.environ:
        raise ValueError("A run needs a folder to write. Name a new one: --run_dir=PATH.")


def _train(given: argparse.Namespace, bindings: list[str]) -> int:
    quiet.shorten_warnings()
    quiet.start_tensorflow()
    from mtk import config, distribution, experiment

    try:
        asked = (given.run_dir, given.dry_run, given.dry_run_batch, given.profile_steps)
        result = experiment.launch(given.gin_file, bindings, *asked)
    except distribution.PeerLostError as error:
        print(f"error: {config.explain(error)}", file=sys.stderr)
        return distribution.EXIT_STATUS
    return {"diverged": 3, "interrupted": 75}.get(result.get("status", ""), 0)


if __name__ == "__main__":
    flags.end_with(main)
