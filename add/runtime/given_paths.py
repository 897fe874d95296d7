"""Paths as users write them, in command lines and YAML files: ~ and $NAME expanded, empty ones refused.

A shell expands neither ~ behind an equals sign nor anything in a YAML file, and an unset variable in a job script gives
an empty path, which must not be taken for an option that was left out.
"""
import os
import re

from add.errors import UserError

VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


def expand(where: str, text: str, many: bool = False) -> str:
    """Return a path with its ~ and its $NAME or ${NAME} expanded.

    Args:
        where: what names the path to the user, such as --data_dir.
        many: the text is a list of FOLDER or NAME=FOLDER with commas.

    Raises:
        UserError: a variable that is not set or empty, or the home of an unknown user.
    """
    text = VARIABLE.sub(lambda match: _value(where, text, match[1] or match[2]), text)
    if not many:
        return _at_home(where, text)
    entries = [entry.rpartition("=") for entry in text.split(",")]
    return ",".join(name + equals + _at_home(where, folder) for name, equals, folder in entries)


def refuse_empty(where: str, text: str) -> None:
    """Raise UserError where a command line gives an empty path."""
    if not text.strip():
        raise UserError(f"{where} was given an empty path, expected one that names something: check that the variable "
                        f"it was to come from is set, or leave {where} out")


def _value(where, text, name):
    value = os.environ.get(name, "")
    if not value:
        raise UserError(f"{where} is {text!r}, and the environment variable {name} is "
                        f"{'empty' if name in os.environ else 'not set'}: expected a path; set it, or write the path "
                        f"out")
    return value


def _at_home(where, path):
    if not path.startswith("~"):
        return path
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise UserError(f"{where} is {path!r}, and this machine knows no home of {path.split('/')[0]}: expected a "
                        f"path; write it out, or put ./ in front if the name begins so")
    return expanded
