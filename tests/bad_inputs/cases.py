"""Three hundred bad inputs: command, arguments, and words that the error message must contain.

The words name the invalid value and its location. Paths are relative to the folder that
`conftest.py` creates.
"""

from typing import NamedTuple


class Case(NamedTuple):
    command: str
    arguments: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def id(self):
        return f"{self.command} {' '.join(self.arguments)}"[:120]


def case(command, *arguments, words):
    words = (words,) if isinstance(words, str) else words
    return Case(command, arguments, tuple(words))


TINY = "--gin_file=tiny.gin"
OUT = "--run_dir=new"
SEARCH, CARD = "--gin_file=search.gin", "--gin_file=card.gin"
LONG = "a" * 300


def train(*arguments, words):
    return case("train", TINY, OUT, *arguments, words=words)


def bound(name, value, words, *others):
    """An invalid binding on the command line."""
    return train(*others, f"--gin.{name}={value}", words=words)


def run_value(name, value, *words):
    return bound(f"experiment.{name}", value, words or (name.split(".")[1],))


def digits(name, value, *words):
    return bound(f"multi_digits.MultiDigits.{name}", value, words or (name,))


def method(file, name, value, *words):
    return bound(
        f"combiners.{name}",
        value,
        words or (name.split(".")[1],),
        f"--gin_file=combiners/{file}.gin",
    )


def study(field, value, *words, extra=()):
    return case(
        "sweep",
        "--gin_file=study.gin",
        "--study_dir=new",
        f"--gin.study.Study.{field}={value}",
        *extra,
        words=words,
    )


def search(name, value, *words):
    return case("search", SEARCH, "--study_dir=new", f"--gin.search.{name}={value}", words=words)


