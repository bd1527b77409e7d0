"""Runs tests with the lowest versions that `setup.cfg` admits.

    python tools/floors.py floors --extras=demo,translation tests/trainer/test_step.py

Creates a virtual environment in the folder, if there is none, with every requirement of the core
and of the extras at the lower end of its range. All other arguments are passed to pytest.
"""

import argparse
import configparser
import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNS_TESTS = ("pytest>=8", "pytest-xdist>=3.6.1,<4")


def requirements(extras: list[str]) -> Iterator[str]:
    """Yields the requirements of the core and of extras, and of the extras that these name."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    yield from config["options"]["install_requires"].split()
    for extra in extras:
        for requirement in config["options.extras_require"][extra].split("\n"):
            inner = re.fullmatch(r"mtk\[(.+)\]", requirement)
            if inner:
                yield from requirements(inner[1].split(","))
            elif requirement:
                yield requirement


def at_the_floor(requirement: str) -> str:
    """Returns a requirement of the lowest version: `a>=1,<2` becomes `a==1`."""
    name, found, version = requirement.partition(">=")
    return f"{name}=={version.split(',')[0]}" if found else name


def main(folder: Path, extras: list[str], arguments: list[str]) -> int:
    """Makes the environment, and returns the status of pytest in it."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    given = dict.fromkeys(at_the_floor(each) for each in (*RUNS_TESTS, *requirements(extras)))
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *given], check=True)
    subprocess.run([*pip, "--no-deps", "--editable", str(ROOT)], check=True)
    print(*sorted(given), sep="\n", flush=True)
    return subprocess.run([python, "-m", "pytest", *arguments], cwd=ROOT).returncode


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--extras", default="demo")
    options, rest = parser.parse_known_args()
    sys.exit(main(options.folder.absolute(), options.extras.split(","), rest))
