"""Measures the cost of the methods, relative to a scalarized step of the same model.

    python tools/benchmark.py steps --model=lenet
    python tools/benchmark.py steps --model=resnet --tasks=8 --methods="MGDA();GradNorm()"
    python tools/benchmark.py ways --model=transformer --batch=64
    python tools/benchmark.py memory --model=mlp
    python tools/benchmark.py solvers --tasks=40
    python tools/benchmark.py data
    python tools/benchmark.py board
    python tools/benchmark.py inspect --model=resnet

All steps are timed in one process, in turns (scalarized, first method, second method, ..., again),
so that a slowdown of the machine affects all of them. The ratio is the median over the rounds.
Memory is the growth of the peak resident set size, with a separate process for each method.
"""

import argparse
import gc
import inspect
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from workbench import SCALARIZED, Runner, make

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Beside each method with its defaults.
AT_FEATURES = ["MGDA", "IMTLG", "GradDrop"]
ABSTRACT = ["Combined", "Combiner", "GramianCombiner", "LossCombiner", "PartsCombiner"]
WAYS = ["unrolled", "loop", "vectorized"]


def methods() -> list[str]:
    """Returns every method of `mtk.combiners`, written as the call that makes it."""
    from mtk import combiners

    found = []
    for name in combiners.__all__:
        parameters = inspect.signature(getattr(combiners, name)).parameters.values()
        required = [p.name for p in parameters if p.default is p.empty and p.name != "self"]
        if name not in ABSTRACT:
            given = {each: "MGDA()" if each == "combiner" else 100 for each in required}
            found.append(f"{name}({', '.join(f'{k}={v}' for k, v in given.items())})")
    return found + [f"{name}(at='representation')" for name in AT_FEATURES]


def compare(args: argparse.Namespace, variants: list[tuple[str, str]]) -> None:
    """Prints the time of each variant as a ratio to the scalarized step."""
    print(f"{args.model}, {args.tasks} tasks, batch {args.batch}, {os.cpu_count()} cores")
    base = Runner(args, SCALARIZED)
    base.steps(args.steps)
    alone = base.steps(args.steps).elapsed
    print(f"scalarized: {alone * 1e3:.1f} ms, first call {base.traced:.1f} s")
    print(f"{'method':34}{'ratio':>8}{'min':>8}{'max':>8}{'of CPU':>8}{'first call':>12}")
    for method, way in variants:
        runner = Runner(args, method, way)
        runner.steps(1)
        ratios, computed = [], []
        for _ in range(args.rounds):
            before, own, after = (r.steps(args.steps) for r in (base, runner, base))
            ratios.append(2 * own.elapsed / (before.elapsed + after.elapsed))
            computed.append(2 * own.computed / (before.computed + after.computed))
        label = method if way == "auto" else f"{method} {way}"
        print(
            f"{label:34}{statistics.median(ratios):8.2f}{min(ratios):8.2f}{max(ratios):8.2f}"
            f"{statistics.median(computed):8.2f}{runner.traced:10.1f} s",
            flush=True,
        )
        del runner
        gc.collect()


class Sizes(NamedTuple):
    """What a step needs, in MiB.

    Attributes:
        grown: By how much the peak of the resident set over some steps exceeds what the built model
            holds, tracing included.
        state: The combiner's variables, which the built model holds.
        shared: One gradient of the shared variables.
    """

    grown: float
    state: float
    shared: float


def sizes(args: argparse.Namespace, method: str) -> Sizes:
    """Measures in this process, which has to be a new one."""
    import tensorflow as tf

    from mtk.experiment.peak_memory import Peak

    model, batch = make(args, method, args.way)
    shared = model.inspect(batch).shared
    model.make_train_function()
    gc.collect()
    peak = Peak()
    iterator = iter(tf.data.Dataset.from_tensors(batch).repeat())
    for _ in range(2):
        model.train_function(iterator)
    read = peak.read()
    if read is None:
        raise SystemExit("This system does not tell the peak of the resident set.")
    most, before = read
    held = (sum(v.value.numpy().nbytes for v in vs) for vs in (model.combiner.variables, shared))
    return Sizes(*(number / 2**20 for number in (most - before, *held)))


