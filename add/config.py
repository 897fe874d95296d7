"""Fields of configuration dataclasses: a default, its help text and, where the set is closed, its choices."""
import dataclasses

from add.errors import UserError


def option(default, help, choices=None):  # `help` is argparse's word for it
    """Return a dataclass field that becomes one command-line option."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices})


def expect(condition, name, value, expected):
    """Raise UserError unless an option's value is as expected."""
    if not condition:
        raise UserError(f"{name} is {value!r}, expected {expected}: change --{name}")


def expect_at_least(config, **least):
    """Raise UserError where an option of a config is smaller than the number given for it."""
    for name, number in least.items():
        if getattr(config, name) < number:
            raise UserError(f"--{name} is {getattr(config, name)}, expected {number} or more")
