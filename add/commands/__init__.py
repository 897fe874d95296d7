"""The commands: `add NAME`, `python -m add NAME` and `python scripts/NAME.py` are one and the same.

A module here is a command: its docstring is what --help says of it, `build_options()` its options, and `main(argv)`
what it does. Modules are loaded when they are asked for, so that the list of commands comes at once.
"""
import ast
import difflib
import importlib
import pkgutil
import sys
import threading
from types import ModuleType

from add.errors import UserError
from add.runtime import exit_status
from add.runtime.launchers import is_first
from add.runtime.typed_command import typed_as

GROUPS = {
    "translate images": ("translate", "imagenet_translation", "soft_labels"),
    "train": ("train", "classifier_train", "super_res_train", "baseline_train"),
    "make images": ("image_sample", "classifier_sample", "super_res_sample", "baseline_sample"),
    "measure and compare": ("evaluate", "classify", "grade", "review", "image_nll", "compare", "report"),
    "models and data": ("tiles", "split", "convert", "export", "make_phantom", "make_tissue"),
    "points in the plane": ("synthetic_train", "synthetic_sample", "synthetic_translation", "synthetic_cycle"),
    "this machine": ("doctor",),
}
NAMES = tuple(name for names in GROUPS.values() for name in names)
PATIENCE = 1.0  # seconds of loading before it is told of
# Of commands whose script is named otherwise.
SCRIPT_NAMES = {"translate": "frequency_generating_m_samples", "tiles": "slide_tiles"}


def main(argv: list[str] | None = None) -> int:
    """Run the command line `add NAME ...` and return its exit status."""
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] in ("-h", "--help", "help"):
        return exit_status.run(lambda: print(overview()))
    if words[0] == "--version":
        from add import __version__

        print(f"add {__version__}")
        return 0
    if argv is None:
        sys.argv[0] = f"add {words[0]}"  # what usage messages call the program
    return run_command(words[0], words[1:])


def run_command(name: str, argv: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 2 for a mistake that was explained, 130 for Ctrl-C.

    Args:
        name: one of NAMES, or of its script; dashes may stand for underscores.
        argv: its options; left out: those of this process.
    """
    def run_it():
        command = _load_aloud(name)
        with typed_as(_plain(name), sys.argv[1:] if argv is None else argv):
            command.main(argv)

    return exit_status.run(run_it)


def _load_aloud(name):
    """Return the module of a command; where PyTorch takes a while to load, say so."""
    slow = threading.Timer(PATIENCE, lambda: print(f"add {name}: loading PyTorch", file=sys.stderr, flush=True))
    slow.daemon = True
    if is_first():
        slow.start()
    try:
        return load_command(name)
    finally:
        slow.cancel()


def load_command(name: str) -> ModuleType:
    """Return the module of a command; raises UserError for an unknown name."""
    known = _plain(name)
    if known not in NAMES:
        close = difflib.get_close_matches(known, [*NAMES, *SCRIPT_NAMES.values()], n=1)
        advice = f"did you mean {close[0]}?" if close else "add --help lists them"
        raise UserError(f"unknown command {name}: {advice}")
    return importlib.import_module(f"add.commands.{known}")


def _plain(name):
    """Return the name of a command that may be given by its script's, or with dashes."""
    known = name.replace("-", "_")
    return next((command for command, script in SCRIPT_NAMES.items() if script == known), known)


def overview() -> str:
    """Return the text of `add --help`: every command with one line, in groups."""
    lines = ["usage: add COMMAND [OPTIONS]", "",
             "Progressive images with soft labels between image domains, by one small diffusion model per domain.",
             "`add COMMAND --help` explains a command's options."]
    for group, names in GROUPS.items():
        lines += ["", f"{group}:", *(f"  {name:<22} {first_line(name)}" for name in names)]
    return "\n".join([*lines, "", "options:", "  --version              print the version and stop"])


def first_line(name: str) -> str:
    """Return the first line of a command's docstring, read without loading its module."""
    source = pkgutil.get_data("add.commands", f"{name}.py") or b""
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
