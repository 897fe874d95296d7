"""Text files are read and written as UTF-8, whatever the system's own encoding is: Windows has another."""
import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "add").rglob("*.py"))


def unsaid(source):
    """Return the lines of calls that open a text file without saying its encoding."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or any(keyword.arg == "encoding" for keyword in node.keywords):
            continue
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("read_text", "write_text"):
            lines.append(node.lineno)
        elif isinstance(node.func, ast.Name) and node.func.id == "open":
            modes = [argument.value for argument in [*node.args[1:2], *(keyword.value for keyword in node.keywords)]
                     if isinstance(argument, ast.Constant)]
            if not any("b" in mode for mode in modes if isinstance(mode, str)):
                lines.append(node.lineno)
    return lines


@pytest.mark.parametrize(("source", "found"), [
    ("open(path)", [1]), ("open(path, 'w', newline='')", [1]), ("path.read_text()", [1]), ("path.write_text(x)", [1]),
    ("open(path, 'rb')", []), ("open(path, encoding='utf-8')", []), ("path.read_text(encoding='utf-8')", [])])
def test_what_is_found(source, found):
    assert unsaid(source) == found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_text_file_has_its_encoding_said(path):
    assert unsaid(path.read_text(encoding="utf-8")) == []
