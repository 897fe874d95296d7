"""The table of licences: what is allowed, and what would be seen."""
import runpy
from email.message import Message
from pathlib import Path

import pytest

AUDIT = runpy.run_path(str(Path(__file__).resolve().parents[1] / ".ci" / "audit.py"))


def metadata(**fields):
    message = Message()
    for name, values in fields.items():
        for value in [values] if isinstance(values, str) else values:
            message[name.replace("_", "-")] = value
    return message


@pytest.mark.parametrize(("fields", "named", "allowed"), [
    ({"License_Expression": "MIT"}, ["MIT"], True),
    ({"License_Expression": "BSD-3-Clause AND (GPL-2.0-only OR MIT)"}, ["BSD-3-Clause", "MIT"], True),
    ({"License_Expression": "MIT AND AGPL-3.0-only"}, ["MIT", "AGPL-3.0-only"], False),
    ({"License_Expression": "GPL-2.0-only OR AGPL-3.0-only"}, ["GPL-2.0-only OR AGPL-3.0-only"], False),
    ({"Classifier": ["License :: OSI Approved :: BSD License", "Topic :: x"]}, ["BSD License"], True),
    ({"License": "Apache 2.0"}, ["Apache 2.0"], True), ({"License": "Permission is hereby granted" * 9}, [], False),
    ({"License": "UNKNOWN"}, ["UNKNOWN"], False), ({}, [], False)])
def test_licences(fields, named, allowed):
    assert AUDIT["licences"](metadata(**fields)) == named
    assert AUDIT["is_allowed"]("some-package", named) == allowed


def test_a_project_brings_what_its_requirements_ask_for():
    found = AUDIT["installed_for"]("torch")
    assert {"torch", "sympy", "mpmath"} <= found.keys() and "no-such-package" not in found


def test_without_pip_audit_nothing_is_taken_for_looked_at(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'No module named pip_audit' >&2\nexit 1\n")
    python.chmod(0o755)
    assert AUDIT["look_up"](str(python)) == []
    python.write_text("""#!/bin/sh
echo '{"dependencies": [{"name": "a", "skip_reason": "unknown"}, {"name": "b", "version": "1", "vulns": []}]}'
""")
    assert [one["name"] for one in AUDIT["look_up"](str(python))] == ["b"]
