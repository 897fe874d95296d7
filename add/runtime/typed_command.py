"""The command that runs, as it was typed: for records that say how to repeat it."""
import contextlib
import contextvars
import shlex
from collections.abc import Iterator, Sequence

# This module imports nothing that is slow to load: `add --help` goes through it.
_TYPED: contextvars.ContextVar[str] = contextvars.ContextVar("typed", default="")


@contextlib.contextmanager
def typed_as(name: str, words: Sequence[str]) -> Iterator[None]:
    """Let `command_facts` tell the command NAME with these words, quoted for a shell, while the context lasts."""
    token = _TYPED.set(shlex.join(["add", name, *words]))
    try:
        yield
    finally:
        _TYPED.reset(token)


def command_facts() -> dict[str, str]:
    """Return {"command": the command that runs}, or {} where a program called functions of the package."""
    return {"command": _TYPED.get()} if _TYPED.get() else {}
