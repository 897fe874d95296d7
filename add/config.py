"""Fields of configuration dataclasses: a default, its help text and, where the set is closed, its choices."""
import dataclasses


def option(default, help, choices=None):  # `help` is argparse's word for it
    """Return a dataclass field that becomes one command-line option."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices})
