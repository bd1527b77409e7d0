"""`python -m mtk.search`."""

from mtk import flags
from mtk.search.command import main

if __name__ == "__main__":
    flags.exit_with(main)
