"""Translates the lines of standard input with an exported network, to standard output."""

import argparse
import os
import sys
from collections.abc import Sequence

from mtk import flags, quiet

_EPILOG = """\
examples:
  python -m mtk.translate --saved_model=runs/translation_cldr --to=de < english.txt > german.txt
  echo "ten kilometers" | python -m mtk.translate --to=fr \\
      --saved_model=runs/translation_cldr/saved_model_text

One line of output for each line of input, in the same order. Progress and warnings go to standard
error. A SavedModel is a program that TensorFlow runs: use only those of people you trust.
Exit code: 0 done, 1 nobody reads the output any more, 2 bad input.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the flags, translates, and returns the exit code."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m mtk.translate", None, __doc__, _EPILOG, [], style, allow_abbrev=False
    )
    add = parser.add_argument
    what = "folder of a SavedModel of text, or of a run that has written one"
    add("--saved_model", metavar="PATH", required=True, help=what)
    add("--to", metavar="LANGUAGE", required=True, help="target language, such as de")
    add("--traceback", action="store_true", help="show where in the code an error arose")
    given = parser.parse_args(arguments)
    quiet.start_tensorflow()  # Takes seconds, hence not before the flags are read.
    from mtk.decoding import lines
    from mtk.export.text import load_translator

    try:
        translate = load_translator(given.saved_model, given.to)
        texts = lines.read_lines(sys.stdin.buffer)
        lines.translate_lines(translate, texts, given.to, sys.stdout.buffer)
    except BrokenPipeError:
        # Otherwise Python tries to write the rest when it ends, and complains.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError) as error:
        if given.traceback:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    flags.end_with(main)
