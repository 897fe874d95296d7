"""Fields of configuration dataclasses: a default, its help text and, where the set is closed, its choices."""
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from add.errors import UserError

# The headings that --help shows a dataclass's options under, with their names in that order: its `help_groups`. Names
# that a dataclass lacks are passed over, so that several share a table; what is not named stands last, under its own.
HelpGroups: TypeAlias = Mapping[str, tuple[str, ...]]
DEVICES = ("auto", "cpu", "cuda", "mps")
MAX_PIXELS = 50_000_000  # a camera's image; a patch has thousands, a whole slide billions


def option(default: Any, help: str, choices: Sequence[Any] | None = None,  # `help` is argparse's word for it
           aliases: Sequence[str] = (), path: str = "") -> Any:
    """Return a dataclass field that becomes one command-line option.

    Args:
        choices: the values it may have, where the set is closed.
        aliases: other names that it goes by.
        path: "one" where the value is a path, "many" where it is a list of FOLDER or NAME=FOLDER with commas, else "".
    """
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "aliases": tuple(aliases),
                                                        "path": path})


def path_option(default: str, help: str, *aliases: str, many: bool = False) -> Any:
    """Return the field of an option that takes a path, or with `many` a list of FOLDER or NAME=FOLDER with commas.

    ~ and $NAME in it are expanded, and an empty one on the command line is refused.
    """
    return option(default, help, aliases=aliases, path="many" if many else "one")


def device_option() -> Any:
    """Return the field of the option --device, the same in every command."""
    return option("auto", "auto: a GPU where there is one; mps is Apple's", DEVICES)


def skip_bad_option() -> Any:
    """Return the field of the option --skip_bad, the same in every command."""
    return option(False, "leave out images that can't be read instead of refusing the folder")


def max_pixels_option() -> Any:
    """Return the field of the option --max_pixels, the same in every command that reads images.

    `Options.parse` lets the process read so many.
    """
    return option(MAX_PIXELS, "most pixels of an image; a larger one is refused before it is decoded")


def estimate_option() -> Any:
    """Return the field of the option --estimate of commands that make or measure images."""
    return option(False, "measure a few network evaluations, print what the command will take (time, memory, disk) and "
                         "stop; nothing is written")


def threads_option() -> Any:
    """Return the field of the option --threads, the same in every command."""
    return option(0, "CPU threads of each process; 0: as OMP_NUM_THREADS says, else as many as there are free cores")


def domains_option(left_out: str) -> Any:
    """Return the field of the option --domains, the same in every command; `left_out` says what holds without it."""
    return option("", f"names of the domains in the order of the stages and of label vectors, such as "
                      f"normal,mild,severe; left out: {left_out}")


def split_names(text: str) -> list[str]:
    """Return the names in the option --domains; raises UserError where one is empty or stands twice."""
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise UserError(f"--domains is {text!r}, expected different names with commas, in the order of the stages, "
                        f"such as normal,mild,severe: correct it")
    return names


def group_option() -> Any:
    """Return the field of the option --group_pattern, the same in every command that splits images."""
    return option("", "regular expression on image names below the folder; its first bracketed part, else its match, "
                      "names the slide or patient, whose images stay on one side of every split. Left out: the column "
                      "group of a table groups.csv in the folder, where there is one")


def expect(condition: bool, name: str, value: Any, expected: str) -> None:
    """Raise UserError unless an option's value is as expected."""
    if not condition:
        raise UserError(f"{name} is {value!r}, expected {expected}: change --{name}")


def expect_at_least(config: Any, **least: float) -> None:
    """Raise UserError where an option of a config is smaller than the number given for it."""
    for name, number in least.items():
        if getattr(config, name) < number:
            raise UserError(f"--{name} is {getattr(config, name)}, expected {number} or more")
