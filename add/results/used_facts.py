"""What a results page says of how an output came about: the command, versions, models with checksums, options."""
from collections.abc import Container
from pathlib import Path
from typing import Any

from add.data.read_back import read_json
from add.errors import UserError
from add.interfaces import Row

MOST_TEXT = 2000  # characters of a value that are shown


def read_facts(path: Path, options: str = "options", shown: Container[str] = ()) -> Row:
    """Return what a file like run.json says: "command", "versions", "models", "options" and "others".

    "models" is a list of {"role", "path", "sha256", "details"}, the rest {name: text}; "command" is "" where the file
    does not tell it. A file that is missing or damaged gives nothing, and "missing" says so.

    Args:
        options: the entry that holds the command's options. shown: entries that the page shows elsewhere.
    """
    try:
        found = read_json(path, {str: object})
    except (OSError, UserError) as error:
        return {"command": "", "versions": {}, "models": [], "options": {}, "others": {},
                "missing": f"{path.name} can't be read: {error}"}
    groups = {name: found.pop(name, None) for name in ("command", "versions", "checkpoints", options)}
    models = groups["checkpoints"] if isinstance(groups["checkpoints"], dict) else {}
    return {
        "command": groups["command"] if isinstance(groups["command"], str) else "",
        "versions": flat(groups["versions"]), "options": flat(groups[options]),
        "models": [{"role": role, "path": as_text(model.get("path", "")), "sha256": as_text(model.get("sha256", "")),
                    "details": flat({name: value for name, value in model.items() if name not in ("path", "sha256")})}
                   for role, model in models.items() if isinstance(model, dict)],
        "others": flat({name: value for name, value in found.items() if name not in shown}), "missing": ""}


def flat(value: Any, name: str = "") -> dict[str, str]:
    """Return {name: text} of a JSON value; names of values inside others are joined by dots."""
    if isinstance(value, dict):
        return {inner: text for key, part in value.items()
                for inner, text in flat(part, f"{name}.{key}" if name else str(key)).items()}
    return {} if value is None and not name else {name: as_text(value)}


def as_text(value: Any) -> str:
    """Return a JSON value as a reader writes it: lists with commas, numbers of at most six digits, "" for nothing."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = ", ".join(map(as_text, value)) if isinstance(value, list) else "" if value is None else str(value)
    return text if len(text) <= MOST_TEXT else text[:MOST_TEXT] + "…"
