"""The command line `add`: its list of commands, what they are called, and that each can be asked for its options."""
import argparse
import ast
import importlib
import os
import re
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

import add
from add import commands
from add.commands import GROUPS, NAMES, SCRIPT_NAMES, load_command, run_command
from add.commands.shared.directions import TRANSLATION_GROUPS
from add.commands.shared.sample_job import SAMPLING_GROUPS
from add.config import MAX_PIXELS
from add.data import limits
from add.networks import ModelConfig, SuperResConfig
from add.training.run_config import TRAINING_GROUPS
from tests.commands.commands import ROOT

MODULES = {path.stem: path for path in (ROOT / "add" / "commands").glob("[!_]*.py")}
SCRIPTS = {path.stem: path for path in (ROOT / "scripts").glob("*.py")}
NEEDED = {  # by commands whose options are incomplete without
    "convert": ["--model_path", "model", "--to_diffusers", "folder"],
    "evaluate": ["real", "fake"],
    "make_phantom": ["--out_dir", "out"],
    "make_tissue": ["--out_dir", "out"],
    "review": ["make"],
    "report": ["folder"],
}


def add_in_a_process(*argv, flags=()):
    """Return what `python -m add ARGV...` leaves: `.returncode`, `.stdout`, `.stderr`."""
    return subprocess.run([sys.executable, *flags, "-m", "add", *argv], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})


def first_line(path):
    return ast.get_docstring(ast.parse(path.read_text())).partition("\n")[0]


def dry_run(name, capsys):
    """Return what a command prints with --dry_run."""
    with pytest.raises(SystemExit) as stop:
        run_command(name, [*NEEDED.get(name, []), "--dry_run"])
    assert not stop.value.code
    return capsys.readouterr().out


# The list


def test_help_lists_every_command_once_and_loads_none():
    """In a process as a user starts it, whose imports Python names on stderr."""
    done = add_in_a_process("--help", flags=["-X", "importtime"])
    assert done.returncode == 0
    assert re.findall(r"^  (\w+) ", done.stdout, re.MULTILINE) == list(NAMES)
    assert re.findall(r"^(.+):$", done.stdout, re.MULTILINE) == [*GROUPS, "options"]
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for name in NAMES:
        assert lines.count(f"{name} {first_line(MODULES[name])}") == 1, name
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "add.commands" in imported and not imported & {"torch", "numpy", "PIL", "yaml"}
    assert not [name for name in imported if name.startswith("add.commands.")]


@pytest.mark.parametrize("words", [[], ["-h"], ["help"]])
def test_help_comes_by_other_words_and_without_any(words, capsys):
    assert commands.main(words) == 0
    assert capsys.readouterr().out == commands.overview() + "\n"
    assert max(map(len, commands.overview().splitlines())) <= 120


def test_every_module_is_in_one_group():
    assert len(set(NAMES)) == len(NAMES)
    assert MODULES.keys() == set(NAMES)


def test_every_script_starts_one_command_and_holds_nothing_else():
    assert SCRIPT_NAMES.keys() <= set(NAMES)
    assert sorted(SCRIPT_NAMES.get(name, name) for name in NAMES) == sorted(SCRIPTS)
    for name in NAMES:
        path = SCRIPTS[SCRIPT_NAMES.get(name, name)]
        text = path.read_text()
        assert re.findall(r"run_command\((.*?)\)", text) == [f'"{name}"'], path
        assert len(text.splitlines()) <= 12, path
        assert first_line(path) == first_line(MODULES[name]), f"{path} says something else than its command"


def test_version():
    done = add_in_a_process("--version")
    assert (done.returncode, done.stdout) == (0, f"add {add.__version__}\n")


# Names of commands


@pytest.mark.parametrize(("given", "name"), [
    ("translate", "translate"), ("frequency_generating_m_samples", "translate"),
    ("frequency-generating-m-samples", "translate"), ("image-nll", "image_nll"), ("image_nll", "image_nll")])
def test_commands_go_by_their_script_s_name_and_with_dashes(given, name, capsys):
    assert load_command(given) is importlib.import_module(f"add.commands.{name}")
    assert dry_run(given, capsys) == dry_run(name, capsys)


@pytest.mark.parametrize(("given", "advice"), [
    ("trian", "did you mean train?"), ("make-fantom", "did you mean make_phantom?"),
    ("frequency_generating_n_samples", "did you mean frequency_generating_m_samples?"),
    ("zzz", "add --help lists them"), ("shared", "unknown command shared"), ("", "unknown command")])
