"""Options of a command: from dataclasses, YAML files and command lines, with what is refused."""
import dataclasses
import json
import os
import re
import subprocess
import sys

import pytest

from add.commands import NAMES, load_command
from add.config import option, path_option
from add.diffusion import DiffusionConfig
from add.errors import UserError
from add.networks import ModelConfig
from add.runtime import options, wrong_words
from add.runtime.yaml_file import read_yaml
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
    (["--layers", "3", "4"], "4 stands alone: expected the name of an option before it, --OPTION 4; --help"),
    (["–layers", "3"], "unknown option –layers: here it is --layers"),
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


def test_options_need_no_torch():
    code = "import sys, add.runtime.options; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


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
    for given in ("phantom.yaml", "configs/phantom.yaml", "phantom"):
        assert read_yaml(options.find_config(given))["image_size"] == 32
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "phantom.yaml").write_text("image_size: 5")  # one's own comes first
    assert read_yaml(options.find_config("configs/phantom.yaml"))["image_size"] == 5
    with pytest.raises(UserError, match="elsewhere/phantom.yaml can't be read"):
        read_yaml(options.find_config("elsewhere/phantom.yaml"))


# Paths


@dataclasses.dataclass(frozen=True)
class Oven:
    """Oven."""

    tin: str = path_option("", "where the dough lies", "dough")
    shelves: str = path_option("", "where cakes go", "racks", many=True)
    note: str = option("", "no path")
    heat: int = option(180, "degrees", aliases=("temperature",))


def bake(*argv, **settings):
    return options.Options("Bake.", Oven, **settings).parse(list(argv))


@pytest.mark.parametrize(("given", "expected"), [
    ("~/a", "HOME/a"), ("~", "HOME"), ("$SCRATCH/b", "/scratch/b"), ("x/${SCRATCH}/b", "x//scratch/b"), ("a~b", "a~b"),
    ("gs://bucket/a", "gs://bucket/a"), ("$AT_HOME/c", "HOME/c"), ("./~/a", "./~/a"), ("a b", "a b"), ("100$", "100$")])