# Detected before TensorFlow is imported: flags, files, names.
NAMES = [
    *(
        case("train", TINY, OUT, f"--gin_file={file}.gin", words=(f"{file}.gin", f"mtk {command}"))
        for file, command in (("study", "sweep"), ("search", "search"), ("card", "bench"))
    ),
    case("train", TINY, OUT, "--gin_file=engines/local.gin", words=("local.gin", "mtk sweep")),
    bound("experiment.run.run_dir", "'other'", ("`run_dir`", "--run_dir")),
    case("sweep", TINY, "--study_dir=new", words=("'name' is required", "mtk train")),
    case("sweep", SEARCH, "--study_dir=new", words=("'name' is required", "study")),
    *(study("name", repr(name), "name", repr(name)) for name in ("", " ", "..", "a/b", "a\n")),
    study("settings", "{'experiment.run.run_dir': 'other'}", "`run_dir`", "settings", "'other'"),
    study("grid", "{'experiment.run.run_dir': ('x', 'y')}", "`run_dir`", "grid", "'x'"),
    study("configs", "('tiny.gin', 'placed.gin')", "`run_dir`", "placed.gin, line 2"),
    study("methods", "{'static_weights': 'placed.gin'}", "`run_dir`", "placed.gin, line 2"),
    case("train", words="--gin_file"),
    case("train", OUT, words="workload"),
    case("train", TINY, words="--run_dir"),
    case("train", "--gin_file=nothing.gin", OUT, words="'nothing.gin'"),
    case("train", "--gin_file=tyni.gin", OUT, words=("'tyni.gin'", "'tiny.gin'")),
    case("train", "--gin_file=combiners/pcgad.gin", OUT, words=("pcgad.gin'", "'pcgrad.gin'")),
    case("train", "--gin_file=empty", OUT, words=("'empty'", "folder")),
    case("train", "--gin_file=", OUT, words="--gin_file"),
    case("train", "--gin_file=a\0b", OUT, words="--gin_file"),
    case("train", "--gin_file=latin1.gin", OUT, words=("latin1.gin", "line 2", "0xe9", "UTF-8")),
    case("train", "--gin_file=fifo.gin", OUT, words=("'fifo.gin'", "a pipe")),
    case("train", "--gin_file=to_nothing", OUT, words=("'to_nothing'", "broken symbolic link")),
    case("train", "--gin_file=huge.gin", OUT, words=("'huge.gin'", "2,000,000 bytes")),
    case("train", "--gin_file=chain/0.gin", OUT, words=("chain/51.gin", "chain/50.gin, line 1")),
    case("train", "--gin_file=bom.gin", OUT, words=("bom.gin, line 2", "'steps'", "1.5")),
    case("train", TINY, "--run_dir=foreign", words=("'foreign'", "not empty")),
    case("train", "--gin_file=circle.gin", OUT, words=("circle.gin", "includes itself")),
    case("train", "--gin_file=includes.gin", OUT, words=("absent.gin", "includes.gin, line 1")),
    case("train", "--gin_file=open.gin", OUT, words=("open.gin, line 3", "never closed")),
    case("train", "--gin_file=indented.gin", OUT, words=("indented.gin, line", "indentation")),
    case("train", "--gin_file=notes.txt", OUT, words="notes.txt, line 1"),
    case("train", "--gin_file=image.png", OUT, words="image.png"),
    case("train", TINY, "--run_dir=", words="--run_dir"),
    case("train", TINY, "--run_dir= ", words="--run_dir"),
    case("train", TINY, "--run_dir=a\0b", words="--run_dir"),
    case("train", TINY, "--run_dir=notes.txt", words=("--run_dir", "notes.txt")),
    case("train", TINY, "--run_dir=notes.txt/below", words=("--run_dir", "notes.txt")),
    case("train", TINY, "--run_dirr=new", words=("--run_dirr", "--run_dir?")),
    case("train", TINY, OUT, "new", words="new"),
    case("train", TINY, OUT, "--dry_run_batch=many", words=("--dry_run_batch", "many")),
    case("train", TINY, OUT, "--profile_steps=3", words=("--profile_steps", "3")),
    case("train", TINY, OUT, "--profile_steps=20:10", words=("--profile_steps", "20:10")),
    case("train", TINY, OUT, "--profile_steps=0:3", words=("--profile_steps", "0:3")),
    case("train", TINY, OUT, "--profile_steps=a:b", words=("--profile_steps", "a:b")),
    case("train", TINY, OUT, "--gin.seed", words="--gin.seed"),
    case("train", TINY, OUT, "--gin.", words="--gin."),
    train("--gin_bindings=nonsense", words="nonsense"),
    train("--gin_bindings=", "--gin_bindings=seed ==", words="seed =="),
    bound("seed", "", "seed"),
    bound("sed", "3", ("'sed'", "'seed'")),
    bound("experiment.Training.seed", "%sed", ("%sed", "'seed'")),
    bound("experiment.Training.steps", "four", "four"),
    bound("experiment.Training.steps", "4)", "4)"),
    bound("experiment.Optimization.learning_rat", "1", ("'learning_rat'", "'learning_rate'")),
    bound("experiment.run.xyz", "1", "'xyz'"),
    bound("experimnt.run.steps", "1", ("'experimnt'", "'experiment'")),
    bound("experiment.rum.steps", "1", ("'rum'", "'run'")),
    bound("experiment.steps", "1", "'experiment'"),
    bound("experiment.run", "1", "experiment.run"),
    bound("multi_digits.MultiDigit.units", "1", ("'MultiDigit'", "'MultiDigits'")),
    bound("multi_digits.MultiDigits.unit", "1", ("'unit'", "'units'")),
    bound("experiment.run.combiner", "@combiners.PCGard", ("'PCGard'", "'PCGrad'")),
    bound("experiment.run.combiner", "@combiner.PCGrad", ("'combiner'", "'combiners'")),
    bound("experiment.run.combiner", "@combiners", "'combiners'"),
    bound("combiners.PCGrad.sed", "1", ("'sed'", "'seed'")),
    bound("schedules.StepDecay.evry", "1", ("'evry'", "'every'")),
    train("--gin_bindings=import blub", words="'blub'"),
    train("--gin_bindings=import mtk.combinres", words=("mtk.combinres", "'combiners'")),
    train("--gin_bindings=from mtk import nothing", words="mtk.nothing"),
    case("train", "--gin_file=required.gin", OUT, words=("'data_dir'", "--gin.data_dir")),
    case(
        "train",
        "--gin_file=mnist.gin",
        OUT,
        "--gin.data_dir='nowhere'",
        words=("nowhere", "data_dir"),
    ),
    case("train", TINY, f"--run_dir={LONG}", words=("--run_dir", "shorter path", "300")),
    case("train", TINY, f"--run_dir={'a/' * 3000}", words=("--run_dir", "shorter", "6,000")),
    case("train", f"--gin_file={'a' * 5000}.gin", OUT, words=("--gin_file", "shorter", "5,004")),
    case("train", "--gin_file=tiny[.gin", OUT, words=("'tiny[.gin'", "'tiny.gin'")),
    case("train", "--gin_file=*.gin", OUT, words="'*.gin'"),
    case("train", "--gin_file=~no_such_user/a.gin", OUT, words=("--gin_file", "~no_such_user")),
    case("train", "--gin_file=/dev/zero", OUT, words="'/dev/zero'"),
    case("train", "--gin_file=run/result.json", OUT, words="run/result.json, line 1"),
    case("train", TINY, "--gin_file", words="--gin_file"),
    case("train", "tiny.gin", words="tiny.gin"),
    case("train", TINY, "--run_dir=full", words=("'full'", "not empty")),
    case("train", TINY, "--run_dir=.", words=("'.'", "not empty")),
    case("train", TINY, "--run_dir=/", words=("'/'", "not empty")),
    case("train", TINY, "--run_dir=/proc/new", words="/proc/new"),
    case("train", TINY, "--run_dir=/dev/full", words=("--run_dir", "/dev/full")),
    case("train", TINY, "--run_dir=run/metrics.jsonl", words=("--run_dir", "run/metrics.jsonl")),
    case("train", TINY, OUT, "--learning_rate=fast", words=("--learning_rate", "fast")),
    case("train", TINY, OUT, "--learning_rate=nan", words=("--learning_rate", "nan")),
    case("train", TINY, OUT, "--learning_rate=inf", words=("--learning_rate", "inf")),
    case("train", TINY, OUT, "--batch_size=1e3", words=("--batch_size", "1e3")),
    case("train", TINY, OUT, "--combiner=", words=("--combiner", "class")),
    case("train", TINY, OUT, "--combiner=PCGrad()", words=("--combiner", "PCGrad()")),
    case("train", TINY, OUT, "--combiner=combiners.PCGrad", words=("--combiner", "combiners.PC")),
    case("train", TINY, OUT, "--combiner=mine:", words=("--combiner", "mine:")),
    case("train", "--workload=mtk.workloads", OUT, words=("--workload", "mtk.workloads")),
    case("train", "--workload=a.b:C()", OUT, words=("--workload", "a.b:C()")),
    case("train", TINY, "--dry_run", "--profile_steps=1:2", words=("--profile_steps", "dry_run")),
    train("--gin_bindings=include 'tiny.gin'", words=("include 'tiny.gin'", "--gin_file")),
    train("--gin_bindings=seed = 3; import os", words="seed = 3; import os"),
    bound("seed", "[" * 3000, ("nested too deeply", "seed = [[[")),
    bound("seed", "9" * 6000, "seed = 999"),
    bound("seed", "'unfinished", "'unfinished"),
    bound("seed", "é", "é"),
    bound("😀", "3", "😀"),
    bound("scope/experiment.run.steps", "1", ("'steps'", "scope/experiment.run")),
    bound("experiment.Training.steps", "'four'", ("'steps'", "int or None", "'four'")),
    bound("experiment.Optimization.learning_rate", "[0.1]", ("'learning_rate'", "float", "[0.1]")),
    bound("multi_digits.MultiDigits.units", "8.5", ("'units'", "int", "8.5")),
    bound("seed", "@experiment.run", ("'seed'", "int", "seed = @experiment.run")),
    bound("seed", "[%gin.REQUIRED]", ("seed", "--gin.seed=VALUE")),
    bound("seed", "%seed", "%seed refers to itself"),
    bound("seed", "[1, {2: %seed}]", "%seed refers to itself"),
    train(
        "--gin_bindings=a = %b", "--gin_bindings=b = %a", words=("%a refers to itself", "a = %b")
    ),
    train("--gin_bindings=import mtk.", words=("cannot be parsed", "import mtk.")),
    train("--combiner=pcgrad", words=("combiners.pcgrad", "a module", "'PCGrad'")),
    train("--combiner=PCGard", words=("'PCGard'", "'PCGrad'")),
    train("--combiner=no_module:Mine", words="'no_module'"),
    case("train", "--workload=mtk.workloads:MultiDigit", OUT, words="'MultiDigits'"),
    case("train", TINY, "--run_dir=\udce9/new", words=("--run_dir", r"'\udce9/new'", "UTF-8")),
    case("train", TINY, "--run_dir=absent/../new", words=("--run_dir", "'absent'")),
    case("train", TINY, OUT, f"--epochs={'9' * 6000}", words=("--epochs", "9...")),
    case("train", TINY, OUT, f"--profile_steps=1:{'9' * 6000}", words=("--profile_steps", "9...")),
    case("train", "--gin_file=tiny.GIN", OUT, words=("'tiny.GIN'", "'tiny.gin'")),
    case("sweep", words="'name'"),
    case("sweep", "--gin_file=study.gin", words="--study_dir"),
    case("sweep", "--gin_file=study.gin", f"--study_dir={LONG}", words=("--study_dir", "300")),
    case("sweep", "--gin_file=study.gin", "--study_dir=new", "--max_runs=0", words="--max_runs"),
    case("sweep", "--gin_file=study.gin", "--study_dir=new", "--only=pcgrad", words="'pcgrad'"),
    case("sweep", "--gin_file=study.gin", "--study_dir=new", "--only=", words="''"),
    case("sweep", "--study_dir=nothing", "--tail", words="'nothing'"),
    case("sweep", "--study_dir=empty", "--tail", words=("'empty'", "running")),
    case("sweep", "--study_dir=study", "--tail=abc", words=("'study'", "'abc'")),
    case("sweep", "--tail", words="--study_dir"),
    study("sweep", "3", "'sweep'"),
    study("methods", "{3: 'combiners/static_weights.gin'}", "'methods'", "{3:"),
    study("methods", "['a.gin']", "'methods'", "['a.gin']"),
    study("settings", "{3: 4}", "'settings'", "{3: 4}"),
    study("fresh_seeds", "-1", "fresh_seeds", "-1"),
    study("configs", "('empty',)", "'empty'", "folder"),
    *[
        case(*command, f"--{flag}={place}", words=place.removesuffix("/new"))
        for *command, flag in (
            ("sweep", "--gin_file=study.gin", "study_dir"),
            ("search", SEARCH, "study_dir"),
            ("bench", "run", CARD, "bench_dir"),
            ("bench", "score", CARD, "--submission=full", "board_dir"),
        )
        for place in ("/proc/new", "to_nothing", "to_itself/new")
    ],
    study("baseline", "''", "''"),
    study("seeds", "(1, 0, 1)", "seeds=(1, 0, 1)"),
    study("seeds", "(0, 4294967295)", "fresh_seeds", "4294967295"),
    study("fresh_seeds", "99999999999999999999", "fresh_seeds", "99999999999999999999"),
    study("run_minutes", "0", "run_minutes", "0"),
    study("run_minutes", "-1.5", "run_minutes", "-1.5"),
    case("sweep", "--gin_file=study.gin", "--study_dir=run", words=("'run'", "contains a run")),
    case("sweep", "--gin_file=study.gin", "--study_dir=searched", words=("'searched'", "a search")),
    case("search", SEARCH, "--study_dir=run", words=("'run'", "contains a run")),
    case("bench", "run", CARD, "--bench_dir=study", words=("'study'", "contains a study")),
    case("bench", "run", CARD, "--bench_dir=run", words=("'run'", "contains a run")),
    case("search", words="'name'"),
    case("search", SEARCH, words="--study_dir"),
    case("search", SEARCH, "--study_dir=notes.txt", words="notes.txt"),
    case(
        "search",
        "--gin_file=study.gin",
        "--study_dir=new",
        words=("'name'", "search.Search", "sweep"),
    ),
    search("Search.runs", "0", "0 runs"),
    search("Search.runs", "'many'", "'runs'", "'many'"),
    search("Search.sampler", "@search.Sobl", "'Sobl'", "'Sobol'"),
    search("Search.sampler", "@search.Front", "'sampler'", "Sampler"),
    search("Search.goal", "@search.Front", "'goal'", "Goal"),
    search("Search.seeds", "'ab'", "'seeds'", "'ab'"),
    search("Search.rungs", "3", "'rungs'", "3"),
    search("Search.confirm", "-1", "confirm", "-1"),
    search("Search.keep", "2.0", "keep", "2.0"),
    search("Search.cpu_seconds", "'x'", "'cpu_seconds'", "'x'"),
    search("Space.tasks", "('left',)", "tasks", "('left',)"),
    search("Space.least_weight", "0.7", "least_weight", "0.7"),
    search("Space.log_uniform", "{3: (1, 2)}", "'log_uniform'", "{3:"),
    search("Space.log_uniform", "{'a': (0, 1)}", "'a'", "(0, 1)"),
    case("bench", words="action"),
    case("bench", "rank", words="'rank'"),
    case("bench", "run", "--bench_dir=new", words="--gin_file"),
    case("bench", "run", f"--bench_dir={LONG}", words=("--bench_dir", "300")),
    case("bench", "score", "--labels=empty", words=("--labels", "empty")),
    case("bench", "run", CARD, "--bench_dir=new", "--gin.bench.Card.reads=0", words="reads"),
    case("bench", "run", CARD, "--bench_dir=new", "--method=a/b.gin", words="'a/b.gin'"),
    case("bench", "run", CARD, "--bench_dir=new", "--gin.bench.Card.delta=2.0", words="delta"),
    *[
        case("bench", "run", CARD, "--bench_dir=new", f"--method={given}", words=words)
        for given, words in {
            "nothing": "'nothing' is not a method",
            "../x": "'../x' is not a valid name of an entry",
            "mine:": "'' is not a valid name of an entry",
            "no_module:Mine": "'no_module'",
            "mtk.combiners:PCGard": ("'PCGard'", "'PCGrad'"),
        }.items()
    ],
    case(
        "bench",
        *("score", CARD, "--board_dir=new", "--submission=nothing.zip"),
        words=("'nothing.zip'", "--submission"),
    ),
    case(
        "bench",
        *("score", CARD, "--board_dir=new", "--submission=full", "--labels=nothing.npz"),
        words=("'nothing.npz'", "--labels"),
    ),
    case("prepare", "translation", "--gin_file=text.gin", "--out=/", words="'/'"),
    case("list", words="what"),
    case("list", "combiner", words="'combiner'"),
    case("list", "combiners", "run", words="combiners takes no folder"),
    case("list", "runs", words="runs needs a folder"),
    case("list", "runs", "nothing", words="'nothing'"),
    case("list", "runs", "notes.txt", words="'notes.txt'"),
    case("list", "studies", LONG, words=("folder", "300")),
    case("sweep", "--gin_file=stduy.gin", words="'study.gin'"),
    case("sweep", "--gin_file=study.gin", "--study_dir=", words="--study_dir"),
    case("sweep", "--gin_file=study.gin", "--study_dir=notes.txt", words="notes.txt"),
    case("sweep", "--gin_file=study.gin", "--study_dir=new", "--replayy", words="--replay"),
    case("report", f"--study_dir={LONG}", "--out=new", words=("--study_dir", "300")),
    case("report", "--study_dir=study", f"--out={LONG}", words=("--out", "300")),
    case("report", "--study_dir=study", "--out=new", "--delta=big", words=("--delta", "big")),
    case("report", words="--study_dir"),
    case("report", *2 * ("--study_dir", "study"), "--out=new", words="'study' and 'study'"),
    case(
        "report",
        *("--study_dir=study", "--study_dir=to_study", "--out=new"),
        words=("'study'", "'to_study'", "the same study"),
    ),
    case("report", "--study_dir=study", words="--out"),
    case("report", "--study_dir=", "--out=new", words="--study_dir"),
    case("report", "--study_dir=study", "--out=", words="--out"),
    case("report", "--study_dir=study", "--out=notes.txt", words=("--out", "notes.txt")),
    case("report", "--study_dir=study", "--out=new", "--cost=mgda", words=("--cost", "mgda")),
    case("report", "--study_dir=study", "--out=new", "--cost=mgda=0", words="mgda=0"),
    case("report", "--study_dir=study", "--out=new", "--cost=mgda=inf", words="mgda=inf"),
    case("report", "--study_dir=study", "--out=new", "--cost==2", words="=2"),
    case("report", "--study_dir=nothing", "--out=new", words="'nothing'"),
    case("report", "--study_dir=empty", "--out=new", words="'empty'"),
    case("report", "--study_dir=notes.txt", "--out=new", words="'notes.txt'"),
    case("report", "--study_dir=run", "--out=new", words="'run'"),
    case("report", "--study_dirs=study", "--out=new", words="--study_dir"),
    case("evaluate", f"--saved_model={LONG}", words=("--saved_model", "300")),
    case("evaluate", "--saved_model=/dev/null", words="'/dev/null'"),
    case("evaluate", "--saved_model=run/result.json", words=("'run/result.json'", "'.keras'")),
    case("evaluate", "--saved_model=run/checkpoints", words=("'run/checkpoints'", "SavedModel")),
    case("evaluate", "--saved_model=run[", words="'run['"),
    case("evaluate", "--saved_model=run", "--split=", words="--split"),
    case("evaluate", "--saved_model=run", f"--json={LONG}", words=("--json", "300")),
    case("evaluate", "--saved_model=run", "--json=/dev/full", words=("'/dev/full'", "device")),
    case("evaluate", "--saved_model=run", "--json=notes.txt/x.json", words="'notes.txt'"),
    case("evaluate", "--saved_model=run", "--run_dir=x", words="--run_dir"),
    case("evaluate", words="--saved_model"),
    case("evaluate", "--saved_model=", words="--saved_model"),
    case("evaluate", "--saved_model=nothing", words="'nothing'"),
    case("evaluate", "--saved_model=nothing.keras", words="'nothing.keras'"),
    case("evaluate", "--saved_model=empty", words=("'empty'", "is empty")),
    case("evaluate", "--saved_model=full", words=("'full'", "'mine.txt'")),
    case("evaluate", "--saved_model=study", words=("'study'", "study folder", "'runs'")),
    case("evaluate", "--saved_model=notes.txt", words=("'notes.txt'", "'.keras'")),
    case("evaluate", "--saved_model=cut.keras", words=("'cut.keras'", "damaged")),
    case("evaluate", "--saved_model=text.keras", words=("'text.keras'", "damaged")),
    case("evaluate", "--saved_model=none.keras", words=("'none.keras'", "damaged")),
    case("evaluate", "--saved_model=unfinished", words=("'unfinished'", "when it finishes")),
    case("evaluate", "--saved_model=alone", words=("'alone'", "workload", "--gin_file")),
    case("evaluate", "--saved_model=run", "--gin_file=nothing.gin", words="'nothing.gin'"),
    case("evaluate", "--saved_model=run", "--split=dev", words=("--split", "dev")),
    case("evaluate", "--saved_model=run", "--json=", words="--json"),
    case("evaluate", "--saved_model=run", "--json=full", words=("--json", "'full'")),
    case(
        "evaluate",
        "--saved_model=run",
        "--gin.experiment.Optimization.batch_siz=1",
        words="batch_size",
    ),
    case("translate", f"--saved_model={LONG}", "--to=de", words=("--saved_model", "300")),
    case("translate", "--saved_model=run/model.keras", "--to=de", words="'run/model.keras'"),
    case("translate", "--saved_model=/dev/null", "--to=de", words="'/dev/null'"),
    case("translate", words="--saved_model"),
    case("translate", "--saved_model=run", words="--to"),
    case("translate", "--saved_model=", "--to=de", words="--saved_model"),
    case("translate", "--saved_model=nothing", "--to=de", words="'nothing'"),
    case("translate", "--saved_model=empty", "--to=de", words=("'empty'", "is empty")),
    case("translate", "--saved_model=study", "--to=de", words="study folder"),
    case("translate", "--saved_model=notes.txt", "--to=de", words="'notes.txt'"),
    case("translate", "--saved_model=run", "--to=de", words=("'run'", "saved_model_text")),
    case("translate", "--saved_model=unfinished", "--to=de", words="'unfinished'"),
    case("prepare", words="data_set"),
    case("prepare", "pictures", words=("pictures", "celeba")),
    case("prepare", "translation", words="'folder'"),
    case("prepare", "translation", "--gin_file=nothing.gin", words="'nothing.gin'"),
    case("prepare", "translation", "--gin_file=text.gin", "--out=notes.txt", words="notes.txt"),
    case("prepare", "translation", "--gin_file=text.gin", "--out=", words="--out"),
    case("prepare", "celeba", "--gin_file=faces.gin", "--out=new", words="'data_dir'"),
]