def in_new_process(args: argparse.Namespace, method: str) -> Sizes:
    """As `sizes`, in a process that shares the import of TensorFlow with this one."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(sizes, (args, method))


def growth(args: argparse.Namespace) -> None:
    """Prints the growth of one method."""
    print(sizes(args, args.methods[0]).grown)


def structure(args: argparse.Namespace) -> None:
    """Prints how long it takes to find which variables are shared."""
    model, batch = make(args, (args.methods or ["MGDA()"])[0])
    start = time.perf_counter()
    model.inspect(batch)
    print(f"{args.model}, {args.tasks} tasks: {time.perf_counter() - start:.1f} s")


def memory(args: argparse.Namespace) -> None:
    """Prints memory beyond the scalarized step, in shared gradients too, and the state."""
    import mtk.experiment  # noqa: F401 (before the fork, once)

    base = in_new_process(args, SCALARIZED)
    print(f"{args.model}, {args.tasks} tasks, batch {args.batch}: ", end="")
    print(f"shared gradients {base.shared:.2f} MiB")
    print(f"scalarized: {base.grown:.0f} MiB above the built model")
    print(f"{'method':34}{'a step beyond':>14}{'copies':>8}{'of K':>7}{'state':>12}")
    for method in args.methods or methods():
        found = in_new_process(args, method)
        beyond = found.grown - base.grown
        copies = beyond / base.shared
        columns = f"{beyond:10.0f} MiB{copies:8.1f}{copies / args.tasks:7.2f}"
        print(f"{method:34}{columns}{found.state:8.2f} MiB", flush=True)


def solvers(args: argparse.Namespace) -> None:
    """Prints the time from a Gramian to the weights."""
    import tensorflow as tf

    from mtk import combiners

    rows = tf.random.stateless_normal((args.tasks, 3 * args.tasks), [3, 4])
    rows *= 10.0 ** tf.random.stateless_uniform((args.tasks, 1), [5, 6], -1, 1)
    rows += 0.5 * tf.random.stateless_normal((1, 3 * args.tasks), [7, 8])
    gramian = tf.matmul(rows, rows, transpose_b=True)
    print(f"K={args.tasks}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'method':34}{'median':>11}{'least':>11}{'CPU':>11}{'trace':>11}")
    for method in args.methods or [m for m in methods() if is_gramian(m)]:
        combiner = eval(method, vars(combiners))
        combiner.build(args.tasks)
        parts = combiner.batch_parts
        given = (
            tf.tile(gramian, (parts, parts)),
            tf.ones(parts * args.tasks),
            tf.ones(parts * args.tasks, tf.bool),
        )
        solve = tf.function(combiner.new_weights, autograph=False)
        first = timed(lambda: solve(*given).numpy())  # noqa: B023
        computed = time.process_time()
        times = [timed(lambda: solve(*given).numpy()) for _ in range(args.calls)]  # noqa: B023
        computed = (time.process_time() - computed) / args.calls * 1e3
        median, least = statistics.median(times) * 1e3, min(times) * 1e3
        columns = f"{median:8.2f} ms{least:8.2f} ms{computed:8.2f} ms{first:9.1f} s"
        print(f"{method:34}{columns}", flush=True)


def is_gramian(method: str) -> bool:
    """Whether a method solves for weights from the Gramian at all shared variables."""
    from mtk import combiners

    combiner = eval(method, vars(combiners))
    weighs = combiner.reads == "gramian" and not combiner.changes_gradients
    return weighs and "representation" not in method


def timed(call: Callable[[], Any]) -> float:
    """Returns the duration of a call in seconds."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def data(args: argparse.Namespace) -> None:
    """Prints the time of a LeNet step as a multiple of the data pipeline's alone."""
    import numpy as np
    import tensorflow as tf

    from mtk.data import in_memory, train_batches

    def normalize(batch: Any) -> Any:
        return (tf.cast(batch[0], tf.float32) - 33.3) / 78.6, batch[1]

    labels = {task: np.zeros(48_000, np.int32) for task in ("task_0", "task_1")}
    source = in_memory((np.zeros((48_000, 28, 28, 1), np.uint8), labels), normalize)
    batches = iter(train_batches(source, args.batch, 10_000, seed=0))
    runner = Runner(args, SCALARIZED)
    runner.steps(20)

    def read() -> float:
        return timed(lambda: [next(batches) for _ in range(200)]) / 200

    pairs = [(read(), runner.steps(20).elapsed) for _ in range(args.rounds)]
    alone, step = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(own / pipeline for pipeline, own in pairs)
    print(f"pipeline alone {alone * 1e3:.2f} ms, LeNet step {step * 1e3:.1f} ms: {ratio:.0f} times")


