"""Compares the time of an MGDA step with TorchJD's, each relative to its own scalarized step.

    python3 -m venv torchvenv
    torchvenv/bin/pip install torch==2.13.0
    torchvenv/bin/pip install --no-deps torchjd
    python tools/peers.py --torch_python=torchvenv/bin/python --tasks=8 --batch=16

The model is ResNet-18 as `mtk.models.resnet18` builds it, with a dense head for each task, SGD with
momentum, and one batch of noise. TorchJD processes the tasks one after the other
(`parallel_chunk_size=1`), which is its fastest way on CPUs, and aggregates with its own MGDA.

Each library runs in its own process, and one waits while the other takes steps: scalarized and MGDA
with one library, then with the other, and so on. So a slowdown of the machine affects all four.
"CPU" is the time of all cores together. Other programs hardly change that of mtk. PyTorch's threads
compute while they wait for one another, which is frequent on a busy machine: use `--threads=1`
there.
"""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

WIDTHS = (64, 128, 256, 512)
CLASSES = 2
PIXELS = 64
RATE, MOMENTUM = 1e-3, 0.8
Step = Callable[[], Any]


def mtk_steps(args: argparse.Namespace) -> dict[str, Step]:
    """Returns a scalarized step and one of MGDA."""
    from workbench import SCALARIZED, Runner

    args.model, args.widths, args.micro_batches = "resnet", WIDTHS, 1
    runners = {"scalarized": Runner(args, SCALARIZED), "MGDA": Runner(args, "MGDA()")}

    def take(runner: Runner) -> float:
        return float(runner.model.train_function(runner.iterator)["loss"])

    return {name: functools.partial(take, runner) for name, runner in runners.items()}