# Detected when the run is built, before anything is written.
VALUES = [
    run_value("Checkpoints.branch_from", "('absent', 2)", "'absent/rungs/2'", "pause_at=2"),
    train("--gin_bindings=import raises", words=("'raises'", "KeyError: 'culprit'", "--traceback")),
    train("--gin_bindings=import leaves", words=("'leaves'", "SystemExit")),
    case("report", "--study_dir=study", "--out=new", words="'study'"),
    case("train", TINY, "--run_dir=run", words=("'run'", "another configuration", "steps")),
    case("train", TINY, OUT, "--dry_run_batch=8", words="dry_run_batch"),
    case("train", TINY, "--dry_run", "--dry_run_batch=0", words="0"),
    case("train", TINY, "--dry_run", "--dry_run_batch=100000", words="100000"),
    case("train", TINY, OUT, "--profile_steps=3:9", words=("3:9", "4")),
    *[
        run_value("Optimization.learning_rate", v)
        for v in ("0", "-0.1", "1e999", "'fast'", "None", "[0.1]")
    ],
    *[bound("seed", v, ("seed",)) for v in ("-1", "4294967296", "1.5", "'a'")],
    *[run_value("Training.epochs", v) for v in ("3", "0", "-1")],
    *[run_value("Training.steps", v) for v in ("0", "-4", "1.5", "None")],
    *[bound("evaluate_every", v, "evaluate_every") for v in ("0", "-1", "'often'")],
    *[run_value("Optimization.batch_size", v) for v in ("0", "-1", "2.5")],
    run_value("Optimization.batch_size", "100000", "batch size", "100000"),
    bound(
        "experiment.Optimization.batch_size",
        "64",
        ("3 equal parts", "64 examples"),
        "--gin_file=combiners/modo.gin",
    ),
    *[run_value("Numerics.micro_batches", v) for v in ("0", "-1", "'x'")],
    run_value("Numerics.micro_batches", "3", "3"),
    run_value("Training.patience", "0"),
    *[run_value("Logging.log_every", v) for v in ("0", "-5")],
    run_value("Logging.measure_every", "-1"),
    run_value("Checkpoints.every", "-1.0"),
    *[run_value("Checkpoints.keep", v) for v in ("0", "-1")],
    *[run_value("Checkpoints.pause_at", v) for v in ("0", "-1")],
    *[run_value("Checkpoints.branch_from", v) for v in ("'a_run'", "('a/run', 4)", "('a_run', 0)")],
    run_value("Optimization.weight_decay", "-1.0"),
    *[run_value("Optimization.clip_norm", v) for v in ("0.0", "-1.0")],
    run_value("Numerics.precision", "'float8'"),
    run_value("Numerics.on_nonfinite", "'ignore'"),
    run_value("Sharing.gradients", "'fast'"),
    run_value("Training.monitor", "'left_acuracy'", "left_acuracy"),
    run_value("Training.monitor", "{'left_accuracy': 'up'}", "up"),
    run_value("Sharing.shared", "('nolayer',)", "nolayer"),
    run_value("Sharing.heads", "{'up': ('left_hidden',)}", "up"),
    run_value("run.workload", "@combiners.PCGrad", "workload", "Workload", "PCGrad"),
    run_value("run.workload", "@multi_digits.MultiDigits()", "workload"),
    *[run_value("run.workload", v) for v in ("None", "3", "'multi_digits'")],
    run_value("run.combiner", "@multi_digits.MultiDigits", "combiner", "Combiner", "MultiDigits"),
    run_value("run.combiner", "@combiners.PCGrad()", "combiner"),
    *[run_value("run.combiner", v) for v in ("None", "'pcgrad'")],
    bound(
        "experiment.run.combiner",
        "@json.dumps",
        ("'json.dumps' needs 'obj'", "--gin.json.dumps.obj=VALUE"),
        "--gin_bindings=import json",
    ),
    *[
        bound("keras.optimizers.SGD.momentum", value, ("StepDecay' needs 'learning_rate'", value))
        for value in ("@schedules.StepDecay()", "[{'a': @schedules.StepDecay()}]")
    ],
    run_value("Optimization.optimizer", "@combiners.PCGrad", "optimizer", "Optimizer"),
    run_value("Optimization.optimizer", "'sgd'"),
    run_value("Logging.profile_steps", "(5, 2)"),
    run_value("Optimization.optimizer", "@keras.optimizers.Optimizer", "update_step"),
    bound("keras.optimizers.SGD.loss_scale_factor", "'a'", "loss_scale_factor"),
    *[
        run_value("run.combiner", f"@combiners.{kind}", kind, f"`{lacks}`")
        for kind, lacks in (
            ("Combiner", "call"),
            ("LossCombiner", "task_weights"),
            ("GramianCombiner", "task_weights"),
            ("PartsCombiner", "part_weights"),
        )
    ],
    run_value("Optimization.optimizer", "@keras.optimizers.LossScaleOptimizer", "inner_optimizer"),
    run_value(
        "Optimization.schedule", "@keras.optimizers.schedules.CosineDecay", "`schedule`", "steps"
    ),
    run_value("Logging.callbacks", "@keras.callbacks.CSVLogger", "'callbacks'", "Sequence"),
    *[
        run_value("Logging.callbacks", f"(@keras.callbacks.{name},)", f"{name}' needs '{missing}'")
        for name, missing in (("CSVLogger", "filename"), ("ModelCheckpoint", "filepath"))
    ],
    bound(
        "keras.callbacks.ModelCheckpoint.filepath",
        "'a.txt'",
        ("a.txt", "`.keras`"),
        "--gin.experiment.Logging.callbacks=(@keras.callbacks.ModelCheckpoint,)",
    ),
    run_value("Optimization.schedule", "@keras.optimizers.SGD", "schedule"),
    run_value("Numerics.strategy", "@combiners.PCGrad", "strategy"),
    *[digits("dropout", v) for v in ("1.5", "-0.1", "1.0", "'x'")],
    *[digits("offset", v) for v in ("-1", "0.5")],
    digits("partners", "0"),
    *[digits("channels", v) for v in ("(0, 4)", "(4,)", "4", "(-1, 4)")],
    *[digits("units", v) for v in ("0", "-3")],
    digits("units", "10000000000", "Out of memory", "10000000000", "micro_batches"),
    digits("data_seed", "-1"),
    method("static_weights", "StaticWeights.weights", "{'left': 1, 'up': 1}", "'up'"),
    method("static_weights", "StaticWeights.weights", "{'left': 1}", "weights"),
    method("static_weights", "StaticWeights.weights", "[1, 2, 3]", "weights", "3"),
    method("static_weights", "StaticWeights.weights", "[-1, 2]", "-1"),
    method("static_weights", "StaticWeights.weights", "[0, 0]", "zero"),
    method("static_weights", "StaticWeights.weights", "[1e308, 1e308]", "sum"),
    method("static_weights", "StaticWeights.weights", "'equal'"),
    method("mgda", "MGDA.normalization", "'l3'", "l3"),
    method("mgda", "MGDA.at", "'nolayer'", "nolayer"),
    method("pcgrad", "PCGrad.update_every", "0"),
    method("cagrad", "CAGrad.c", "-1.0", "-1"),
    method("gradnorm", "GradNorm.alpha", "-1.0"),
    method("dwa", "DWA.temperature", "0.0"),
    method("imtl_l", "IMTLL.learning_rate", "-1.0"),
    method("uncertainty_weights", "UncertaintyWeights.regression", "('up',)", "up"),
    method("rlw_normal", "RLW.distribution", "'cauchy'"),
    bound("keras.optimizers.SGD.momentum", "2.0", "momentum"),
    bound("keras.optimizers.SGD.momentm", "0.9", ("'momentm'", "'momentum'")),
    bound("keras.optimizers.SGDD.momentum", "0.9", ("'SGDD'", "'SGD'")),
    *[bound("schedules.StepDecay.factor", v, "factor") for v in ("0.0", "-1.0", "1e400")],
    bound("schedules.StepDecay.every", "0", "every"),
    case("train", "--gin_file=mnist.gin", OUT, "--gin.data_dir='empty'", words="empty"),
    case("train", "--gin_file=mnist.gin", OUT, "--gin.data_dir='notes.txt'", words="notes.txt"),
    case("train", "--gin_file=mnist.gin", OUT, "--gin.data_dir='cut.npz'", words="cut.npz"),
    case("train", "--gin_file=mnist.gin", OUT, "--gin.data_dir='other.npz'", words="x_train"),
    case("train", "--gin_file=mnist.gin", OUT, "--gin.data_dir=None", words=("data_dir", "[tfds]")),
    case("train", "--gin_file=mnist.gin", OUT, "--gin.data_dir=3", words="data_dir"),
    case(
        "evaluate",
        "--saved_model=run",
        "--gin.experiment.Optimization.batch_size=0",
        words="batch_size",
    ),
    case(
        "evaluate",
        "--saved_model=run",
        "--gin.experiment.Optimization.batch_size='x'",
        words="batch_size",
    ),
    case(
        "evaluate",
        "--saved_model=run",
        "--gin.multi_digits.MultiDigits.offset=4",
        words="(None, 12, 12, 1)",
    ),
    case("evaluate", "--saved_model=damaged", "--gin_file=tiny.gin", words="'damaged'"),
    case("evaluate", "--saved_model=zip.keras", "--gin_file=tiny.gin", words="'zip.keras'"),
    case("translate", "--saved_model=run/saved_model", "--to=de", words="does not translate text"),
]

