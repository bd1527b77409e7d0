"""A common task framework: fixed tasks, equal budgets, a sealed test, a leaderboard.

A card says what all entries have in common. `run` does the whole budget of one, with its test
sealed; `submit` packs what it predicts of the test; `score` measures that where the labels are, no
finer than the noise, and writes the leaderboard.
"""

from mtk.bench.board import Board
from mtk.bench.card import Card
from mtk.bench.command import main
from mtk.bench.entry import BenchFolder, run
from mtk.bench.ranking import Standing, rank
from mtk.bench.submission import submit

__all__ = ["BenchFolder", "Board", "Card", "Standing", "main", "rank", "run", "submit"]