def board(args: argparse.Namespace) -> None:
    """Prints the time of training with TensorBoard's curves as a ratio to training without."""
    import tensorflow as tf

    from mtk.callbacks import TaskBoard

    model, batch = make(args, args.methods[0] if args.methods else SCALARIZED)
    batches = tf.data.Dataset.from_tensors(batch).cache().repeat()

    def fit(callbacks: list) -> float:
        model.gradient_schedule.diagnostics_every = None
        options = {"steps_per_epoch": 600, "verbose": 0, "shuffle": False}
        return timed(lambda: model.fit(batches, callbacks=callbacks, **options))

    with tempfile.TemporaryDirectory() as folder:
        fit([TaskBoard(folder)])
        rounds = range(args.rounds)
        ratios = [fit([TaskBoard(folder)]) / fit([]) for _ in rounds]
    print(
        f"with TaskBoard: {statistics.median(ratios):.3f} ({min(ratios):.3f} .. {max(ratios):.3f})"
    )


def main() -> None:
    """Parses the command line and measures."""
    commands = {"memory": memory, "growth": growth, "solvers": solvers, "data": data}
    commands |= {"board": board, "inspect": structure}
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=[*commands, "steps", "ways"])
    models = ["lenet", "mlp", "resnet", "transformer", "transformer-paper"]
    parser.add_argument(
        "--model", choices=models, default="lenet", help="transformer-paper has 3+3 layers"
    )
    parser.add_argument(
        "--tasks", type=int, help="default: 2; 8 for mlp and resnet; 40 for solvers"
    )
    parser.add_argument(
        "--batch", type=int, help="default: lenet 256, mlp 60, transformer 32, others 16"
    )
    parser.add_argument(
        "--methods", type=lambda text: text.split(";"), help="calls separated by ';'"
    )
    parser.add_argument("--way", default="auto", help="how per-task gradients are computed")
    parser.add_argument("--micro_batches", type=int, default=1, help="parts of each batch")
    parser.add_argument("--widths", type=int, nargs=4, default=[64, 128, 256, 512])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5, help="steps per round and method")
    parser.add_argument("--calls", type=int, default=200, help="calls of each solver")
    args = parser.parse_args()
    few = {"lenet": (2, 256), "mlp": (8, 60), "resnet": (8, 16), "transformer": (2, 32)}.get(
        args.model, (2, 16)
    )
    args.tasks = args.tasks or (40 if args.what == "solvers" else few[0])
    args.batch = args.batch or few[1]
    if args.what == "steps":
        compare(args, [(method, "auto") for method in args.methods or methods()])
    elif args.what == "ways":
        compare(args, [("MGDA()", way) for way in WAYS])
    else:
        commands[args.what](args)


if __name__ == "__main__":
    main()