_RATE = "'experiment.Optimization.learning_rate'"
STUDIES = [
    study("seed", "(0,)", "'seed'", "'seeds'"),
    study("seeds", "3", "seeds"),
    study("seeds", "()", "seeds"),
    study("seeds", "(-1,)", "seeds=(-1,)"),
    study("fresh_seeds", "1.5", "fresh_seeds", "1.5"),
    study("methods", "{}", "methods"),
    study(
        "methods",
        "{'a': 'nothing.gin'}",
        "'nothing.gin'",
        extra=["--gin.study.Study.baseline=None"],
    ),
    study("baseline", "'pcgard'", "'pcgard'"),
    study("configs", "('absent.gin',)", "'absent.gin'"),
    study("configs", "('tiny.gin')", "configs"),
    study("settings", "{'experiment.Training.epochs': 3}", "epochs=3", "steps=4"),
    study("settings", "{'experiment.run.xyz': 3}", "'xyz'"),
    study("settings", "{'seed': 3}", "'seed'", "seeds"),
    study("settings", f"{{{_RATE}: 0.1}}", "learning_rate", "settings"),
    study("grid", f"{{{_RATE}: ()}}", "learning_rate"),
    study("grid", f"{{{_RATE}: 0.1}}", "learning_rate"),
    study("grid", f"{{{_RATE}: (0.1, -0.1)}}", "learning_rate=-0.1"),
    study("grid", f"{{{_RATE}: (0.1, 'fast')}}", "learning_rate", "'fast'"),
    study("grid", "{'experiment.Optimization.learning_rat': (0.1,)}", "'learning_rate'"),
    study("grid", "{'experiment.Optimization.batch_size': (0,)}", "batch_size=0"),
    study("grid", "{'experiment.Training.seed': (1, 2)}", "experiment.Training.seed", "seeds"),
    study("grid", f"{{{_RATE}: (0.1,), ({_RATE}, 'seed'): ((0.1, 1),)}}", "learning_rate"),
    study("grid", f"{{({_RATE}, 'evaluate_every'): ((0.1, 1), (0.1,))}}", "tuple of 2"),
    study("method_grids", "{'mgda': {}}", "'mgda'"),
    study(
        "method_grids",
        "{'static_weights': {'combiners.StaticWeights.weights': ([1, 2], {'left': 1})}}",
        "combiners.StaticWeights.weights",
        "dicts",
    ),
    study("weights", "3", "weights"),
    study("run_minutes", "'long'", "run_minutes"),
    case(
        "sweep",
        *("--gin_file=study.gin", "--study_dir=full", "--gin_file=engines/local.gin"),
        "--gin.engines.Local.workers=-1",
        words="workers",
    ),
    case(
        "sweep",
        *("--gin_file=study.gin", "--study_dir=new", "--replay"),
        "--gin.study.Study.baseline=None",
        words="baseline",
    ),
    case("sweep", "--gin_file=study.gin", "--study_dir=study", words=("'study'", "Give another")),
    case("search", SEARCH, "--study_dir=study", words=("'study'", "Give another")),
    case("bench", "run", CARD, "--bench_dir=benched", words=("'benched'", "another card")),
    case("bench", "run", CARD, "--bench_dir=spoiled", words=("'spoiled/bench.json'", "remove")),
    case("sweep", "--gin_file=study.gin", "--study_dir=blocked", words=("'blocked/configs'",)),
]

