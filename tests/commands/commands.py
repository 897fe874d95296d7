"""Run a command in this process, as its command line would."""
from pathlib import Path

from add.commands import load_command, run_command

ROOT = Path(__file__).resolve().parents[2]


def load(name):
    """Return the module of the command of scripts/NAME.py."""
    return load_command(name)


def run(name, *argv):
    """Return the exit status of `python scripts/NAME.py ARGV...`."""
    return run_command(name, [str(arg) for arg in argv])


def with_changes(options, changes):
    """Return a command line's options with others behind them; one that is changed to "" is left out."""
    options, changes = list(options), list(changes)
    while "" in changes:
        place = changes.index("") - 1
        flag = changes[place]
        del changes[place:place + 2]
        if flag in options:
            first = options.index(flag)
            del options[first:first + 2]
    return options + changes
