import platform
import subprocess
import sys

import pytest

from add.training import loop
from tests.training.runs import start

COUNT_FAULTS = """
import resource, sys, torch
from add.training.loop import keep_freed_memory
assert sys.argv[1] == "False" or keep_freed_memory()
torch.set_num_threads(1)
torch.ones(2**24)  # 64 MiB: glibc maps blocks above 32 MiB anew each time unless told otherwise
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_not_mapped_anew():
    def count_faults(keep):
        command = [sys.executable, "-c", COUNT_FAULTS, str(keep)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    without = count_faults(False)  # mostly 0 with it; in some address layouts most blocks are mapped anew
    assert any(count_faults(True) < 0.75 * without for _ in range(4))


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_another_allocator_is_left_alone(monkeypatch, error):
    def no_library(name):
        raise error

    monkeypatch.setattr(loop.ctypes, "CDLL", no_library)
    assert not loop.keep_freed_memory()


def test_a_run_keeps_freed_memory(tmp_path, images, monkeypatch):
    calls = []
    monkeypatch.setattr("add.training.loop.keep_freed_memory", lambda: calls.append(True))
    start(tmp_path / "run", images, max_steps=1).run()
    assert calls == [True]
