"""Command lines built from configuration dataclasses.

A frozen dataclass beside the code it configures is the only place a default is written. `Options` turns its
fields into flags and merges three sources, the later one winning: dataclass, YAML file (`--config`), command line.
"""
import argparse
import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from add.config import MOST_SHOWN, TOLD_MOST, shown_value
from add.errors import UserError
from add.runtime.given_paths import expand, refuse_empty
from add.runtime.launchers import is_first
from add.runtime.wrong_words import nearest, unknown_message

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

TRUE_WORDS = {"1", "true", "t", "yes", "y", "on"}
FALSE_WORDS = {"0", "false", "f", "no", "n", "off"}
KIND_NAMES = {bool: "True or False", int: "a whole number", float: "a finite number", str: "text"}
SPELLINGS = "spellings"  # of a namespace: {option: the name that it was given by}

Config = TypeVar("Config", bound="DataclassInstance")


class Options:
    """The options of one command, made of the fields of one or more dataclasses.

    Args:
        description: what the command does, shown by `--help`.
        *configs: dataclasses (types) whose fields become flags; a name that two share is one flag for both. Those with
            `help_groups`, see `add.config.HelpGroups`, are shown under these headings.
        overrides: other defaults than a dataclass's own, by name.
        default_config: called with the values given so far; returns the YAML file to use where `--config` is
            absent, or None.
        positionals: {option: word}, options whose values may also be given as words in this order. The last word may
            end in "...": that option takes any number of words, as if they were given with commas.
        first: names of the options that `--help` shows; the others are left to `--help_all`. Empty: all.
    """

    def __init__(self, description: str | None, *configs: type, overrides: dict[str, Any] | None = None,
                 default_config: Callable[[dict[str, Any]], str | Path | None] | None = None,
                 positionals: dict[str, str] | None = None, first: tuple[str, ...] = ()):
        self.configs = configs
        self.fields: dict[str, dataclasses.Field] = {}
        self.aliases: dict[str, str] = {}  # {alias: option}
        self.default_config = default_config
        words = "".join(f" [{word}]" for word in (positionals or {}).values())
        self.parser = _Parser(usage=f"%(prog)s{words} [--OPTION VALUE ...]", description=description,
                              allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
        self.parser.add_argument("--config", help="YAML file of defaults for the options below; the command line wins")
        self.parser.add_argument("--dry_run", action="store_true", help="print the resolved options and stop")
        for config in configs:
            for field in dataclasses.fields(config):
                known = self.fields.setdefault(field.name, field)
                assert known.default == field.default, f"two defaults of {field.name}"
                self.aliases |= dict.fromkeys(field.metadata.get("aliases", ()), field.name)
        left = set(self.fields)
        for config in configs:
            for title, names in _grouped(config).items():
                group = self.parser.add_argument_group(title)
                for name in (name for name in names if name in left):
                    field = self.fields[name]
                    _add_flag(group, field, (overrides or {}).get(name, field.default))
                left -= set(names)
        for name, word in (positionals or {}).items():
            many = word.endswith("...")
            self.parser.add_argument(name, metavar=word.removesuffix("..."), nargs="*" if many else "?",
                                     action=_Store, default=argparse.SUPPRESS,
                                     help=f"as --{name}")
        assert not self.aliases.keys() & self.fields.keys(), "an alias is another option's name"
        self.defaults = {name: field.default for name, field in self.fields.items()} | (overrides or {})
        if first:
            self._show_first(first)

    def _show_first(self, first):
        """Let --help show these options only, and --help_all the others, too."""
        hidden = {action: action.help for action in self.parser._actions
                  if action.dest in self.fields and action.dest not in first}
        for action in hidden:
            action.help = argparse.SUPPRESS
        self.parser.epilog = f"{len(hidden)} more options (networks, diffusion, solvers ...): --help_all"

        class HelpAll(argparse.Action):
            def __call__(self, parser, namespace, values, option_string=None):
                for action, text in hidden.items():
                    action.help = text
                parser.epilog = None
                parser.print_help()
                parser.exit()

        self.parser.add_argument("--help_all", action=HelpAll, nargs=0, default=argparse.SUPPRESS,
                                 help="show all options and stop")

    def parse(self, argv: Sequence[str] | None = None) -> "Parsed":
        """Return the `Parsed` options of a command line; prints them and exits where `--dry_run` is given.

        Raises:
            UserError: an option or a value that is not known; the configs' own checks.
        """
        namespace, unknown = self.parser.parse_known_args(argv)
        if unknown:
            known = {action.dest for action in self.parser._actions} - {"help"}
            raise UserError(unknown_message("option", unknown[0].split("=")[0], sorted(known | self.aliases.keys())))
        given = vars(namespace)
        config_path, dry_run, spelled = given.pop("config"), given.pop("dry_run"), given.pop(SPELLINGS, {})
        if config_path is not None:
            refuse_empty("--config", config_path)
            config_path = expand("--config", config_path)
        for name in given:
            if self._path_kind(name):
                refuse_empty(spelled[name], given[name])
        given = {name: self._convert(spelled[name], name, value) for name, value in given.items()}
        if config_path is None and self.default_config is not None:
            config_path = self.default_config(self.defaults | given)
        from_file = self._read_config(config_path) if config_path else {}
        values = self.defaults | from_file | given
        parsed = Parsed(values, given=set(from_file) | set(given), config_path=config_path, configs=self.configs,
                        typed=set(given))
        for config in self.configs:
            parsed.take(config)  # its checks speak now, before the slow part
        if "max_pixels" in values:
            from add.data.limits import set_max_pixels  # after parsing: --help stays instant

            set_max_pixels(values["max_pixels"])
        if dry_run and is_first():
            print("\n".join(f"{name}: {json.dumps(value)}" for name, value in values.items()))
        if dry_run:
            raise SystemExit(0)
        return parsed

    def _read_config(self, path):
        from add.runtime.yaml_file import read_yaml  # PyYAML, which most command lines need not

        values: dict[str, Any] = {}
        known = f", or one of the project's: {', '.join(_own_configs())}"
        for written, value in read_yaml(find_config(path), known).items():
            name = self.aliases.get(written, written)
            if name not in self.fields:
                name = str(written)[:MOST_SHOWN]
                raise UserError(f"{path}: " + unknown_message("key", name, [*self.fields, *self.aliases]))
            if name in values:
                raise UserError(f"{path}: {name} stands there twice, also as {written}: expected one of the two names; "
                                f"leave one out")
            values[name] = self._convert(f"{path}: {written}", name, value)
        return values

    def _path_kind(self, name):
        return self.fields[name].metadata.get("path", "")

    def _convert(self, where, name, value):
        """Return `value`, text or what YAML made of it, in the type of option `name`."""
        kind = type(self.defaults[name])
        try:
            result = _as_kind(kind, value)
        except (TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{where} is {shown_value(value)}, expected {KIND_NAMES[kind]}: correct it, or leave it "
                            f"out for the default {self.defaults[name]!r}") from error
        choices = self.fields[name].metadata.get("choices")
        if choices and result not in choices:
            raise UserError(f"{where} is {shown_value(value)}, expected one of {', '.join(map(str, choices))}: "
                            f"{_did_you_mean(str(value), choices) or 'choose one of them'}")
        if self._path_kind(name):
            return expand(where, result, many=self._path_kind(name) == "many")
        return result


class Parsed:
    """The merged options of a command, each an attribute of its name, too.

    values: {option: value}. given: names of those that the file or the command line set.
    config_path: the YAML file that was read, or None. configs: the dataclasses that the options were made of.
    typed: names of the options that the command line set.
    """

    def __init__(self, values: Mapping[str, Any], given: set[str], config_path: str | Path | None,
                 configs: Sequence[type], typed: Iterable[str] = ()):
        self.values, self.given, self.config_path, self.configs = values, given, config_path, configs
        self.typed = frozenset(typed)

    def take(self, config: type[Config], **changes: Any) -> Config:
        """Return an instance of the dataclass `config` filled from the options, with `changes` on top."""
        names = {f.name for f in dataclasses.fields(config)}
        return config(**({name: self.values[name] for name in names} | changes))

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["values"][name]
        except KeyError as error:
            raise AttributeError(name) from error


class _Parser(argparse.ArgumentParser):
    """argparse with its errors as UserErrors: one message instead of the whole usage."""

    def error(self, message):
        raise UserError(f"{message}: --help explains the options")


class _Store(argparse.Action):
    """Store an option's text, and refuse it where another of its names has given one already."""

    def __call__(self, parser, namespace, values, option_string=None):
        spelling = option_string or self.metavar
        if isinstance(values, list):  # several words
            values = ",".join(values)
        before = vars(namespace).setdefault(SPELLINGS, {}).setdefault(self.dest, spelling)
        if before != spelling:
            raise UserError(f"{before} and {spelling} were given, two names of one option: expected one of them; leave "
                            f"one out")
        setattr(namespace, self.dest, values)


def boolean(text: object) -> bool:
    """Return the truth value that a word like `True`, `yes` or `0` stands for."""
    word = str(text).lower()
    if word in TRUE_WORDS | FALSE_WORDS:
        return word in TRUE_WORDS
    raise argparse.ArgumentTypeError(f"'{text}' is not a truth value: write True or False")


def first_value(flag: str, words: Sequence[str]) -> str | None:
    """Return the value of a flag among the words of a command line, or None; for other options that depend on it."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(flag, dest="value")
    return parser.parse_known_args(words)[0].value


def find_config(path: str | Path) -> Path:
    """Return the path of a config file: the file itself, else the project's own config of that name.

    So `--config configs/small_data.yaml` works in any folder, also where the package is installed without its checkout.
    """
    given = Path(path)
    if not given.exists() and given.parent in (Path(), Path("configs")):
        from add.data import embedded

        own = embedded.config_path(given.name if given.suffix else f"{given.name}.yaml")
        return own if own.exists() else given
    return given


def _own_configs():
    """Return the names of the project's configs."""
    from add.data import embedded

    return sorted(path.name for path in embedded.CONFIGS.glob("*.yaml"))


def _listed(choices):
    """Return choices for help: with commas between them, or bars where one holds a comma."""
    texts = [str(choice) for choice in choices]
    return "{" + ("|" if any("," in text for text in texts) else ",").join(texts) + "}"


def _add_flag(group, field, default):
    """Add the flag of a dataclass field; its value arrives as text and is converted where a file's is, too."""
    told = [f"default: {default!r}"] if default not in ("", None) else []
    most = field.metadata.get("bounds", {}).get("most")
    told += [f"at most {most}"] if most is not None and most <= TOLD_MOST else []
    shown = f" ({', '.join(told)})" if told else ""
    choices = field.metadata.get("choices")
    aliases = [f"--{alias}" for alias in field.metadata.get("aliases", ())]
    also = f"; also {', '.join(aliases)}" if aliases else ""
    settings = {"default": argparse.SUPPRESS, "help": field.metadata["help"].replace("%", "%%") + also + shown,
                "metavar": _listed(choices) if choices else type(default).__name__.upper()}
    if isinstance(default, bool):
        settings |= {"nargs": "?", "const": "True"}
    group.add_argument(f"--{field.name}", action=_Store, **settings)
    for alias in aliases:
        group.add_argument(alias, action=_Store, dest=field.name, **settings | {"help": argparse.SUPPRESS})


def _as_kind(kind, value):
    if kind is bool:
        try:
            return boolean(value)
        except argparse.ArgumentTypeError as error:
            raise ValueError(str(error)) from error
    if kind is str and isinstance(value, (list, tuple)):  # 16,8 as a YAML list
        return ",".join(_as_kind(str, entry) for entry in value)
    if kind is str and value is None:
        return ""
    if isinstance(value, (bool, dict)) or value is None:
        raise ValueError(f"{value!r} is no {kind.__name__}")
    if kind is int and isinstance(value, float) and value != int(value):
        raise ValueError(f"{value!r} has a fraction")
    result = kind(value)
    if kind is str and "\0" in result:
        raise ValueError("a zero byte ends a name for the system")
    if kind is float and not math.isfinite(result):
        raise ValueError(f"{value!r} is not finite")
    return result


def _did_you_mean(name, known):
    close = nearest(name, known)
    return f"did you mean {close}?" if close else ""


def _grouped(config):
    """Return {heading: names of a dataclass's options}: its `help_groups`, and last what they don't name."""
    names = [field.name for field in dataclasses.fields(config)]
    groups = {title: [name for name in wanted if name in names]
              for title, wanted in getattr(config, "help_groups", {}).items()}
    named = {name for wanted in groups.values() for name in wanted}
    groups.setdefault(_title(config), []).extend(name for name in names if name not in named)
    return groups


def _title(config):
    """Return the heading of a dataclass's options: its docstring's first line, small where it begins with no name."""
    title = (config.__doc__ or config.__name__).strip().splitlines()[0].rstrip(".")
    return title[0].lower() + title[1:] if title.split()[0].istitle() else title
