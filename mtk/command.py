"""The command `mtk`: trains, sweeps, searches, reports, evaluates, prepares, and more."""

import importlib
import importlib.metadata
import sys
from collections.abc import Sequence

from mtk import flags

_COMMANDS = {
    "train": "train a model described by gin files, or your own workload",
    "sweep": "run a study",
    "search": "find the task weights you need with few runs",
    "bench": "run a task card: equal budgets, a sealed test, a leaderboard",
    "report": "report on studies: figures, tables, a verdict on every method",
    "evaluate": "evaluate an exported network",
    "translate": "translate lines with an exported network",
    "prepare": "prepare a data set",
    "list": "list combiners, workloads, runs or studies",
}
# Flags are read off the help of a command, which takes a tenth of a second; what else they offer is
# short, and a test compares it with the parsers.
_COMPLETION = """\
_mtk() {
    local word="${COMP_WORDS[COMP_CWORD]}" words="" kind=-f
    case "$COMP_CWORD ${COMP_WORDS[1]} ${COMP_WORDS[2]}" in
        1\\ *) words="COMMANDS --version --help" ;;
        2\\ bench\\ *) words="run submit score" ;;
        2\\ list\\ *) words="combiners workloads runs studies" ;;
        2\\ prepare\\ *) words="celeba translation" ;;
        *\\ list\\ [rs]*) kind=-d ;;
        *\\ list\\ *) return ;;
    esac
    if [[ "$word" == -* && "$COMP_CWORD" != 1 ]]; then
        words=$(mtk "${COMP_WORDS[1]}" --help 2>/dev/null | grep -o -- '--[a-z_]*')
    fi
    if [ -n "$words" ]; then
        COMPREPLY=($(compgen -W "$words" -- "$word"))
    else
        local IFS=$'\\n'  # Names may have spaces.
        COMPREPLY=($(compgen $kind -- "$word"))
    fi
}
[ -n "$ZSH_VERSION" ] && autoload -U +X bashcompinit && bashcompinit
complete -o filenames -F _mtk mtk
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Hands the arguments to a command, and returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] and given[0] in _COMMANDS:
        if "" not in sys.path:  # As for `python -m`: what a config names may lie here.
            sys.path.insert(0, "")
        module = importlib.import_module(f"mtk.{given[0]}")
        return int(module.main(given[1:]))
    lines = [f"  {name:10} {text}" for name, text in _COMMANDS.items()]
    shells = 'Completion for bash and zsh: eval "$(mtk --completion)"'
    epilog = "\n".join(
        ["commands:", *lines, "", "mtk COMMAND --help shows the flags of a command.", shells]
    )
    parser = flags.Parser("mtk", __doc__, epilog)
    parser.prog = "mtk"
    parser.add_argument("command", nargs="?", choices=list(_COMMANDS), metavar="COMMAND")
    version = f"mtk {importlib.metadata.version('mtk')}"
    parser.add_argument("--version", action="version", version=version)
    completion = "print a shell completion script"
    parser.add_argument("--completion", action="store_true", help=completion)
    if parser.parse_args(given).completion:
        print(_COMPLETION.replace("COMMANDS", " ".join(_COMMANDS)), end="")
        return 0
    parser.print_help()
    return 0 if not given else 2


def run() -> None:
    """Runs the command of this process."""
    flags.exit_with(main)


if __name__ == "__main__":
    run()
