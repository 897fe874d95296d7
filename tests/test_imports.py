"""Imports run upwards only, so that the package can be read in one order and the maths know no files."""
import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORDER = ["diffusion", "networks", "transition", "data", "results", "training", "baselines", "metrics",
         "classification", "review", "runtime", "study", "commands"]
GROUND = {"errors", "config", "extras", "interfaces", "__version__"}  # for everyone, and they need no one
PURE = ORDER[:3]
FACE = {ROOT / "add" / "__init__.py", ROOT / "add" / "__main__.py"}  # they hand on what the rooms hold
MODULES = sorted(path for path in (ROOT / "add").rglob("*.py") if path not in FACE)
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))


def imports(path, top_only=False):
    """Return the dotted names that a file imports; with top_only, those that are imported when it is."""
    tree = ast.parse(path.read_text())
    inner = {id(node) for function in ast.walk(tree) if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
             for node in ast.walk(function)} if top_only else set()
    names = []
    for node in ast.walk(tree):
        if id(node) in inner:
            continue
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def part_of(path):
    """Return the part of the package a module belongs to: "diffusion", or "errors" for add/errors.py."""
    return path.relative_to(ROOT / "add").parts[0].removesuffix(".py")


def named(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_imports_run_upwards(path):
    part = part_of(path)
    assert part in ORDER or part in GROUND, f"{named(path)} belongs to no layer: add it to ORDER"
    allowed = GROUND | (set(ORDER[:ORDER.index(part) + 1]) if part in ORDER else set())
    used = {name.split(".")[1] for name in imports(path) if name.startswith("add.")}
    assert used <= allowed, f"{named(path)} imports {used - allowed}, which lie above it"
    outside = {name.split(".")[0] for name in imports(path)} & {"scripts", "tests", "benchmarks"}
    assert not outside, f"{named(path)} imports {outside}"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_only_options_parse_command_lines(path):
    if path != ROOT / "add" / "runtime" / "options.py":
        assert "argparse" not in imports(path)


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS], ids=named)
def test_mpi_and_blobfile_are_imported_when_needed(path):
    early = {name.split(".")[0] for name in imports(path, top_only=True)}
    assert not early & {"mpi4py", "blobfile"}


@pytest.mark.parametrize("path", [path for path in MODULES if part_of(path) in PURE], ids=named)
def test_maths_networks_and_method_touch_no_files(path):
    used = {name.split(".")[0] for name in imports(path)}
    assert not used & {"PIL", "tqdm", "pathlib", "os", "io", "json", "csv", "shutil", "logging"}
    calls = {node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
             for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
    assert not calls & {"open", "print", "save", "savez", "tofile", "fromfile", "input"}


def test_a_wrong_import_would_be_seen(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("import os.path\nfrom add.data import files\ndef f():\n    import blobfile\n")
    assert imports(path) == ["os.path", "add.data.files", "blobfile"]
    assert imports(path, top_only=True) == ["os.path", "add.data.files"]