def torch_steps(args: argparse.Namespace) -> dict[str, Step]:
    """Returns a scalarized step and one of TorchJD's MGDA."""
    import torch
    from torch import nn
    from torchjd.aggregation import MGDA
    from torchjd.autojac import jac_to_grad, mtl_backward

    torch.set_num_threads(args.threads)

    class Block(nn.Module):
        def __init__(self, before: int, width: int, stride: int):
            super().__init__()
            self.first = nn.Conv2d(before, width, 3, stride, 1, bias=False)
            self.first_norm = nn.BatchNorm2d(width)
            self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.second_norm = nn.BatchNorm2d(width)
            self.around: nn.Module = nn.Identity()
            if stride != 1 or before != width:
                projection = nn.Conv2d(before, width, 1, stride, bias=False)
                self.around = nn.Sequential(projection, nn.BatchNorm2d(width))

        def forward(self, x: Any) -> Any:
            found = self.first_norm(self.first(x)).relu()
            return (self.second_norm(self.second(found)) + self.around(x)).relu()

    def network() -> tuple[nn.Module, nn.ModuleList]:
        blocks: list[nn.Module] = []
        before = WIDTHS[0]
        for width, stride in zip(WIDTHS, (1, 2, 2, 2), strict=True):
            blocks += [Block(before, width, stride), Block(width, width, 1)]
            before = width
        stem = [nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU()]
        trunk = nn.Sequential(*stem, *blocks, nn.AvgPool2d(4), nn.Flatten())
        features = WIDTHS[-1] * (PIXELS // 32) ** 2
        return trunk, nn.ModuleList(nn.Linear(features, CLASSES) for _ in range(args.tasks))

    images = torch.randn(args.batch, 3, PIXELS, PIXELS)
    labels = torch.randint(0, CLASSES, (args.tasks, args.batch))

    def step_of(merged: bool) -> Step:
        torch.manual_seed(0)
        trunk, heads = network()
        parameters = [*trunk.parameters(), *heads.parameters()]
        optimizer = torch.optim.SGD(parameters, RATE, MOMENTUM)
        aggregator = MGDA()

        def step() -> None:
            optimizer.zero_grad()
            features = trunk(images)
            pairs = zip(heads, labels, strict=True)
            losses = [nn.functional.cross_entropy(head(features), y) for head, y in pairs]
            if merged:
                mtl_backward(losses, features=features, parallel_chunk_size=1)
                jac_to_grad(trunk.parameters(), aggregator, optimize_gramian_computation=args.lean)
            else:
                torch.stack(losses).mean().backward()
            optimizer.step()

        return step

    return {"scalarized": step_of(False), "MGDA": step_of(True)}


def serve(steps: dict[str, Step], number: int) -> None:
    """Takes steps of the kind that each line of the input names, and prints what one took."""
    for step in steps.values():
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        step = steps[line.strip()]
        step()  # Untimed: after another model has run, memory has to be taken anew.
        start, used = time.perf_counter(), time.process_time()
        for _ in range(number):
            step()
        spent = time.perf_counter() - start, time.process_time() - used
        print(json.dumps([1e3 * each / number for each in spent]), flush=True)


class Worker:
    """A process that takes steps when told.

    Args:
        python: Its interpreter.
        library: "mtk" or "TorchJD".
        args: The command line.
    """

    def __init__(self, python: str, library: str, args: argparse.Namespace):
        command = [python, __file__, f"--serve={library}", f"--steps={args.steps}"]
        command += [f"--tasks={args.tasks}", f"--batch={args.batch}", f"--threads={args.threads}"]
        command += ["--lean"] if args.lean else []
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdin
        assert self.process.stdout
        self.asked, self.answers = self.process.stdin, self.process.stdout
        if self.answers.readline().strip() != "ready":
            sys.exit(f"{library} did not start: see above")

    def take(self, kind: str) -> list[float]:
        """Returns the milliseconds of a step by the clock, and of all cores together."""
        print(kind, file=self.asked, flush=True)
        return json.loads(self.answers.readline())

    def close(self) -> None:
        """Ends the process."""
        self.asked.close()
        self.process.wait()


def spread(values: list[float], digits: int) -> str:
    """Returns the smallest, the median and the largest of some values, as columns."""
    three = min(values), statistics.median(values), max(values)
    return "".join(f"{value:10.{digits}f}" for value in three)


def compare(args: argparse.Namespace) -> None:
    """Prints what both libraries' steps take, and the ratios between them."""
    pythons = {"mtk": sys.executable, "TorchJD": args.torch_python}
    workers = {library: Worker(python, library, args) for library, python in pythons.items()}
    kinds = ("scalarized", "MGDA")
    taken: dict[tuple[str, str], list[list[float]]] = {}
    for _ in range(args.rounds):
        for library, worker in workers.items():
            for kind in kinds:
                taken.setdefault((library, kind), []).append(worker.take(kind))
    for worker in workers.values():
        worker.close()
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(
        f"ResNet-18 {PIXELS}x{PIXELS}, {args.tasks} tasks, batch {args.batch}, "
        f"{args.threads} threads, {os.cpu_count()} cores, load average {load}"
    )
    for column, clock in enumerate(("clock", "CPU")):
        times = {key: [each[column] for each in found] for key, found in taken.items()}
        print(f"{clock:28}{'min':>10}{'median':>10}{'max':>10}")
        for (library, kind), found in times.items():
            print(f"{library + ' ' + kind + ', ms':28}{spread(found, 1)}")
        for library in workers:
            own = ratios(times[library, "MGDA"], times[library, "scalarized"])
            print(f"{library + ' ratio':28}{spread(own, 2)}")
        across = ratios(times["mtk", "MGDA"], times["TorchJD", "MGDA"])
        print(f"{'MGDA, mtk to TorchJD':28}{spread(across, 2)}")


def ratios(of: list[float], to: list[float]) -> list[float]:
    """Returns the ratios of times, round by round."""
    return [one / other for one, other in zip(of, to, strict=True)]


def main() -> None:
    """Parses the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--torch_python", help="Python of an environment with torch and torchjd")
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of TorchJD")
    parser.add_argument("--steps", type=int, default=1, help="steps per round and kind")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--lean", action="store_true", help="compute TorchJD's Gramian tensor by tensor"
    )
    parser.add_argument("--serve", choices=["mtk", "TorchJD"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve({"mtk": mtk_steps, "TorchJD": torch_steps}[args.serve](args), args.steps)
    elif not args.torch_python:
        parser.error("--torch_python is needed")
    else:
        compare(args)


if __name__ == "__main__":
    main()
