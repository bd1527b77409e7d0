"""Prepares a data set once, as described by gin files, so that every run can read it directly."""

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

After a stop, run the same command again: translation continues; celeba, which takes a minute or
two, starts from the beginning. Data that are already prepared are checked.
Exit codes: 0 prepared; 2 bad input, or a folder is not writable; 75 stopped by Ctrl-C or a full
disk.
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
    parser.add_argument("data_set", choices=list(_DATA_SETS), help="data set to prepare")
    out = "output folder (default: that of the config)"
    parser.add_argument("--out", metavar="PATH", type=flags.folder, help=out)
    given, bindings = flags.parse(parser, sys.argv[1:] if arguments is None else arguments)
    from mtk import config

    try:
        return config.exit_code(lambda: _prepare(given, bindings), given.traceback)
    except KeyboardInterrupt:
        print("stopped; run the same command again to continue", file=sys.stderr)
        return 75


def _prepare(given: argparse.Namespace, bindings: list[str]) -> int:
    from mtk import config

    folder = {"folder": given.out} if given.out else {}
    config.parse(given.gin_file, bindings)
    print(config.bound(_DATA_SETS[given.data_set](), given=list(folder))(**folder))
    return 0


if __name__ == "__main__":
    flags.exit_with(main)
