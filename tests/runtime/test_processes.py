import os
import pty
import signal
import subprocess
import sys

import pytest
import torch

from add.errors import UserError
from add.runtime.processes import (
    Rendezvous,
    first_slurm_host,
    launcher,
    pick_device,
    process_group,
    rendezvous,
    stop_on_signal,
)

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "node1",
            "MASTER_PORT": "29500"}
SRUN = {"SLURM_JOB_ID": "70001", "SLURM_STEP_ID": "2", "SLURM_NTASKS": "5", "SLURM_STEP_NUM_TASKS": "5",
        "SLURM_PROCID": "4", "SLURM_LOCALID": "1", "SLURM_STEP_NODELIST": "gpu[03-04]",
        "SLURM_STEP_TASKS_PER_NODE": "3,2", "SLURM_JOB_NODELIST": "cpu1,gpu[03-04]"}


@pytest.mark.parametrize("environ, expected", [
    ({}, "single"),
    ({"PMI_SIZE": "1", "PMI_RANK": "0"}, "single"),
    ({"PMI_SIZE": "2", "PMI_RANK": "0"}, "mpi"),
    ({"OMPI_COMM_WORLD_SIZE": "2"}, "mpi"),
    ({"RANK": "0"}, "single"),
    (TORCHRUN, "torchrun"),
    (TORCHRUN | SRUN, "torchrun"),  # torchrun started by srun
    (SRUN, "slurm"),
    (SRUN | {"PMI_SIZE": "5"}, "slurm"),  # srun --mpi=pmi2
    (SRUN | {"PMI_SIZE": "8"}, "mpi"),  # mpiexec, which srun started once per node
    ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, "single"),  # a batch script runs once
    ({"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, "single"),
])
def test_the_launcher_is_read_from_its_variables(environ, expected):
    assert launcher(environ) == expected


def test_torchrun_variables():
    assert rendezvous("torchrun", TORCHRUN) == Rendezvous(3, 4, 1, 2, "node1", 29500)


def test_slurm_variables():
    assert rendezvous("slurm", SRUN) == Rendezvous(4, 5, 1, 3, "gpu03", 20000 + 70003 % 20000)
    own = SRUN | {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "1234"}
    assert rendezvous("slurm", own) == Rendezvous(4, 5, 1, 3, "10.0.0.1", 1234)
    older = {name: value for name, value in SRUN.items() if name != "SLURM_STEP_NODELIST"}
    assert rendezvous("slurm", older).address == "cpu1"


@pytest.mark.parametrize("nodes, first", [
    ("node7", "node7"), ("gpu[03-05,9],cpu1", "gpu03"), ("cpu1,gpu[03-05]", "cpu1"), ("n-1-[3,5]", "n-1-3"),
    ("rack[0-3]node[1-4]", "rack0node1"), ("a.cluster.org", "a.cluster.org"),
])
def test_first_slurm_host(nodes, first):
    assert first_slurm_host(nodes) == first


def test_a_strange_node_list_is_refused():
    with pytest.raises(UserError, match="set MASTER_ADDR"):
        first_slurm_host("")


def fake_gpus(monkeypatch, count):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_without_a_gpu(monkeypatch):
    fake_gpus(monkeypatch, 0)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="--device cuda was given.*sees no GPU.*use --device cpu"):
        pick_device("cuda")


def test_each_local_rank_takes_its_gpu(monkeypatch):
    fake_gpus(monkeypatch, 4)
    assert [pick_device("auto", rank, 4).index for rank in range(4)] == [0, 1, 2, 3]
    assert pick_device("cpu", 1, 4) == torch.device("cpu")
    with pytest.raises(UserError, match="5 processes on this machine, but 4 GPUs"):
        pick_device("auto", 0, 5)
    fake_gpus(monkeypatch, 1)  # Slurm shows each process its own GPU as number 0
    assert pick_device("cuda", 3, 4) == torch.device("cuda", 0)


def test_one_process_needs_no_group(monkeypatch):
    for name in (*TORCHRUN, *SRUN):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PMI_SIZE", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    with process_group("cpu") as world:
        assert (world.rank, world.size, world.is_main, world.device.type) == (0, 1, True, "cpu")
        assert not torch.distributed.is_initialized()
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"
    with pytest.raises(UserError, match="mine"), process_group("cpu"):
        raise UserError("mine")


