"""Trains a multi-task model described by gin files, and writes a run folder."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mtk import flags, places, tf_logging

_EPILOG = """\
examples:
  python -m mtk.train --gin_file=configs/multi_digits.gin \\
      --gin_file=configs/combiners/pcgrad.gin --run_dir=runs/pcgrad
  python -m mtk.train --gin_file=configs/multi_digits.gin --dry_run \\
      --learning_rate=0.2 --gin_bindings="experiment.Training.patience = 3"
  python -m mtk.train --workload=my_package.my_module:make --combiner=PCGrad --epochs=10 \\
      --learning_rate=0.1 --batch_size=32 --run_dir=runs/mine

--workload and the flags listed after it are short forms of config lines, which are printed.
A config that does not exist as a file is looked up among those shipped with mtk, so
--gin_file=multi_digits.gin works in any folder.
A configuration can run any code, even with --dry_run. Use only configurations you trust.
Strings in a configuration need quotes, also in a shell: --gin.data_dir='"/data/mnist"'.
To continue a run that was killed, run the same command again. A finished run is only shown.
Exit codes: 0 finished; 1 the output cannot be written; 2 bad input, or a folder is not writable; 3
the training diverged (its logs are kept); 4 another worker was lost; 75 stopped after a checkpoint
by SIGTERM, SIGINT or SIGHUP (a closed terminal), or because the disk is full. While TensorFlow
starts (some seconds, before the run begins), a signal ends the process at once. After 1, 4 and 75,
run the same command again to continue.
"""


_OTHER_COMMANDS = {
    "mtk.study": "a study. Run it with: mtk sweep",
    "mtk.search": "a search. Run it with: mtk search",
    "mtk.bench": "a task card. Run it with: mtk bench",
}
_NOT_GIVEN = "(not given)"
_NUMBERS: dict[str, tuple[str, Callable[[str], float]]] = {
    "learning_rate": ("Optimization", flags.number),
    "batch_size": ("Optimization", int),
    "epochs": ("Training", int),
    "steps": ("Training", int),
    "seed": ("Training", int),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the flags, runs, and returns the exit code."""
    parser = flags.parser("mtk.train", __doc__, _EPILOG)
    add = parser.add_argument
    run_dir = "folder for metrics, curves, weights and results"
    add("--run_dir", metavar="PATH", type=flags.folder, help=run_dir)
    dry = "show config, model, memory and step time, and write nothing; works without the data"
    add("--dry_run", action="store_true", help=dry)
    timed = (
        "batch size of the step that --dry_run times (default: the batch size, or what fits in "
        "memory)"
    )
    add("--dry_run_batch", metavar="N", type=int, help=timed)
    window = "steps to record for TensorBoard's profiler, such as 10:20"
    add("--profile_steps", metavar="FIRST:LAST", type=flags.window, help=window)
    workload = "importable function or class that makes your own workload"
    add("--workload", metavar="MODULE:NAME", type=flags.importable, help=workload)
    named = "class in mtk.combiners, or MODULE:NAME of your own class"
    add("--combiner", metavar="NAME", type=flags.class_name, help=named)
    for name, (group, kind) in _NUMBERS.items():
        add(f"--{name}", metavar="N", type=kind, help=f"experiment.{group}.{name}")
    given, bindings = flags.parse(parser, sys.argv[1:] if arguments is None else arguments)
    from mtk import config

    statements = _statements(given)
    bindings = [*statements, *bindings]
    if given.workload and not given.gin_file:
        given.gin_file = ["base.gin"]
        statements.insert(0, "include 'base.gin'")
    return config.exit_code(lambda: _train(given, bindings, statements), given.traceback)


def _statements(given: argparse.Namespace) -> list[str]:
    """Returns the config lines for the flags of a user's own workload."""
    lines = [
        *_reference("workload", given.workload),
        *_reference("combiner", given.combiner),
        *(
            f"experiment.{group}.{name} = {getattr(given, name)}"
            for name, (group, _) in _NUMBERS.items()
            if getattr(given, name) is not None
        ),
    ]
    return ["from mtk import experiment", *lines] if lines else []


def _reference(argument: str, given: str | None) -> list[str]:
    if given is None:
        return []
    module, _, name = given.rpartition(":")
    if not module:
        return ["from mtk import combiners", f"experiment.run.{argument} = @combiners.{name}"]
    return [f"import {module}", f"experiment.run.{argument} = @{module}.{name}"]


def _check(given: argparse.Namespace, bindings: Sequence[str]) -> None:
    """Checks for missing values before TensorFlow is imported, which takes seconds."""
    if not given.gin_file and not bindings:
        raise ValueError(
            "No config was given, so there is no 'workload' to train. Give a config, "
            "--gin_file=FILE, or your own workload, --workload=MODULE:NAME."
        )
    # With several workers, only the first one needs a folder.
    if not given.dry_run and "TF_CONFIG" not in os.environ:
        if given.run_dir is None:
            raise ValueError("A run needs an output folder. Give a new one: --run_dir=PATH.")
        # The run itself checks a folder that was already started, and whether it can continue.
        begun = Path(given.run_dir) / "checkpoints"
        if not any(place.exists() for place in (begun / "run.json", begun / "lock")) and not any(
            begun.glob("*-step-*")
        ):
            places.check_unused(Path(given.run_dir))
    if given.dry_run_batch is not None and not given.dry_run:
        raise ValueError("--dry_run_batch works only with --dry_run; runs use `batch_size`.")
    if given.profile_steps and given.dry_run:
        raise ValueError(
            "--profile_steps cannot be used with --dry_run, which does not train. Leave one of "
            "them out."
        )


def _train(given: argparse.Namespace, bindings: list[str], shown: Sequence[str]) -> int:
    from mtk import config

    if given.dry_run:  # It does not need the data.
        left_open = config.required(given.gin_file, bindings)
        bindings = [*bindings, *(f"{name} = {_NOT_GIVEN!r}" for name in left_open)]
    named = config.check_names(given.gin_file, bindings, needs_data=not given.dry_run)
    for package, what in _OTHER_COMMANDS.items():
        named.refuse(
            package, f"This configures {what}. A single run does not read it, so leave it out."
        )
    folder = (
        "The folder of a run can only be given by --run_dir=PATH. Leave `run_dir` out of the "
        "config."
    )
    named.refuse("mtk.experiment", folder, parameter="run_dir")
    _check(given, bindings)
    if shown:
        print("\n".join(shown), flush=True)
    tf_logging.start_tensorflow()
    from mtk import distribution, experiment

    try:
        if given.dry_run:
            config.parse(given.gin_file, bindings)
            describe = config.bound(experiment.run, ["run_dir"], experiment.describe)
            print(describe(batch_size=given.dry_run_batch))
            return 0
        asked = (given.run_dir, given.profile_steps)
        result = experiment.launch(given.gin_file, bindings, *asked)
    except distribution.PeerLostError as error:
        print(f"error: {config.explain(error)}", file=sys.stderr)
        return distribution.EXIT_STATUS
    return {"diverged": 3, "interrupted": 75}.get(result.get("status", ""), 0)


if __name__ == "__main__":
    flags.exit_with(main)
