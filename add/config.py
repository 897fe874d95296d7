"""Fields of configuration dataclasses: a default, its help text, and its bounds or choices."""
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from add.errors import UserError

# The headings that --help shows a dataclass's options under, with their names in that order: its `help_groups`. Names
# that a dataclass lacks are passed over, so that several share a table; what is not named stands last, under its own.
HelpGroups: TypeAlias = Mapping[str, tuple[str, ...]]
DEVICES = ("auto", "cpu", "cuda", "mps")
MAX_PIXELS = 50_000_000  # a camera's image; a patch has thousands, a whole slide billions
# The most that several options may be; beyond it, a slip of the keyboard would fill the memory or never end.
MOST_PIXELS = 8192  # along a side
MOST_BATCH = 8192  # images
MOST_IMAGES = 10**7
MOST_POINTS = 10**8
MOST_TIMESTEPS = 10**5
MOST_STEPS = 10**9  # of a training
MOST_CHANNELS = 8192
MOST_LAYERS = 64
MOST_CLASSES = 10**6
MOST_SEED = 2**53  # which every JSON reader keeps exact
MOST_WEIGHT = 10**9  # of a term of a loss
MOST_SCALE = 10**6  # of guidance, either way
MOST_DOMAINS = 10000
MOST_SHOWN = 200  # characters of a value in a message
TIMEOUT = 600  # seconds
TOLD_MOST = 10**6  # a bound beyond it is not worth a word in --help


def option(default: Any, help: str, choices: Sequence[Any] | None = None,  # `help` is argparse's word for it
           aliases: Sequence[str] = (), path: str = "", least: float | None = None, most: float | None = None,
           above: float | None = None, below: float | None = None) -> Any:
    """Return a dataclass field that becomes one command-line option.

    Args:
        choices: the values it may have, where the set is closed.
        aliases: other names that it goes by.
        path: "one" where the value is a path, "many" where it is a list of FOLDER or NAME=FOLDER with commas, else "".
        least, most, above, below: bounds of a number, the last two outside what it may be; see `Checked`.
    """
    bounds = {name: bound for name, bound in (("least", least), ("most", most), ("above", above), ("below", below))
              if bound is not None}
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "aliases": tuple(aliases),
                                                        "path": path, "bounds": bounds})


@dataclasses.dataclass(frozen=True)
class Checked:
    """A configuration whose numbers are finite and within the bounds of their fields, and whose choices are known.

    A subclass with checks of its own calls this one's __post_init__ first.

    Raises:
        UserError: a value that is not.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            choices = field.metadata.get("choices")
            if choices:
                expect(value in choices, field.name, value, f"one of {', '.join(map(str, choices))}")
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                expect(isinstance(value, int) or math.isfinite(value), field.name, value, "a finite number")
                _expect_within(field.name, value, **field.metadata.get("bounds", {}))


def _expect_within(name, value, least=-math.inf, most=math.inf, above=-math.inf, below=math.inf):
    expect(value >= least, name, value, f"{least} or more")
    expect(value > above, name, value, f"a number above {above}")
    expect(value < below, name, value, f"a number below {below}")
    expect(value <= most, name, value, f"{most} or less")


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
    return option(MAX_PIXELS, "most pixels of an image; a larger one is refused before it is decoded",
                  least=1, most=10**10)


def estimate_option() -> Any:
    """Return the field of the option --estimate of commands that make or measure images."""
    return option(False, "measure a few network evaluations, print what the command will take (time, memory, disk) and "
                         "stop; nothing is written")


def threads_option() -> Any:
    """Return the field of the option --threads, the same in every command."""
    return option(0, "CPU threads of each process; 0: as OMP_NUM_THREADS says, else as many as there are free cores",
                  least=0, most=1024)


def timeout_option() -> Any:
    """Return the field of the option --timeout, the same in every command that may run in several processes."""
    return option(TIMEOUT, "of several processes: seconds after which they end where one gives no sign or doesn't come "
                           "to a step; the death of one ends the others at once", least=1, most=7 * 86400)


def seed_option(help: str) -> Any:  # `help` as in `option`
    """Return the field of the option --seed; `help` says what it decides."""
    return option(0, help, least=0, most=MOST_SEED)


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
        raise UserError(f"--{name} is {shown_value(value)}, expected {expected}: change --{name}")


def shown_value(value: object) -> str:
    """Return a value as messages show it: as Python writes it, and cut short where that is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits
        text = f"a very long {type(value).__name__}"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
