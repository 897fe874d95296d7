"""The public Python interface: names that load when used, annotations for type checkers, docstrings for readers."""
import ast
import collections
import subprocess
import sys
from pathlib import Path

import pytest

import add

PACKAGE = Path(add.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))
COMMANDS = PACKAGE / "commands"
CALLED = {"__init__", "__call__"}  # of the methods with double underscores, those that callers give arguments to
Function = ast.FunctionDef | ast.AsyncFunctionDef


def named(path):
    return path.relative_to(ROOT).as_posix()


def is_public(name):
    return not name.startswith("_")


def is_static(method):
    return "staticmethod" in [ast.unparse(decorator) for decorator in method.decorator_list]


def public_functions(tree):
    """Return (name, function, whether it has self or cls) of a module's functions and of its classes' methods."""
    found = []
    for node in tree.body:
        if isinstance(node, Function) and is_public(node.name):
            found.append((node.name, node, False))
        elif isinstance(node, ast.ClassDef) and is_public(node.name):
            methods = [method for method in node.body if isinstance(method, Function)]
            found += [(f"{node.name}.{method.name}", method, not is_static(method)) for method in methods
                      if is_public(method.name) or method.name in CALLED]
    return found


def unannotated(function, is_bound):
    """Return the names of a function's arguments that lack an annotation, and "return" if its result lacks one.

    What __init__ returns, every type checker knows.
    """
    given = function.args
    places = (given.posonlyargs + given.args)[is_bound:]
    several = [argument for argument in (given.vararg, given.kwarg) if argument is not None]
    missing = [argument.arg for argument in places + given.kwonlyargs + several if argument.annotation is None]
    return missing + (["return"] if function.returns is None and function.name != "__init__" else [])


def without_annotations(text):
    """Return ["function: argument, ..."] of what is public in a module and not completely annotated."""
    return [f"{name}: {', '.join(missing)}" for name, function, is_bound in public_functions(ast.parse(text))
            if (missing := unannotated(function, is_bound))]


def without_docstrings(text):
    """Return the public functions and classes of a module that have no docstring, and "module" where it has none."""
    tree = ast.parse(text)
    missing = [] if ast.get_docstring(tree) else ["module"]
    return missing + [node.name for node in tree.body if isinstance(node, Function | ast.ClassDef)
                      and is_public(node.name) and not ast.get_docstring(node)]


def say(found):
    """Return {path: missing} as lines "add/file.py:function ..."."""
    return "\n".join(f"{named(path)}:{entry}" for path, entries in found.items() for entry in entries)


# Names


def test_importing_the_package_loads_no_torch():
    program = "import sys, add; dir(add); print(sorted({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", add.__all__)
def test_every_name_is_there_when_asked_for(name):
    assert getattr(add, name) is not None


def test_names_are_listed_once_and_found_by_a_star():
    assert sorted(set(add.__all__)) == sorted(add.__all__)
    assert set(add._HOMES) | set(add._ROOMS) == set(add.__all__)
    found = {}
    exec("from add import *", found)
    assert set(add.__all__) <= found.keys()


def test_no_name_needs_another_to_be_used_first():
    """Each is asked for in a process that has forgotten the package's other modules."""
    program = ("import sys, add\n"
               "for name in add.__all__:\n"
               "    for loaded in [loaded for loaded in sys.modules if loaded.startswith('add.')]:\n"
               "        del sys.modules[loaded]\n"
               "        vars(add).pop(loaded.split('.')[1], None)\n"
               "    assert getattr(add, name) is not None, name\n"
               "print('done')")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "done"


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="'add' has no attribute 'translat'"):
        add.translat  # noqa: B018


# Types and docstrings


def test_type_checkers_are_told_that_there_are_annotations():
    assert (PACKAGE / "py.typed").is_file()


def test_what_is_public_is_completely_annotated():
    found = say({path: without_annotations(path.read_text()) for path in MODULES})
    assert not found, f"not annotated:\n{found}"


def test_modules_functions_and_classes_say_what_they_are():
    """But for the two functions that every command has: add/commands/__init__.py says what they are."""
    alike = {path: {"build_options", "main"} if path.parent == COMMANDS else set() for path in MODULES}
    found = say({path: [name for name in without_docstrings(path.read_text()) if name not in alike[path]]
                 for path in MODULES})
    assert not found, f"without a docstring:\n{found}"


def test_what_is_missing_would_be_seen():
    text = ("def f(a: int, *b, c, **d) -> int: 'f'\n"
            "def g(a, /): 'g'\n"
            "def _h(a): pass\n"
            "class A:\n"
            "    def __init__(self, a: int): pass\n"
            "    def __call__(self, a) -> None: pass\n"
            "    def __len__(self): pass\n"
            "    @staticmethod\n"
            "    def s(a) -> None: pass\n"
            "    @classmethod\n"
            "    def c(cls, a: int) -> None: pass\n"
            "class _B:\n"
            "    def f(self): pass\n")
    assert without_annotations(text) == ["f: c, b, d", "g: a, return", "A.__call__: a", "A.s: a"]
    assert without_docstrings(text) == ["module", "A"]
    assert without_docstrings("'m'\ndef f(): 'f'\nclass A: 'A'") == []


# Files


def test_file_names_are_unique():
    """A name in a traceback or an editor's tab is then one file."""
    paths = collections.defaultdict(list)
    for path in MODULES:
        if path.name != "__init__.py":
            paths[path.name].append(named(path))
    assert not [same for same in paths.values() if len(same) > 1]