@pytest.mark.parametrize("in_file", [False, True])
def test_paths_are_expanded_wherever_they_are_given(given, expected, in_file, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SCRATCH", "/scratch")
    monkeypatch.setenv("AT_HOME", "~")
    (tmp_path / "a.yaml").write_text(json.dumps({"tin": given}))
    words = ["--config", str(tmp_path / "a.yaml")] if in_file else [f"--tin={given}"]
    assert bake(*words).tin == expected.replace("HOME", str(tmp_path))


def test_every_path_of_a_list_is_expanded_and_nothing_that_is_no_path(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("DATA", "/data")
    parsed = bake("--shelves", "up=~/a,~/b,down=$DATA/c,d", "--note", "~ $DATA")
    assert parsed.shelves == "up=/home/ada/a,/home/ada/b,down=/data/c,d" and parsed.note == "~ $DATA"


@pytest.mark.parametrize(("argv", "message"), [
    (["--tin", ""], "--tin was given an empty path"), (["--tin="], "--tin was given an empty path"),
    (["--dough", " "], "--dough was given an empty path"), (["--shelves="], "--shelves was given an empty path"),
    (["--config="], "--config was given an empty path"),
    (["--tin", "$NO_SUCH_NAME/a"], "variable NO_SUCH_NAME is not set"),
    (["--tin", "${NO_SUCH_NAME}"], "variable NO_SUCH_NAME is not set"),
    (["--racks", "a=$EMPTY"], "--racks is 'a=$EMPTY', and the environment variable EMPTY is empty"),
    (["--config", "$NO_SUCH_NAME/a.yaml"], "--config is '$NO_SUCH_NAME/a.yaml', and"),
    (["--tin", "~nobody_of_that_name/a"], "knows no home of ~nobody_of_that_name"),
])
def test_paths_that_name_nothing_are_refused(argv, message, monkeypatch):
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("NO_SUCH_NAME", raising=False)
    with pytest.raises(UserError) as refused:
        bake(*argv)
    assert message in str(refused.value)


def test_an_empty_path_in_a_file_is_one_left_out_and_empty_text_is_text(tmp_path):
    """So that what --dry_run prints can be used as a file."""
    (tmp_path / "a.yaml").write_text('tin: ""\nshelves:\n')
    parsed = bake("--config", str(tmp_path / "a.yaml"), "--note", "")
    assert (parsed.tin, parsed.shelves, parsed.note) == ("", "", "")
    assert "note" in parsed.given


@pytest.mark.parametrize("name", NAMES)
def test_every_path_of_a_command_is_known_as_one(name):
    fields = load_command(name).build_options().fields.values()
    speaks = {field.name for field in fields if re.match(
        r"(new or empty )?(folder|run folder|checkpoint|(YAML |TorchScript )file|translation folders)",
        field.metadata["help"])}
    paths = {field.name for field in fields if field.metadata["path"]}
    assert speaks <= paths
    named = {field.name for field in fields if re.search(r"_(dir|path|from)$", field.name)
             and not field.metadata["choices"]}
    assert named <= paths


# Other names


def test_an_alias_is_the_option_on_the_command_line_and_in_a_file(tmp_path):
    (tmp_path / "a.yaml").write_text("temperature: 200\ndough: here\n")
    assert bake("--temperature", "150").heat == 150 and bake("--dough=there").values == bake("--tin", "there").values
    parsed = bake("--config", str(tmp_path / "a.yaml"), "--tin", "there")
    assert (parsed.heat, parsed.tin) == (200, "there") and parsed.given == {"heat", "tin"}


@pytest.mark.parametrize("argv", [["--tin", "a", "--dough", "b"], ["--dough=b", "--tin=b"], ["a", "--dough=b"]])
def test_two_names_of_one_option_are_refused_together(argv):
    with pytest.raises(UserError, match="two names of one option: expected one of them"):
        bake(*argv, positionals={"tin": "TIN"})
    assert bake("--tin", "a", "--tin", "b").tin == "b"  # the last of one name counts, as everywhere


def test_a_last_word_with_dots_takes_several():
    words = {"tin": "TIN..."}
    assert bake("a", "b c", "d", positionals=words).tin == "a,b c,d"
    assert bake("--heat", "150", "a", "b", positionals=words).tin == "a,b"
    assert bake("--tin", "a,b", positionals=words).tin == "a,b" and bake(positionals=words).tin == bake().tin
    with pytest.raises(UserError, match="two names of one option"):
        bake("--tin", "a", "b", positionals=words)


def test_two_names_of_one_option_in_a_file_are_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("tin: a\ndough: b\n")
    with pytest.raises(UserError, match="a.yaml: tin stands there twice, also as dough"):
        bake("--config", str(tmp_path / "a.yaml"))


def test_help_shows_other_names_behind_the_option_and_not_as_options(capsys):
    with pytest.raises(SystemExit):
        bake("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "--heat INT degrees; also --temperature (default: 180)" in text and text.count("--temperature") == 1


@pytest.mark.parametrize("name", NAMES)
def test_no_alias_hides_an_option(name):
    built = load_command(name).build_options()
    assert not built.aliases.keys() & built.fields.keys()


@pytest.mark.parametrize(("name", "same"), [
    ("train", {"images": "data_dir", "out": "run_dir"}), ("image_sample", {"model": "model_path", "out": "out_dir"}),
    ("translate", {"images": "data_dir", "backward_data_dir": "target_data_dir", "out": "out_dir"}),
    ("classify", {"images": "data_dir", "val_images": "val_dir", "out": "out_dir"}),
    ("classifier_train", {"images": "data_dir", "val_images": "val_data_dir", "out": "run_dir"})])
def test_images_out_and_model_mean_the_same_in_every_command(name, same):
    assert same.items() <= load_command(name).build_options().aliases.items()


# Wrong words


@pytest.mark.parametrize(("name", "word", "advice"), [
    ("train", "--epochs", "here it is --max_steps, and steps are epochs x images / batch size"),
    ("train", "--gpu", "here it is --device"),
    ("train", "--learning-rate", "here it is --lr"), ("train", "--output", "here it is --run_dir"),
    ("train", "--input", "here it is --data_dir"), ("train", "--out_dir", "here it is --run_dir"),
    ("train", "--lr_rate", "here it is --lr"), ("train", "--batch", "here it is --batch_size"),
    ("train", "--size", "here it is --image_size"), ("train", "--num_workers=4", "here it is --threads"),
    ("translate", "--num_steps", "here it is --amount or --decode_steps or --timestep_respacing"),
    ("translate", "-n", "here it is --num_images"), ("translate", "--gpus", "here it is --device"),
    ("image_sample", "--n", "here it is --num_samples"), ("image_sample", "--checkpoint", "here it is --model_path"),
    ("image_sample", "--num-samples", "here it is --num_samples"),
    ("make_phantom", "--resolution", "here it is --size"), ("evaluate", "--epochs", "--help lists the known ones"),
    ("train", "--ema_rat", "did you mean --ema_rate?"),
])
def test_common_words_of_other_programs_are_told_what_they_are_here(name, word, advice):
    with pytest.raises(UserError) as refused:
        load_command(name).build_options().parse([word])
    assert advice in str(refused.value)


def test_every_hint_leads_to_options_that_some_command_has():
    known = {option for name in NAMES for option in load_command(name).build_options().fields}
    assert {option for options_of in wrong_words.HINTS.values() for option in options_of} <= known


@pytest.mark.parametrize(("environ", "prints"), [
    ({"PMI_SIZE": "2", "PMI_RANK": "0"}, True), ({"PMI_SIZE": "2", "PMI_RANK": "1"}, False),
    ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}, False), ({"RANK": "7"}, True),
    ({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, False),
    ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}, False), ({"SLURM_PROCID": "1"}, True), ({}, True)])
def test_of_several_processes_one_prints_a_dry_run(environ, prints, monkeypatch, capsys):
    for name in [name for name in os.environ if name.startswith(("PMI", "OMPI", "SLURM", "RANK", "WORLD_SIZE"))]:
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        parse("--dry_run")
    assert not stopped.value.code and ("layers: 2" in capsys.readouterr().out) == prints


def test_an_unknown_config_is_told_the_project_s_own():
    with pytest.raises(UserError, match=r"nowhere.yaml can't be read .* one of the project's: .*phantom.yaml, small_"):
        parse("--config", "nowhere.yaml")
