import dataclasses
import subprocess
import sys

import pytest
import torch

from add.config import option
from add.diffusion import DiffusionConfig
from add.errors import UserError
from add.networks import ModelConfig
from add.runtime import options
from add.training import TrainConfig


@dataclasses.dataclass(frozen=True)
class Cake:
    """Cake."""

    layers: int = option(2, "number of layers")
    sugar: float = option(0.5, "grams")
    vegan: bool = option(False, "100 % without eggs")
    icing: str = option("lemon", "taste on top", ("lemon", "cocoa"))
    name: str = option("", "what is written on it")

    def __post_init__(self):
        if self.layers < 1:
            raise UserError(f"layers is {self.layers}, expected 1 or more")


@dataclasses.dataclass(frozen=True)
class Party:
    """Party."""

    guests: int = option(5, "number of guests")
    vegan: bool = option(False, "shared with the cake")


def parse(*argv, **settings):
    return options.Options("Bake.", Cake, Party, **settings).parse(list(argv))


def test_defaults_come_from_the_dataclasses():
    parsed = parse()
    assert parsed.take(Cake) == Cake() and parsed.take(Party) == Party() and parsed.given == set()
    assert parsed.take(Cake, layers=7).layers == 7
    with pytest.raises(AttributeError):
        _ = parsed.nothing


@pytest.mark.parametrize("argv, vegan", [
    (["--vegan"], True), (["--vegan", "True"], True), (["--vegan", "false"], False), (["--vegan=1"], True),
    (["--vegan", "no"], False), (["--vegan", "--layers", "3"], True),
])
def test_booleans_take_a_word_or_none(argv, vegan):
    parsed = parse(*argv)
    assert parsed.vegan is vegan and parsed.take(Cake).vegan is vegan and parsed.take(Party).vegan is vegan


def test_the_command_line_beats_the_file_and_the_file_the_default(tmp_path):
    (tmp_path / "a.yaml").write_text("layers: 4\nsugar: 1e-1\nvegan: yes\n")
    parsed = parse("--config", str(tmp_path / "a.yaml"), "--layers", "9")
    assert (parsed.layers, parsed.sugar, parsed.vegan, parsed.icing) == (9, 0.1, True, "lemon")
    assert parsed.given == {"layers", "sugar", "vegan"} and parsed.config_path == str(tmp_path / "a.yaml")
    assert parse(overrides={"layers": 6}).layers == 6
    assert parse("--config", str(tmp_path / "a.yaml"), overrides={"layers": 6}).layers == 4


def test_a_default_file_is_used_where_none_is_given(tmp_path):
    (tmp_path / "a.yaml").write_text("layers: 4\n")
    settings = {"default_config": lambda values: None if values["name"] else tmp_path / "a.yaml"}
    assert parse(**settings).layers == 4 and parse("--name", "Ada", **settings).layers == 2


@pytest.mark.parametrize("text, name, value", [
    ("name: 5", "name", "5"), ("name: [16, 8]", "name", "16,8"), ("name:", "name", ""),
    ("name: 0.9990", "name", "0.999"), ("layers: 3.0", "layers", 3), ("layers: '3'", "layers", 3),
    ("sugar: 2", "sugar", 2.0), ("vegan: 0", "vegan", False),
])
def test_yaml_values_take_the_options_type(tmp_path, text, name, value):
    (tmp_path / "a.yaml").write_text(text)
    result = parse("--config", str(tmp_path / "a.yaml")).values[name]
    assert result == value and type(result) is type(value)


