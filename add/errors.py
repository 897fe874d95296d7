"""The exception whose message is meant for the user, and what is said where the machine runs short of something."""
import errno

_OUT_OF_MEMORY = "out of memory: lower --batch_size, or in training --microbatch, or end other programs"
_OUT_OF_FILES = "too many open files: end other programs, or raise the limit (ulimit -n)"
_OUT_OF_THREADS = "no more threads are to be had: lower --threads, end other programs, or raise the limit (ulimit -u)"
_BY_NUMBER = {errno.EMFILE: _OUT_OF_FILES, errno.ENFILE: _OUT_OF_FILES, errno.ENOMEM: _OUT_OF_MEMORY}
_BY_WORDS = {"DefaultCPUAllocator": _OUT_OF_MEMORY, "can't start new thread": _OUT_OF_THREADS,
             "Resource temporarily unavailable": _OUT_OF_THREADS}  # of torch, Python and the system


class UserError(ValueError):
    """An error that a user can cause and mend.

    The message says what was given, what was expected and what to do; scripts print it alone, without a
    traceback, and end with exit status 2.
    """


def shortage(error: BaseException) -> str | None:
    """Return what this machine has too little of and what to do, where an error says so, else None.

    Such an error says nothing of the file or the option at hand: with more memory the same would have gone well.
    """
    if isinstance(error, MemoryError):
        return _OUT_OF_MEMORY
    if not isinstance(error, (OSError, RuntimeError)):
        return None
    if type(error).__name__ == "OutOfMemoryError":  # torch's, by name: options need no torch
        return (f"out of memory on the GPU ({str(error).split('. ')[0]}): lower --batch_size, or in training "
                f"--microbatch, or use a larger GPU")
    if isinstance(error, OSError) and error.errno in _BY_NUMBER:
        return _BY_NUMBER[error.errno]
    return next((said for words, said in _BY_WORDS.items() if words in str(error)), None)
