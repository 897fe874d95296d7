"""The command that runs is told as it was typed, and only while it runs."""
import sys
from types import SimpleNamespace

import pytest

from add import commands
from add.runtime.typed_command import command_facts, typed_as


@pytest.fixture
def told(monkeypatch):
    """Return what commands hear of how they were typed; none of them does anything else."""
    heard = []
    monkeypatch.setattr(commands, "load_command", lambda name: SimpleNamespace(
        main=lambda argv: heard.append(command_facts())))
    return heard


def test_a_command_hears_how_it_was_typed(told, monkeypatch):
    commands.run_command("frequency-generating-m-samples", ["--out_dir", "my results", "--amount=3"])
    monkeypatch.setattr(sys, "argv", ["scripts/train.py", "--run_dir", "~/runs"])
    commands.run_command("train")
    assert told == [{"command": "add translate --out_dir 'my results' --amount=3"},
                    {"command": "add train --run_dir '~/runs'"}]
    assert command_facts() == {}


def test_one_that_fails_is_forgotten():
    with pytest.raises(ValueError), typed_as("train", []):
        raise ValueError
    assert command_facts() == {}
