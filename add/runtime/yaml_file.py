"""YAML files of options: `name: value` lines, read strictly, since a file may come from anywhere.

Refused is what no file of options needs and what makes a reader slow, large or ambiguous: much text, deep nesting,
anchors with their aliases, tags, and a name that stands twice.
"""
from pathlib import Path
from typing import Any

import yaml

from add.errors import UserError

MOST_BYTES = 100_000
MOST_DEPTH = 8  # of lists and mappings inside one another
LONGEST_NUMBER = 100  # characters


def read_yaml(path: str | Path, known: str = "") -> dict[Any, Any]:
    """Return the mapping in a YAML file.

    Args:
        known: what else the user could give, for the message where the file is not there.

    Raises:
        UserError: a file that can't be read, is too large or no valid YAML, or holds what is refused here.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"config file {path} can't be read ({error.strerror}): give an existing YAML file{known}"
                        ) from error
    if len(content) > MOST_BYTES:
        raise UserError(f"config file {path} is larger than {MOST_BYTES} bytes, expected lines of `name: value`: give "
                        f"a YAML file of options")
    try:
        text = content.decode("utf-8-sig")
        _refuse_events(text)
        values = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        reason = ", ".join(filter(None, [error.context, error.problem]))
        raise UserError(f"config file {path}{line} is not valid YAML here ({reason}): expected lines of `name: "
                        f"value`; correct it") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"config file {path} is not valid YAML ({reason}): expected lines of `name: value` in UTF-8; "
                        f"correct it") from error
    if not isinstance(values, dict):
        raise UserError(f"config file {path} holds {type(values).__name__}, expected lines of `name: value`: correct "
                        f"it, or give another file")
    return values


def _refuse_events(text):
    """Raise MarkedYAMLError at the first thing in a YAML text that is refused, before anything is built of it."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        refused = ("too many lists inside one another" if depth > MOST_DEPTH else
                   "an anchor or alias (& or *), which is not taken" if getattr(event, "anchor", None) else
                   "a tag (!), which is not taken" if getattr(event, "tag", None) else "")
        if refused:
            raise _at(event, refused)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which tells the line of everything that it can't make a value of."""

    def construct_object(self, node, deep=False):
        if isinstance(node, yaml.ScalarNode) and not node.tag.endswith(":str") and len(node.value) > LONGEST_NUMBER:
            raise _at(node, f"a number of {len(node.value)} characters")
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, OverflowError, IndexError) as error:  # int(""), a 13th month, a list as a name
            raise _at(node, str(error)) from error

    def construct_mapping(self, node, deep=False):
        seen = set()
        for name in (name for name, _ in node.value if isinstance(name, yaml.ScalarNode)):
            if name.value in seen:
                raise _at(name, f"{name.value} stands there twice")
            seen.add(name.value)
        return super().construct_mapping(node, deep)


def _at(node: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
