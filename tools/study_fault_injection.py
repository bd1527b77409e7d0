"""Kills a sweep and its runs repeatedly, and compares the study with an undisturbed one.

  python tools/study_fault_injection.py --kills 40
  python tools/study_fault_injection.py --kills 10 --search population
  python tools/study_fault_injection.py --kills 10 --bench

A third of the kills each hits a run, the sweep, and the sweep with a signal that lets it stop; all
at random moments. `--search` uses a search whose runs pause at rungs or branch from one another,
`--bench` uses entry 0 of a task card. Exit code: 0 if every run was finished once, as in the
undisturbed study.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import compare_runs

from mtk import tf_logging
from mtk.study import State, StudyFolder

ROOT = Path(__file__).parents[1]
KINDS = ("run", "sweep", "stop")
STUDY = """
from __gin__ import dynamic_registration
from mtk import study

study.Study:
    name = 'kills'
    configs = ('configs/multi_digits.gin',)
    settings = {settings}
    methods = {{
        'static_weights': 'configs/combiners/static_weights.gin',
        'pcgrad': 'configs/combiners/pcgrad.gin',
    }}
    grid = {{'experiment.Optimization.learning_rate': {rates}}}
    fresh_seeds = 0
    baseline = 'static_weights'
"""
SEARCH = """
from __gin__ import dynamic_registration
from mtk import search

search.Search:
    name = 'kills'
    configs = ('configs/multi_digits.gin',)
    settings = {settings}
    runs = 4
    sampler = @search.{sampler}
search.Space:
    tasks = ('left', 'right')
    log_uniform = {{'experiment.Optimization.learning_rate': (0.01, 1.0)}}
"""
CARD = """
from __gin__ import dynamic_registration
from mtk import bench

bench.Card:
    name = 'kills'
    configs = ('configs/multi_digits.gin',)
    settings = {settings}
    metrics = {{'left': 'accuracy', 'right': 'accuracy'}}
    log_uniform = {{'experiment.Optimization.learning_rate': (0.01, 1.0)}}
    configurations = 3
"""
SEARCHES = {
    "rungs": """
search.Search:
    rungs = (14,)
    keep = 0.5
    at_a_time = 2
    confirm = 1
    runs = 9
""",
    "population": """
search.Search.pbt = @search.PBT()
search.PBT.interval = 14
""",
    "cooldown": """
search.Search:
    rungs = (28,)
    keep = 0.5
    at_a_time = 2
    cooldown = @search.Cooldown()
search.Cooldown.fraction = 0.4
""",
}


def write(path: Path, steps: int, rates: tuple[float, ...]) -> Path:
    """Writes the study: two methods at each rate, a checkpoint after each step."""
    path.write_text(STUDY.format(settings=settings(steps), rates=rates), encoding="utf-8")
    return path


def write_search(folder: Path, kind: str, steps: int) -> Path:
    """Writes a search of one of the kinds in `SEARCHES`, whose name is that of its file."""
    own = settings(steps)
    if kind == "cooldown":
        own["experiment.Optimization.schedule"] = "@schedules.WarmupStableDecay"
    # The points of two stages follow from the results of earlier ones.
    sampler = "TwoStage" if kind == "rungs" else "Sobol"
    path = folder / f"{kind}.gin"
    text = SEARCH.format(settings=own, sampler=sampler) + SEARCHES[kind]
    path.write_text(text, encoding="utf-8")
    return path


def write_card(path: Path, steps: int) -> Path:
    """Writes a task card."""
    path.write_text(CARD.format(settings=settings(steps)), encoding="utf-8")
    return path


def settings(steps: int) -> dict[str, object]:
    """Returns what the runs have in common."""
    return {
        "multi_digits.MultiDigits.partners": 1,
        "multi_digits.MultiDigits.channels": (4, 4),
        "experiment.Training.epochs": None,
        "experiment.Training.steps": steps,
        "experiment.Optimization.batch_size": 64,
        "experiment.Checkpoints.every": 0.0,
        "evaluate_every": 7,
    }


def command(study: Path, folder: Path) -> list[str]:
    """Returns the command of a sweep, a search or a card's entry 0, with two runs at a time."""
    if study.stem == "card":
        asked = ["mtk.bench", "run", f"--bench_dir={folder}"]
    else:
        asked = [f"mtk.{'search' if study.stem in SEARCHES else 'sweep'}", f"--study_dir={folder}"]
    return [
        *(sys.executable, "-m", *asked, "--retry_failed", f"--gin_file={study}"),
        f"--gin_file={ROOT / 'configs' / 'engines' / 'local.gin'}",
        "--gin.engines.Local.workers=2",
    ]


def studies(folder: Path) -> list[StudyFolder]:
    """Returns the studies in a folder: itself, or those of a card."""
    found = [*folder.glob("leases"), *folder.glob("*/leases")]
    return [StudyFolder(leases.parent) for leases in sorted(found)]


