"""`python -m mtk`: the command `mtk`, where that is not on the path."""

from mtk.command import run

run()