def test_threads_are_set(monkeypatch):
    before = torch.get_num_threads()
    try:
        with process_group("cpu", threads=before + 1):
            assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [-1, 100_000_000])
def test_a_senseless_number_of_threads_is_refused(threads):
    with pytest.raises(UserError, match=f"--threads is {threads}, expected 0 to 1024"), process_group("cpu", threads):
        pass


def test_mpi_is_not_imported_without_its_launcher():
    code = ("import sys\nfrom add.runtime.processes import process_group\n"
            "with process_group('cpu'): pass\nsys.exit('mpi4py' in sys.modules)")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PMI", "SLURM", "OMPI"))}
    assert subprocess.run([sys.executable, "-c", code], env=environ, check=False).returncode == 0


def test_an_mpi_that_is_not_the_launchers_is_refused(monkeypatch):
    """Otherwise every process would take itself for the only one, and all would write to one folder."""
    pytest.importorskip("mpi4py")
    code = ("import sys\nfrom add.runtime import exit_status, processes\n"
            "sys.exit(exit_status.run(lambda: processes.rendezvous('mpi', {'OMPI_COMM_WORLD_SIZE': '2'})))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if "does not load" in done.stderr:
        pytest.skip("mpi4py finds no MPI")
    assert done.returncode == 2 and "started 2 processes, but mpi4py sees 1" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_asks_to_stop_and_handlers_come_back(number):
    inherited = signal.signal(number, signal.default_int_handler)  # nohup hands down that a hangup is ignored
    try:
        with stop_on_signal() as should_stop:
            assert not should_stop()
            os.kill(os.getpid(), number)
            assert should_stop()
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, inherited)


def test_a_second_interrupt_does_not_wait():
    before = signal.getsignal(signal.SIGINT)  # a shell's background job ignores it
    with pytest.raises(KeyboardInterrupt), stop_on_signal():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_hangup_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signal() as should_stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not should_stop() and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_goes_away_does_not_end_the_work_before_it_is_saved(tmp_path):
    code = ("import os, signal, sys, time\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
            "from add.runtime.processes import stop_on_signal\n"
            "with stop_on_signal() as asked:\n    print('begun', flush=True)\n"
            "    while not asked():\n        time.sleep(0.01)\n"
            "    print('told', flush=True)\n    print('told', file=sys.stderr, flush=True)\n"
            "open(sys.argv[1], 'w').write(str(asked.number))\nsys.exit(128 + asked.number)")
    process, terminal = pty.fork()
    if process == 0:
        os.execv(sys.executable, [sys.executable, "-c", code, str(tmp_path / "saved")])
    while b"begun" not in os.read(terminal, 100):
        pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 129
    assert (tmp_path / "saved").read_text() == str(int(signal.SIGHUP))


def test_an_apple_gpu_is_taken_where_there_is_no_other(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    fake_gpus(monkeypatch, 0)
    assert pick_device("auto") == pick_device("mps") == torch.device("mps") and pick_device("cpu").type == "cpu"
    assert pick_device("auto", 1, 2).type == "cpu"  # of several processes one alone could have it
    with pytest.raises(UserError, match="--device mps was given to 2 processes"):
        pick_device("mps", 0, 2)
    fake_gpus(monkeypatch, 1)
    assert pick_device("auto").type == "cuda"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match="--device mps was given.*sees no Apple GPU"):
        pick_device("mps")


def test_a_run_says_what_it_runs_on_and_why(monkeypatch):
    for name in (*TORCHRUN, *SRUN, "PMI_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with process_group("cpu") as world:
        assert world.place == "cpu, 1 process(es), 1 thread (as OMP_NUM_THREADS says)"


def test_mpi_that_lacks_its_library_is_told_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)
    pytest.importorskip("mpi4py")
    monkeypatch.delattr("mpi4py.MPI", raising=False)
    with pytest.raises(UserError, match="expected mpi4py and an MPI library; pip install mpich, or start with torch"):
        rendezvous("mpi", {"PMI_SIZE": "2"})