@pytest.mark.parametrize("text, message", [
    ("layrs: 3", "unknown key layrs: did you mean layers?"),
    ("xyz: 3", "unknown key xyz: --help lists"),
    ("layers: many", "layers is 'many', expected a whole number"),
    ("layers: 2.5", "layers is 2.5, expected a whole number"),
    ("layers: yes", "layers is True, expected a whole number"),
    ("layers: .inf", "expected a whole number"),
    ("layers:", "layers is None, expected a whole number"),
    ("sugar: .inf", "sugar is inf, expected a finite number"),
    ("sugar: [1]", "expected a finite number"),
    ("vegan: perhaps", "vegan is 'perhaps', expected True or False"),
    ("name: {a: 1}", "expected text"),
    ("icing: lemmon", "expected one of lemon, cocoa: did you mean lemon?"),
    ("- 1", "holds list, expected lines of"),
    ("a: [", "is not valid YAML"),
])
def test_files_with_mistakes_are_refused(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        parse("--config", str(tmp_path / "a.yaml"))
    assert message in str(caught.value) and "a.yaml" in str(caught.value)


@pytest.mark.parametrize("argv, message", [
    (["--layrs", "3"], "unknown option --layrs: did you mean --layers?"),
    (["--confg=x"], "unknown option --confg: did you mean --config?"),
    (["--layers", "3", "4"], "unknown option 4"),
    (["--lay", "3"], "unknown option --lay: did you mean --layers?"),  # no guessing from the first letters
    (["--layers", "many"], "--layers is 'many', expected a whole number: correct it, or leave it out"),
    (["--layers", "2.5"], "--layers is '2.5', expected a whole number"),
    (["--sugar", "sweet"], "expected a finite number"),
    (["--sugar", "nan"], "--sugar is 'nan', expected a finite number"),
    (["--sugar", "1e999"], "--sugar is '1e999', expected a finite number"),
    (["--vegan", "perhaps"], "expected True or False"),
    (["--icing", "coco"], "--icing is 'coco', expected one of lemon, cocoa: did you mean cocoa?"),
    (["--layers"], "argument --layers: expected one argument: --help"),
    (["--layers", "0"], "layers is 0, expected 1 or more"),
    (["--config", "none.yaml"], "none.yaml can't be read (No such file or directory)"),
])
def test_command_lines_with_mistakes_are_refused(argv, message):
    with pytest.raises(UserError) as caught:
        parse(*argv)
    assert message in str(caught.value)


def test_dry_run_prints_a_config_that_gives_the_same(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse("--layers", "3", "--sugar", "1e-5", "--vegan", "--name", "it's: #1", "--dry_run")
    assert stopped.value.code == 0
    (tmp_path / "a.yaml").write_text(capsys.readouterr().out)
    parsed = parse("--config", str(tmp_path / "a.yaml"))
    assert parsed.take(Cake) == Cake(3, 1e-5, True, "lemon", "it's: #1")
    with pytest.raises(UserError):  # it checks as a run does
        parse("--layers", "0", "--dry_run")


def test_help_tells_every_option_and_default(capsys):
    with pytest.raises(SystemExit) as stopped:
        parse("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert stopped.value.code == 0
    for words in ("--layers INT number of layers (default: 2)", "100 % without eggs", "{lemon,cocoa}", "--dry_run",
                  "--config", "cake:", "party:"):
        assert words in text
    assert text.count("eggs") == 1 and "shared with the cake" not in text


@pytest.mark.parametrize("config", [TrainConfig, ModelConfig, DiffusionConfig])
def test_every_option_of_training_has_help(config):
    assert [f.name for f in dataclasses.fields(config) if not f.metadata.get("help")] == []


def test_two_defaults_of_one_option_are_a_bug():
    @dataclasses.dataclass(frozen=True)
    class Other:
        """Other."""

        layers: int = option(3, "another default")

    with pytest.raises(AssertionError, match="two defaults of layers"):
        options.Options("", Cake, Other)


def raising(error):
    def main():
        raise error
    return main


@pytest.mark.parametrize("error, status, message", [
    (UserError("that won't do"), 2, "error: that won't do\n"),
    (PermissionError(13, "Permission denied", "/root/x"), 2, "/root/x: Permission denied; check the path"),
    (OSError(28, "No space left on device"), 2, "error: No space left on device; check"),
    (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), 2,
     "(CUDA out of memory): lower --batch_size, or in training --microbatch"),
    (KeyboardInterrupt(), 130, "stopped by Ctrl-C"),
])
def test_what_a_user_can_cause_ends_with_one_message(capsys, error, status, message):
    assert options.run(raising(error)) == status
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError(9, "Bad file descriptor")])
def test_bugs_keep_their_traceback(error):
    with pytest.raises(type(error)):
        options.run(raising(error))


def test_a_good_end_is_status_0():
    assert options.run(lambda: None) == 0


def test_options_need_no_torch():
    code = "import sys, add.runtime.options; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_lost_peer_prints_no_cpp_stack(monkeypatch):
    monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", "")
    monkeypatch.delenv("TORCH_CPP_LOG_LEVEL")
    options.run(lambda: None)
    assert options.os.environ["TORCH_CPP_LOG_LEVEL"] == "ERROR"


def test_help_shows_the_first_options_and_help_all_the_others_too(capsys):
    for flag, others in (("--help", False), ("--help_all", True)):
        with pytest.raises(SystemExit) as stopped:
            parse(flag, first=("layers", "guests"))
        text = capsys.readouterr().out
        assert stopped.value.code == 0 and "--layers" in text and "number of guests" in text and "--config" in text
        assert [word in text for word in ("--sugar", "--icing", "taste on top")] == [others] * 3
        assert "--help_all" in text and ("4 more options" in text) != others
    assert parse("--sugar", "2", first=("layers",)).sugar == 2  # hidden, not gone
    with pytest.raises(UserError, match="unknown option --help_al: did you mean --help_all"):
        parse("--help_al", first=("layers",))
    with pytest.raises(UserError) as refused:
        parse("--help_al")
    assert "--help_all" not in str(refused.value)


def test_a_config_of_the_project_is_found_by_its_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given in ("phantom.yaml", "configs/phantom.yaml"):
        assert options.read_yaml(options.find_config(given))["image_size"] == 32
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "phantom.yaml").write_text("image_size: 5")  # one's own comes first
    assert options.read_yaml(options.find_config("configs/phantom.yaml"))["image_size"] == 5
    with pytest.raises(UserError, match="elsewhere/phantom.yaml can't be read"):
        options.read_yaml(options.find_config("elsewhere/phantom.yaml"))
