"""Errors of torch.compile, told in words that a user can act on."""
import contextlib
from collections.abc import Iterator

from add.errors import UserError

COMPILER_MODULES = ("torch._dynamo", "torch._inductor", "triton")


@contextlib.contextmanager
def compiler_errors_explained() -> Iterator[None]:
    """Turn an error of torch.compile, such as a missing C++ compiler, into a UserError; others pass through."""
    try:
        yield
    except Exception as error:
        if not _comes_from_compiler(error):
            raise
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(f"the network can't be compiled ({reason[:200]}): --compile needs a C++ compiler such as g++; "
                        f"install one, or leave out --compile") from error


def _comes_from_compiler(error):
    while error is not None:
        if type(error).__module__.startswith(COMPILER_MODULES):
            return True
        error = error.__cause__
    return False
