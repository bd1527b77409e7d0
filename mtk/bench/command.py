"""Runs a task card: the whole budget of an entry, its submission, its score on a sealed test."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtk import flags, places, tf_logging

if TYPE_CHECKING:
    from mtk.bench.card import Card

_EPILOG = """\
examples:
  python -m mtk.bench run --gin_file=configs/cards/multi_digits.gin --bench_dir=bench/digits
  python -m mtk.bench run --gin_file=configs/cards/multi_digits.gin --bench_dir=bench/digits \\
      --method=pcgrad --method=my_package.my_module:MyCombiner
  python -m mtk.bench submit --gin_file=configs/cards/multi_digits.gin --bench_dir=bench/digits \\
      --method=pcgrad --out=pcgrad.zip
  python -m mtk.bench score --gin_file=configs/cards/multi_digits.gin --submission=pcgrad.zip \\
      --board_dir=boards/digits

A card is a configuration, which can run any code: use only cards you trust. Submissions are data:
nothing in them is executed, and invalid ones are rejected before a read of the test is spent.
Score entry 0, static weights, first. Run a command again to continue after it was stopped or
killed.
Exit codes: 0 done; 1 runs have failed; 2 bad input; 75 stopped by a signal or a full disk (run the
same command again to continue).
"""
_FLAGS = {
    "run": ({"bench_dir"}, {"method", "all", "retry_failed"}),
    "submit": ({"bench_dir", "out"}, {"method"}),
    "score": ({"submission", "board_dir"}, {"labels"}),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the flags, does the command, and returns the exit code."""
    parser = flags.parser("mtk.bench", __doc__, _EPILOG)
    add = parser.add_argument
    add(
        "action",
        choices=list(_FLAGS),
        help="run an entry, pack it as a submission, or score a submission",
    )
    add("--bench_dir", metavar="PATH", type=flags.folder, help="folder for the runs of all entries")
    named = "label of the card, a .gin file, a class in mtk.combiners, or MODULE:NAME; repeatable "
    add("--method", metavar="NAME", type=flags.path, action="append", default=[],
        help=named + "for run. The default is static_weights, which is entry 0")  # fmt: skip
    add("--all", action="store_true", help="run entry 0 and every method of the card")
    add("--retry_failed", action="store_true", help="repeat failed runs")
    add(
        "--out",
        metavar="PATH",
        type=flags.path,
        help="submission to write: a folder or a .zip file",
    )
    add("--submission", metavar="PATH", type=flags.path, help="submission to score")
    add(
        "--board_dir",
        metavar="PATH",
        type=flags.folder,
        help="folder for the reads and the leaderboard",
    )
    labels = ".npz file with an array of test labels for each task, if the data have no test labels"
    add("--labels", metavar="FILE", type=flags.file, help=labels)
    given, bindings = flags.parse(parser, sys.argv[1:] if arguments is None else arguments)
    from mtk import config

    return config.exit_code(lambda: _bench(given, bindings), given.traceback)


def _check(given: argparse.Namespace) -> None:
    needed, optional = _FLAGS[given.action]
    own = needed | optional
    for name in sorted({flag for pair in _FLAGS.values() for group in pair for flag in group}):
        if name in needed and not getattr(given, name):
            raise ValueError(f"mtk bench {given.action} needs --{name}=PATH.")
        if name not in own and getattr(given, name):
            raise ValueError(f"--{name} is not a flag of mtk bench {given.action}. Leave it out.")
    if given.action == "submit" and len(given.method) > 1:
        raise ValueError(f"Only one entry can be submitted at a time. Received: {given.method}")
    for name in ("submission", "labels"):
        path = getattr(given, name)
        if path and not Path(path).exists():
            raise ValueError(f"The file {path!r} given by --{name} does not exist.")
    if not given.gin_file:
        raise ValueError(
            "A task card is required. Give one, such as --gin_file=configs/cards/multi_digits.gin."
        )


def _bench(given: argparse.Namespace, bindings: list[str]) -> int:
    _check(given)
    card, folders, methods = _read(given, bindings)
    written = {"run": given.bench_dir, "score": given.board_dir}.get(given.action)
    if given.action == "run":
        places.check_kind(Path(given.bench_dir), "a bench")
    if written:
        places.check_writable(Path(written))
    tf_logging.start_tensorflow()
    if given.action == "score":
        from mtk.bench.board import Board

        print(Board(given.board_dir, card, folders).score(given.submission, given.labels))
        print(f"Leaderboard: {Path(given.board_dir) / 'leaderboard.html'}")
        return 0
    from mtk.bench.entry import BenchFolder

    folder = BenchFolder(given.bench_dir, card, folders)
    if given.action == "submit":
        from mtk.bench.submission import submit

        print(f"Submission: {submit(folder, folder.method(methods[0])[0], given.out)}")
        return 0
    return _run(card, methods, given, folders)


def _read(
    given: argparse.Namespace, bindings: list[str]
) -> tuple["Card", list[Path], Sequence[str]]:
    """Returns the card, the folders of its files, and the methods; checks the names in all files.

    TensorFlow, whose import takes seconds, is only started if a file needs it.
    """
    from mtk import config
    from mtk.bench.card import Card
    from mtk.bench.entry import named
    from mtk.search.spec import METHOD
    from mtk.study import Grid
    from mtk.study.grid import beside_includes, refuse_run_settings

    names = config.check_names(given.gin_file, bindings)
    refuse_run_settings(names, "bench.Card.settings")
    ours = ("mtk.study", "mtk.search", "mtk.bench")
    if any(not module.startswith(ours) for module in names.imported):
        tf_logging.start_tensorflow()
    config.parse(given.gin_file, bindings)
    folders = [config.find(file).parent for file in given.gin_file]
    card = beside_includes(config.bound(Card)(), folders, names.folders)
    methods = [METHOD, *card.methods] if given.all else given.method or [METHOD]
    for method in methods:
        if method not in (METHOD, *card.methods):
            config.check_names((), named(card, method)[1])
        files = card.files(method)
        asked = card.search(Path(method).stem if files else METHOD, files)
        Grid(asked.study, folders).check_names(needs_data=given.action != "submit")
    return card, folders, methods


def _run(
    card: "Card", methods: Sequence[str], given: argparse.Namespace, folders: Sequence[Path]
) -> int:
    from mtk import config
    from mtk.bench.entry import run
    from mtk.study import sweep

    # The files in configs/engines are written for sweeps.
    engine = config.values(sweep).get("engine")
    own: dict[str, Any] = {"folders": folders, "retry_failed": given.retry_failed}
    if engine:
        own["engine"] = engine
    worst = 0
    for method in methods:
        print(f"{card.name}: {method}", flush=True)
        code = run(card, method, given.bench_dir, **own)
        if code == 75:
            return code
        worst = max(worst, code)
    return worst