# Detected by building models in a subprocess, for some seconds each.
BUILT_STUDIES = [
    study("settings", "{'multi_digits.MultiDigits.dropout': 1.5}", "dropout=1.5"),
    study("grid", "{'experiment.Logging.log_every': (10, 0)}", "log_every"),
    study("grid", "{'experiment.Optimization.batch_size': (64, 100000)}", "100000"),
    study("grid", "{'experiment.Training.monitor': ('left_acuracy',)}", "left_acuracy"),
    study(
        "method_grids",
        "{'static_weights': {'combiners.StaticWeights.weights': ({'left': 1, 'up': 1},)}}",
        "'up'",
    ),
]


def text(*arguments, words):
    return case(
        "prepare", "translation", "--gin_file=text.gin", "--out=new/corpus", *arguments, words=words
    )


TEXTS = [
    text("--gin.data_dir='nowhere'", words="nowhere"),
    text("--gin.data_dir='latin1'", words=("not UTF-8", "'fr'", "train", "encoding", "caf")),
    text("--gin.data_dir='latin1'", "--gin.readers.LineFiles.encoding='ascii'", words="ascii"),
    text("--gin.readers.LineFiles.encoding='latin-0'", words="'latin-0'"),
    text("--gin.readers.LineFiles.encodin='latin-1'", words=("'encodin'", "'encoding'")),
    text("--gin.data_dir='gaps'", words=("empty", "max_dropped")),
    text("--gin.data_dir='long'", words=("too many tokens", "max_tokens")),
    text("--gin.data_dir='unlike'", words=("lengths too different", "max_ratio")),
    text("--gin.data_dir='shifted'", words=("train.fr", "lines")),
    text("--gin.data_dir='nothing'", words="no pair"),
    text("--gin.preparation.prepare.vocabulary_size=4", words="vocabulary_size"),
    text("--gin.preparation.prepare.vocabulary_size=-1", words="vocabulary_size"),
    text("--gin.preparation.prepare.vocabulary_lines=0", words="vocabulary_lines"),
    text("--gin.preparation.prepare.chunk_pairs=0", words="chunk_pairs"),
    text("--gin.preparation.prepare.processes=-1", words="processes"),
    text("--gin.preparation.prepare.source='fr'", words="'fr'"),
    text("--gin.preparation.prepare.readers={}", words="readers"),
    text("--gin.preparation.prepare.readers={'fr/../x': @readers.LineFiles()}", words="fr/../x"),
    text("--gin.filters.Filters.max_tokens=0", words="max_tokens"),
    text("--gin.filters.Filters.max_dropped=2.0", words="max_dropped"),
    text("--gin.filters.Filters.max_ratio=0.5", words="max_ratio"),
    case("prepare", "translation", "--gin_file=text.gin", "--out=full", words="full'"),
    case(
        "prepare",
        *("celeba", "--gin_file=faces.gin", "--out=new", "--gin.data_dir='nowhere'"),
        words="nowhere",
    ),
    case(
        "prepare",
        *("celeba", "--gin_file=faces.gin", "--out=new", "--gin.data_dir='empty'"),
        words="empty",
    ),
    case(
        "prepare",
        *("celeba", "--gin_file=faces.gin", "--out=new", "--gin.data_dir='empty'"),
        "--gin.preparation.prepare.size=0",
        words="size=0",
    ),
    case(
        "prepare",
        *("celeba", "--gin_file=faces.gin", "--out=new", "--gin.data_dir=None"),
        words=("source", "[tfds]"),
    ),
]