class Victim:
    """A sweep in a process of its own, to be disturbed.

    Args:
        study: Its file.
        folder: Its folder.
    """

    def __init__(self, study: Path, folder: Path):
        self.folder = folder
        self._error: bytes | None = None
        # Those of a sweep that was killed, until they notice that it is gone.
        self._others = self.runs_at_work()
        self.process = subprocess.Popen(
            command(study, folder), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def runs_at_work(self) -> list[tuple[str, int]]:
        """Returns the runs at work, and their processes."""
        leases = [
            (each, own) for each in studies(self.folder) for own in each.path.glob("leases/*")
        ]
        at_work = [own for each, own in leases if each.state(own.name) is State.RUNNING]
        owners = [(own.name, own.read_text().split()) for own in at_work]
        return [(name, int(owner[1])) for name, owner in owners if owner]

    def wait_for_run(self) -> bool:
        """Waits until it has a run at work; False if the sweep ended before."""
        while self.process.poll() is None:
            if set(self.runs_at_work()).difference(self._others):
                return True
            time.sleep(0.01)
        return False

    def disturb(self, kind: str, draw: random.Random) -> bool:
        """Kills a run or the sweep, or asks the sweep to stop; False if there is none."""
        at_work = self.runs_at_work()
        if self.process.poll() is not None or not (at_work or kind != "run"):
            return False
        if kind == "run":
            os.kill(draw.choice(at_work)[1], signal.SIGKILL)
        else:
            self.end(signal.SIGKILL if kind == "sweep" else signal.SIGTERM)
        return True

    def end(self, number: signal.Signals) -> int:
        """Sends the sweep a signal; returns its exit code."""
        self.process.send_signal(number)
        return self.finish()

    def finish(self) -> int:
        """Waits for the end of the sweep; returns its exit code."""
        if self._error is None:
            _, self._error = self.process.communicate()
        code = self.process.returncode
        if code not in (0, 1, 75, -signal.SIGKILL, -signal.SIGTERM):
            raise RuntimeError(f"The sweep failed with {code}:\n{self._error.decode()}")
        return code


def differences(folder: Path, expected: Path) -> list[str]:
    """Returns what is not as in the undisturbed folder, and runs that were finished twice."""
    pairs = [(folder / each.path.relative_to(expected), each) for each in studies(expected)]
    return [what for ours, theirs in pairs for what in _differences(StudyFolder(ours), theirs)]


def _differences(ours: StudyFolder, theirs: StudyFolder) -> list[str]:
    lists = [json.loads(each.list.read_text()) for each in (ours, theirs)]
    found = [] if lists[0] == lists[1] else ["study.json"]
    search = [each.path / "search.json" for each in (ours, theirs)]
    if search[1].exists() and search[0].read_bytes() != search[1].read_bytes():
        found.append("search.json")
    for entry in lists[1]["runs"]:
        pair = ours.run_dir(entry["hash"]), theirs.run_dir(entry["hash"])
        found += [f"{entry['hash']}: {what}" for what in _unlike(*pair)]
    events = Counter(e["run"] for e in ours.run_log.entries() if e["event"] == "finished")
    return found + [f"{run}: finished {n} times" for run, n in events.items() if n > 1]


def _unlike(folder: Path, expected: Path) -> list[str]:
    if (expected / "result.json").exists():
        return compare_runs.differences(folder, expected)
    # It has paused for good.
    ended = (folder / "result.json").exists()
    records = [(each / "metrics.jsonl").read_bytes() for each in (folder, expected)]
    return ["result.json"] * ended + ["metrics.jsonl"] * (records[0] != records[1])


def main() -> int:
    """Kills as often as asked, and reports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--search", choices=SEARCHES, help="kill a search instead of a sweep")
    instead.add_argument(
        "--bench", action="store_true", help="kill entry 0 of a card instead of a sweep"
    )
    args = parser.parse_args()
    tf_logging.start_tensorflow()
    root = Path(tempfile.mkdtemp(prefix="kills_"))
    if args.search:
        study = write_search(root, args.search, steps=42)
    elif args.bench:
        study = write_card(root / "card.gin", steps=28)
    else:
        study = write(root / "study.gin", steps=60, rates=(0.03, 0.1, 0.3))
    subprocess.run(command(study, root / "undisturbed"), cwd=ROOT, check=True, capture_output=True)
    draw, done, bad, number = random.Random(args.seed), Counter[str](), 0, 0
    while done.total() < args.kills:
        number += 1
        folder, code = root / f"study_{number}", 75
        while code != 0:
            victim = Victim(study, folder)
            while done.total() < args.kills and victim.wait_for_run():
                time.sleep(draw.expovariate(1 / 4))
                kind = draw.choice(KINDS)
                if victim.disturb(kind, draw):
                    done[kind] += 1
                    print(f"{done.total():>4}  {kind:<6} study {number}", flush=True)
            code = victim.finish()
        found = differences(folder, root / "undisturbed")
        print(f"study {number}: {found or 'as undisturbed, bit for bit'}", flush=True)
        bad += bool(found)
    print(f"{done.total()} kills: {dict(done)}; {number} studies, {bad} unlike the undisturbed")
    if bad:
        print(f"Kept: {root}")
    else:
        shutil.rmtree(root)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
