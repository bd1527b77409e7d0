"""Prepares a data set once, as gin files describe it, so that every run reads it at once."""

import argparse
import sys
from collections.abc import Callable, Sequence

from mtk import flags

_EPILOG = """\
examples:
  python -m mtk.prepare celeba --gin_file=configs/prepare_celeba.gin \\
      --gin.data_dir='"/data/celeba"' --out=/data/celeba_64
  python -m mtk.prepare translation --gin_file=configs/prepare_multi30k.gin
  python -m mtk.prepare translation --gin_file=configs/prepare_multi30k.gin \\
      --gin.data_dir='"/data/multi30k"' --out=/data/multi30k/prepared

Translation goes on where it was stopped or killed; faces take a minute or two, and begin again.
What is prepared already is checked.
Exit code: 0 prepared, 2 bad input or a folder that cannot be written, 75 stopped by
Ctrl-C or a full disk.
"""


# A command line imports its own data set only. Each function writes `folder`, and returns what to
# print.
def _translation() -> Callable[..., str]:
    from mtk.data.translation import preparation

    return preparation.prepare


def _celeba() -> Callable[..., str]:
    from mtk.data.celeba import preparation

    return preparation.prepare


_DATA_SETS = {"celeba": _celeba, "translation": _translation}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the flags, prepares, and returns the exit code."""
    parser = flags.parser("mtk.prepare", __doc__, _EPILOG)
    parser.add_argument("data_set", choices=list(_DATA_SETS), help="what to prepare")
    out = "folder to write, instead of the config's"
    parser.add_argument("--out", metavar="PATH", type=flags.folder, help=out)
    given, bindings = flags.parse(parser, sys.argv[1:] if arguments is None else arguments)
    from mtk import config

    try:
        return config.exit_code(lambda: _prepare(given, bindings), given.traceback)
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 75


def _prepare(given: argparse.Namespace, bindings: list[str]) -> int:
    from mtk import config

    folder = {"folder": given.out} if given.out else {}
    config.parse(given.gin_file, bindings)
    print(config.bound(_DATA_SETS[given.data_set](), given=list(folder))(**folder))
    return 0


if __name__ == "__main__":
    flags.exit_with(main)
