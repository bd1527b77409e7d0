"""Evaluates an exported network on a split of its workload's data."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from mtk import atomic, flags, places, quiet

_EPILOG = """\
examples:
  python -m mtk.evaluate --saved_model=runs/pcgrad
  python -m mtk.evaluate --saved_model=runs/translation_cldr/saved_model_text
  python -m mtk.evaluate --saved_model=runs/pcgrad/model.keras --split=validation \\
      --gin_file=configs/multi_digits.gin --json=-

Exit code: 0 done, 2 bad input.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the flags, evaluates, and returns the exit code."""
    parser = flags.parser("mtk.evaluate", __doc__, _EPILOG)
    add = parser.add_argument
    what = "run folder, or a SavedModel's folder or .keras file; a run's config.gin is the default"
    add("--saved_model", metavar="PATH", required=True, help=what)
    add("--split", choices=["train", "validation", "test"], default="test", help="default: test")
    add("--json", metavar="FILE", help="write the figures there too; '-' prints nothing else")
    given, bindings = flags.parse(parser, sys.argv[1:] if arguments is None else arguments)
    try:
        out = _file(given.json)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    quiet.start_tensorflow()  # Takes seconds, hence not before the flags are read.
    from mtk import config
    from mtk.experiment import evaluation

    try:
        figures = evaluation.launch(given.gin_file, bindings, given.saved_model, given.split)
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_json(out, figures)
    except (ValueError, OSError) as error:
        if given.traceback:
            raise
        print(f"error: {config.explain(error)}", file=sys.stderr)
        return 2
    print(json.dumps(figures, indent=2) if given.json == "-" else evaluation.described(figures))
    return 0


def _file(given: str | None) -> Path | None:
    """Returns the file to write, if any."""
    return None if given in (None, "-") else places.check_file(given)


if __name__ == "__main__":
    flags.end_with(main)