def test_unknown_commands_are_one_message(given, advice, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["add"])  # which main changes
    assert commands.main([given, "--steps", "3"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"error: unknown command {given}") and advice in said.err
    assert said.err.count("\n") == 1 and said.out == ""


def test_the_words_of_this_process_are_taken_where_none_are_given(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/add", "image_nll", "--batch_size", "7", "--dry_run"])
    with pytest.raises(SystemExit):
        commands.main()
    assert "batch_size: 7\n" in capsys.readouterr().out


# Options


def test_help_of_a_command_names_it_as_it_was_called():
    done = add_in_a_process("train", "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: add train [--OPTION VALUE ...]\n")
    assert first_line(MODULES["train"]) in " ".join(done.stdout.split())


def test_options_are_listed_under_headings_the_common_ones_first():
    groups = {group.title: [action.dest for action in group._group_actions]
              for group in load_command("train").build_options().parser._action_groups if group._group_actions}
    assert list(groups)[1:] == [*TRAINING_GROUPS, "network of images",
                                "diffusion: noise schedule, what the network predicts, and the loss"]
    assert groups["data"][0] == "data_dir" and groups["network of images"][0] == "image_size"
    assert groups["length and learning rate"][:2] == ["max_steps", "budget"]


@pytest.mark.parametrize("table", [TRAINING_GROUPS, SAMPLING_GROUPS, TRANSLATION_GROUPS, ModelConfig.help_groups,
                                   SuperResConfig.help_groups])
def test_every_name_under_a_heading_is_an_option_of_some_command(table):
    known = {field for name in NAMES for field in load_command(name).build_options().fields}
    named = [name for names in table.values() for name in names]
    assert set(named) <= known and len(set(named)) == len(named)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_stands_under_one_heading(name):
    built = load_command(name).build_options()
    listed = [action.dest for group in built.parser._action_groups for action in group._group_actions
              if action.help is not argparse.SUPPRESS and action.option_strings]
    assert len(set(listed)) == len(listed)
    titles = [group.title for group in built.parser._action_groups if group._group_actions]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", NAMES)
def test_commands_that_read_images_bound_their_pixels(name):
    """`split` moves names alone."""
    options = load_command(name).build_options()
    try:
        images = {"data_dir", "real_dir", "base_samples", "dataset", "slides_dir"}
        reads = options.fields.keys() & images and name != "split"
        assert bool(reads) == ("max_pixels" in options.fields)
        if reads:
            options.parse(["--max_pixels", "1234", *NEEDED.get(name, [])])
            assert limits.max_pixels() == 1234
    finally:
        limits.set_max_pixels(MAX_PIXELS)


@pytest.mark.parametrize("name", NAMES)
def test_commands_that_run_on_a_device_may_do_so_in_several_processes(name):
    options = load_command(name).build_options()
    assert ("device" in options.fields) == ("timeout" in options.fields)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_options_with_help(name):
    built = load_command(name).build_options()
    assert built.parser.description.partition("\n")[0] == first_line(MODULES[name])
    assert built.fields and all(field.metadata["help"] for field in built.fields.values())


@pytest.mark.parametrize("name", NAMES)
def test_dry_run_prints_every_option_and_writes_nothing(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    printed = dry_run(name, capsys)
    assert {line.partition(":")[0] for line in printed.splitlines()} == set(load_command(name).build_options().fields)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NEEDED)
def test_what_a_command_needs_is_named_by_a_dry_run(name, capsys):
    assert run_command(name, ["--dry_run"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and said.out == ""


def test_slow_loading_is_told_of_and_quick_loading_is_not(monkeypatch, capsys):
    def load(name):
        time.sleep(0.2)
        return SimpleNamespace(main=lambda argv: None)

    monkeypatch.setattr(commands, "load_command", load)
    for patience, said in ((0.05, "add train: loading PyTorch\n"), (5.0, "")):
        monkeypatch.setattr(commands, "PATIENCE", patience)
        assert commands.run_command("train", []) == 0
        assert capsys.readouterr().err == said
    monkeypatch.setattr(commands, "PATIENCE", 0.05)
    monkeypatch.setattr(commands, "is_first", lambda: False)  # of several processes one speaks
    assert commands.run_command("train", []) == 0 and capsys.readouterr().err == ""
