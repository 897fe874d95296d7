"""Two processes with batch b do what one does with batch 2b, under each launcher."""
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
LAUNCHERS = {
    "torchrun": [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"],
    "mpiexec": [MPIEXEC, "-n", "2", sys.executable, "-m"],
}
needs_launcher = pytest.mark.parametrize("launcher", [
    "torchrun", pytest.param("mpiexec", marks=pytest.mark.skipif(MPIEXEC is None, reason="mpiexec is not installed"))])


def start(command, *args, environ=None):
    """Start the program of `processes` by a launcher's command and return its Popen."""
    root = Path(__file__).resolve().parents[2]
    environ = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"} | (environ or {})
    return subprocess.Popen([*command, "tests.training.processes", *map(str, args)], cwd=root, env=environ,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def launch(command, *args):
    """Return (exit status, errors) of the program when it has ended."""
    process = start(command, *args)
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def slurm_variables():
    """Return for each of two processes the variables that srun sets; no Slurm is here."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    srun = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "localhost", "SLURM_JOB_ID": "1", "MASTER_PORT": port}
    return [srun | {"SLURM_PROCID": rank, "SLURM_LOCALID": rank} for rank in "01"]


def start_under_slurm(*args):
    return [start([sys.executable, "-m"], *args, environ=variables) for variables in slurm_variables()]


@pytest.fixture(scope="module")
def alone(tmp_path_factory, images):
    out = tmp_path_factory.mktemp("alone")
    status, errors = launch([sys.executable, "-m"], out, images, 6)
    assert status == 0, errors
    return torch.load(out / "result.pt")


@needs_launcher
def test_two_processes_do_what_one_does_and_an_error_in_one_ends_both(tmp_path, images, alone, launcher):
    status, errors = launch(LAUNCHERS[launcher], tmp_path, images, 3, "fail")
    result = torch.load(tmp_path / "result.pt")
    assert (alone["size"], result["size"]) == (1, 2) and alone["gradient"].abs().max() > 1e-2
    torch.testing.assert_close(result["gradient"], alone["gradient"], rtol=1e-5, atol=1e-6)
    apart = (result["weights"] - alone["weights"]).abs()
    assert apart.mean() < 1e-6 and apart.median() < 1e-7  # Adam enlarges the rounding of gradients near zero
    assert (tmp_path / "run" / "model000004.pt").exists()
    assert status != 0 and errors.count("error: process 1 of 2 has had enough") == 1 and "Warning" not in errors
    if launcher == "mpiexec":  # torchrun reports failures with a traceback of its own
        assert "Traceback" not in errors


def test_two_processes_under_slurms_variables(tmp_path, images, alone):
    for process in start_under_slurm(tmp_path, images, 3):
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    result = torch.load(tmp_path / "result.pt")
    assert result["size"] == 2
    torch.testing.assert_close(result["gradient"], alone["gradient"], rtol=1e-5, atol=1e-6)


@needs_launcher
def test_what_a_user_can_cause_is_said_once(tmp_path, launcher):
    status, errors = launch(LAUNCHERS[launcher], tmp_path, tmp_path / "nowhere", 3)
    assert status != 0 and errors.count("does not exist: expected a folder of images") == 1
    if launcher == "mpiexec":
        assert status == 2 and errors.count("\n") == 1


def test_processes_that_see_different_images_are_told_so_once(tmp_path, images):
    processes = start_under_slurm(tmp_path, images, 3, "disagree")
    errors = "".join(process.communicate(timeout=120)[1] for process in processes)
    assert [process.returncode for process in processes] == [2, 2]
    assert errors.count("the processes see different source images") == 1
    assert 'process 1: ["seen by 1.png"]' in errors and not (tmp_path / "run").exists()
