"""Memory that a training step frees is kept for the next step instead of going back to the system."""
import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
WHOLE_HEAP = 2**31 - 1  # bytes, the largest number that mallopt takes


def keep_freed_memory():
    """Let this process's allocator keep what is freed; return whether it was glibc's and did.

    By default glibc hands large blocks back and has the kernel zero and map them anew at the next step: in a step of
    the embedded network on a CPU some 50000 page faults, 9 % of its time. Other allocators are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return False
    return all([mallopt(M_MMAP_THRESHOLD, WHOLE_HEAP), mallopt(M_TRIM_THRESHOLD, WHOLE_HEAP)])
