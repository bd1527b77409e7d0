"""Translates lines from standard input to standard output with an exported network."""

import sys
from collections.abc import Sequence

from mtk import errors, flags, saved_model_path, tf_logging

_EPILOG = """\
examples:
  python -m mtk.translate --saved_model=runs/translation_cldr --to=de < english.txt > german.txt
  echo "ten kilometers" | python -m mtk.translate --to=fr \\
      --saved_model=runs/translation_cldr/saved_model_text

Writes one line of output for each line of input, in the same order. Progress and warnings go to
standard error. A SavedModel is a program that TensorFlow runs: use only models you trust.
Exit codes: 0 done; 1 the output was closed; 2 bad input.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the flags, translates, and returns the exit code."""
    parser = flags.Parser("mtk.translate", __doc__, _EPILOG)
    add = parser.add_argument
    what = "folder of a SavedModel that translates text, or of a run that wrote one"
    add("--saved_model", metavar="PATH", type=flags.path, required=True, help=what)
    add("--to", metavar="LANGUAGE", required=True, help="target language, such as de")
    add("--traceback", action="store_true", help="show the traceback of an error")
    given = parser.parse_args(arguments)
    try:
        _translate(given.saved_model, given.to)
    except (ValueError, OSError, ImportError) as error:
        if given.traceback:
            raise
        print(f"error: {errors.message(error)}", file=sys.stderr)
        return 2
    return 0


def _translate(saved_model: str, language: str) -> None:
    found = saved_model_path.find(saved_model, text=True)
    tf_logging.start_tensorflow()  # Takes seconds, hence not before the path is looked at.
    from mtk.decoding import lines
    from mtk.export.loading import load_translator

    translate = load_translator(found.path, language)
    texts = lines.read_lines(sys.stdin.buffer)
    lines.translate_lines(translate, texts, language, sys.stdout.buffer)


if __name__ == "__main__":
    flags.exit_with(main)
