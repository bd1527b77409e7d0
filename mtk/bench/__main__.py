"""`python -m mtk.bench`."""

from mtk import flags
from mtk.bench.command import main

if __name__ == "__main__":
    flags.exit_with(main)
