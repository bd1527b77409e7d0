"""Evaluates an exported network on a split of its workload's data."""

import argparse
import json
import sys
from collections.abc import Sequence

from mtk import atomic, flags, places, saved_model_path, tf_logging

_EPILOG = """\
examples:
  python -m mtk.evaluate --saved_model=runs/pcgrad
  python -m mtk.evaluate --saved_model=runs/translation_cldr/saved_model_text
  python -m mtk.evaluate --saved_model=runs/pcgrad/model.keras --split=validation \\
      --gin_file=configs/multi_digits.gin --json=-

A config that comes with the network may use only the parts of a run of mtk, unless --trust is
given; a config given by --gin_file can run any code. So can a SavedModel, which TensorFlow runs as
a program; a .keras file is loaded in Keras' safe mode.
Exit codes: 0 done; 2 bad input; 75 the disk is full.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the flags, evaluates, and returns the exit code."""
    parser = flags.parser("mtk.evaluate", __doc__, _EPILOG)
    add = parser.add_argument
    what = (
        "run folder, SavedModel folder or .keras file; by default the config.gin of the run is used"
    )
    add("--saved_model", metavar="PATH", type=flags.path, required=True, help=what)
    add("--split", choices=["train", "validation", "test"], default="test", help="default: test")
    trust = "trust the run's own config.gin, which can then import and run any code"
    add("--trust", action="store_true", help=trust)
    written = "also write the results to this file; '-' prints only the JSON"
    add("--json", metavar="FILE", type=flags.file, help=written)
    given, bindings = flags.parse(parser, sys.argv[1:] if arguments is None else arguments)
    from mtk import config

    return config.exit_code(lambda: _evaluate(given, bindings), given.traceback)


def _evaluate(given: argparse.Namespace, bindings: list[str]) -> int:
    from mtk import config

    # Checks that do not need TensorFlow, whose import takes seconds.
    out = None if given.json in (None, "-") else places.check_file(given.json)
    found = saved_model_path.find(given.saved_model)
    own = None if given.gin_file else found.config
    files = [str(own)] if own else given.gin_file
    if not files and not bindings:
        raise ValueError(
            f"The data of {given.saved_model!r} are unknown: there is no 'config.gin' next to "
            "it that binds a 'workload'. Give the config of the run: --gin_file=FILE."
        )
    config.check_names(files, bindings, needs_data=True)
    tf_logging.start_tensorflow()
    from mtk.experiment import evaluation

    asked = (found.path, given.split, own and own.parent, given.trust)
    figures = evaluation.launch(files, bindings, *asked)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_json(out, figures)
    print(json.dumps(figures, indent=2) if given.json == "-" else evaluation.described(figures))
    return 0


if __name__ == "__main__":
    flags.exit_with(main)
