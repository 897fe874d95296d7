"""One of two processes in training dies or stops: the other ends in time with one sentence, and a restart goes on."""
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.commands.commands import run
from tests.training.test_processes import LAUNCHERS, slurm_variables

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ["--image_size", 16, "--num_channels", 32, "--num_res_blocks", 1, "--channel_mult", 1,
         "--attention_resolutions", "", "--max_steps", 4, "--save_interval", 1, "--log_interval", 4, "--num_preview", 0,
         "--tensorboard", "False", "--device", "cpu", "--timeout", 8]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def start_two(*words):
    """Return the processes of a program in two ranks, started as srun does."""
    return [subprocess.Popen([sys.executable, "-m", *map(str, words)], cwd=ROOT, stdout=subprocess.DEVNULL,
                             env=ENVIRONMENT | variables, stderr=subprocess.PIPE, text=True)
            for variables in slurm_variables()]


def weights(folder):
    state = torch.load(folder / "model000004.pt")
    return torch.cat([value.flatten() for value in state.values()])


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, images):
    folder = tmp_path_factory.mktemp("unbroken")
    assert run("train", *TRAIN, "--data_dir", images, "--run_dir", folder, "--batch_size", 4) == 0
    return weights(folder)


def test_a_process_that_is_lost_costs_the_steps_since_the_last_save(tmp_path, images, unbroken):
    """The second is stopped at step 2, and the first killed at step 3, where torchrun restarts both."""
    command = ["--data_dir", images, "--run_dir", tmp_path / "run", "--batch_size", 2, *TRAIN]
    ranks = start_two("tests.training.mortal", 1, 2, "SIGSTOP", tmp_path / "stopped", *command)
    _, said = ranks[0].communicate(timeout=60)
    os.kill(ranks[1].pid, signal.SIGCONT)
    _, more = ranks[1].communicate(timeout=30)
    assert [process.returncode for process in ranks] == [75, 75] and more == ""
    assert said.startswith("error: process 1 of 2 (counted from 0") and said.count("\n") == 1
    assert "gave no sign for 8 seconds (--timeout)" in said and "the same command goes on" in said
    assert (tmp_path / "run" / "state000002.pt").exists() and not (tmp_path / "run" / "state000003.pt").exists()

    torchrun = LAUNCHERS["torchrun"]
    done = subprocess.run([*torchrun[:-1], "--max_restarts", "1", "-m", "tests.training.mortal", "0", "3", "SIGKILL",
                           str(tmp_path / "again"), *map(str, command)], cwd=ROOT, env=ENVIRONMENT, timeout=120,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "error: process 0 of 2 (counted from 0" in done.stderr and "Traceback" not in done.stderr
    assert (tmp_path / "again").exists()
    apart = (weights(tmp_path / "run") - unbroken).abs()
    assert apart.mean() < 1e-6 and apart.median() < 1e-7  # of one process with the whole batch, see test_processes
