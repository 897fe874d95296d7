"""Run a script's main in this process, as its command line would."""
import importlib.util
from pathlib import Path

from add.runtime import options

ROOT = Path(__file__).resolve().parents[2]


def load(name):
    """Return the module of scripts/NAME.py."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name, *argv):
    """Return the exit status of `python scripts/NAME.py ARGV...`."""
    return options.run(lambda: load(name).main([str(arg) for arg in argv]))
