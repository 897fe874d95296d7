"""How a command ends: its status, and what is said in place of a traceback."""
import os
import subprocess
import sys

import pytest
import torch

from add.errors import UserError, shortage
from add.runtime import exit_status


def raising(error):
    def main():
        raise error
    return main


def in_a_process(code, **settings):
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PMI", "OMPI", "RANK"))}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False,
                          env=environ | settings)


@pytest.mark.parametrize("error, status, message", [
    (UserError("that won't do"), 2, "error: that won't do\n"),
    (PermissionError(13, "Permission denied", "/root/x"), 2, "/root/x: Permission denied; check the path"),
    (OSError(28, "No space left on device"), 2, "error: No space left on device; check"),
    (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), 2,
     "(CUDA out of memory): lower --batch_size, or in training --microbatch"),
    (KeyboardInterrupt(), 130, "stopped by Ctrl-C; the same command goes on"),
    (PermissionError(13, "Permission denied"), 2, "error: Permission denied; check"),
    (OSError(24, "Too many open files", "a.png"), 2, "error: too many open files: end other programs, or raise"),
    (OSError(24, "Too many open files"), 2, "error: too many open files: end other programs, or raise"),
    (OSError(12, "Cannot allocate memory", "a.png"), 2, "error: out of memory: lower --batch_size"),
    (BlockingIOError(11, "Resource temporarily unavailable"), 2, "error: no more threads are to be had: lower"),
    (MemoryError(), 2, "error: out of memory: lower --batch_size, or in training --microbatch"),
    (RuntimeError("can't start new thread"), 2, "error: no more threads are to be had: lower --threads"),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
                  "tried to allocate 400 bytes. Error code 12 (Cannot allocate memory)"), 2, "error: out of memory: "),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried to "
                  "allocate 400 bytes."), 2, "error: out of memory: lower"),
])
def test_what_a_user_can_cause_ends_with_one_message(capsys, error, status, message):
    assert exit_status.run(raising(error)) == status
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError(9, "Bad file descriptor"), ValueError("a bug"),
                                   BlockingIOError(11, "write could not complete without blocking")])
def test_bugs_keep_their_traceback(error):
    with pytest.raises(type(error)):
        exit_status.run(raising(error))


def test_torchs_own_words_for_too_little_memory_are_known():
    with pytest.raises(RuntimeError) as error:
        torch.empty(10**15)
    assert str(shortage(error.value)).startswith("out of memory: lower")


def test_a_good_end_is_status_0():
    assert exit_status.run(lambda: None) == 0


def test_a_lost_peer_prints_no_cpp_stack(monkeypatch):
    monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", "")
    monkeypatch.delenv("TORCH_CPP_LOG_LEVEL")
    exit_status.run(lambda: None)
    assert os.environ["TORCH_CPP_LOG_LEVEL"] == "ERROR"


def test_a_reader_that_goes_away_leaves_no_traceback():
    code = ("import os, sys\nfrom add.runtime import exit_status\nread, write = os.pipe()\nos.close(read)\n"
            "os.dup2(write, 1)\nsys.exit(exit_status.run(lambda: {}))")
    for main in ("print('a')", "print('a', flush=True)", "sys.exit(print('a'))"):
        done = in_a_process(code.format(main))
        assert (done.returncode, done.stderr) == (141, "")
    done = in_a_process(code.format("os.write(write, b'')") + "\n")  # nothing to write
    assert "Traceback" not in done.stderr


def test_another_broken_pipe_is_a_bug_with_its_traceback():
    with pytest.raises(BrokenPipeError):
        exit_status.run(raising(BrokenPipeError(32, "Broken pipe")))
