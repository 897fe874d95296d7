"""Start of a run in one process or many: launchers (MPI, torchrun, Slurm), devices, threads and signals.

The launcher is read from the environment that it sets. MPI is imported only under an MPI launcher. Each local
rank takes one GPU by index; CUDA_VISIBLE_DEVICES is left as the user or the scheduler set it.
"""
import contextlib
import importlib.util
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from add.config import TIMEOUT
from add.errors import UserError
from add.runtime.launchers import launcher, mpi_size
from add.runtime.machine import Threads, choose_threads
from add.runtime.peer_watch import FAILED, LOST_STATUS, PATIENCE, UNMET, end, watch_over
from add.runtime.world import World, check_own_gpus

RESTARTS = "TORCHELASTIC_RESTART_COUNT"  # which torchrun sets
WAITING_TIMEOUT = timedelta(days=7)  # of waiting for a process that has more to do
MAX_THREADS = 1024
STOPPING = {signal.SIGINT: "\nstopping after this step and saving; Ctrl-C again stops at once without saving\n",
            signal.SIGTERM: "\nstopping after this step and saving\n"}
if hasattr(signal, "SIGHUP"):  # Windows has none
    STOPPING[signal.SIGHUP] = STOPPING[signal.SIGTERM]
OUTPUTS = (1, 2)  # descriptors
_COMMUNICATION = re.compile("gloo|nccl|DistNetwork|DistStore|ProcessGroup|TCPStore", re.IGNORECASE)  # in torch's errors


@dataclass(frozen=True)
class Rendezvous:
    """The rank of a process among the others, and the address at which they meet."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str
    port: int


def first_slurm_host(nodelist: str) -> str:
    """Return the first host name of a Slurm node list such as `gpu[03-05,9],cpu1`."""
    first = re.sub(r"\[(\w+)[^\]]*\]", r"\1", nodelist).split(",")[0]
    if not re.fullmatch(r"[\w.-]+", first):
        raise UserError(f"SLURM_STEP_NODELIST is '{nodelist}', expected host names such as gpu[03-05]: set MASTER_ADDR")
    return first


def rendezvous(kind: str, environ: Mapping[str, str] = os.environ) -> Rendezvous:
    """Return the Rendezvous of this process under launcher `kind`."""
    if kind == "torchrun":
        size = int(environ["WORLD_SIZE"])
        return Rendezvous(int(environ["RANK"]), size, int(environ.get("LOCAL_RANK", 0)),
                          int(environ.get("LOCAL_WORLD_SIZE", size)),
                          environ["MASTER_ADDR"], int(environ["MASTER_PORT"]))
    if kind == "slurm":
        size = int(environ["SLURM_STEP_NUM_TASKS"])
        nodes = environ.get("SLURM_STEP_NODELIST") or environ["SLURM_JOB_NODELIST"]
        step = int(environ.get("SLURM_JOB_ID", 0)) + int(environ.get("SLURM_STEP_ID", 0))
        local_size = int(re.split(r"\D", environ.get("SLURM_STEP_TASKS_PER_NODE", str(size)))[0])  # such as 4(x2),3
        return Rendezvous(int(environ["SLURM_PROCID"]), size, int(environ.get("SLURM_LOCALID", 0)), local_size,
                          environ.get("MASTER_ADDR") or first_slurm_host(nodes),
                          int(environ.get("MASTER_PORT", 20000 + step % 20000)))
    return _mpi_rendezvous(mpi_size(environ))


def _mpi_rendezvous(expected_size):
    try:
        import mpi4py

        mpi4py.rc.finalize = False  # a failing process would wait there for the others; see _end_mpi
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f"started by an MPI launcher, but mpi4py does not load ({str(error).splitlines()[0]}): expected mpi4py and "
            f"an MPI library; {mpi_remedy()}, or start with torchrun") from error
    world = MPI.COMM_WORLD
    if world.Get_size() != expected_size:
        raise UserError(f"the MPI launcher started {expected_size} processes, but mpi4py sees {world.Get_size()}: "
                        f"expected one MPI for both; start with the mpiexec of the MPI that mpi4py uses "
                        f"({MPI.Get_library_version().splitlines()[0]}), or with torchrun")
    node = world.Split_type(MPI.COMM_TYPE_SHARED)
    one_node = node.Get_size() == world.Get_size()
    offer = ("127.0.0.1" if one_node else socket.getfqdn(), _free_port()) if world.Get_rank() == 0 else None
    address, port = world.bcast(offer, root=0)
    return Rendezvous(world.Get_rank(), world.Get_size(), node.Get_rank(), node.Get_size(), address, port)


def mpi_remedy() -> str:
    """Return the command that brings what MPI lacks here: the package mpi4py, or an MPI library for it."""
    return "pip install mpich" if importlib.util.find_spec("mpi4py") else "pip install mpi4py mpich"


def _free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def process_group(device: str = "auto", threads: int = 0, timeout: float = TIMEOUT) -> Iterator[World]:
    """Give the `World` of this process, with torch.distributed started where there are several.

    An error ends all processes, and only the one that met it first reports it. Where a process dies or stops, the
    others end at once or after `timeout`, see `peer_watch`: this process then ends here, with LOST_STATUS.

    Args:
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "mps".
        threads: CPU threads of this process; 0: see `set_threads`.
        timeout: seconds that the processes wait for one that gives no sign, or that doesn't come to a step of theirs.
    """
    kind = launcher()
    if kind == "single":
        chosen = pick_device(device)
        yield World(device=chosen, threads=str(set_threads(threads)))
        return
    here = rendezvous(kind)
    with _one_voice_per_machine(here.local_rank):
        chosen = pick_device(device, here.local_rank, here.local_size)
        used = str(set_threads(threads, here.local_size))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    _meet(kind, here, chosen, timeout)
    together, watch = True, None
    try:
        world = _connected_world(here, chosen, used, timeout)
        watch = watch_over(world, here.address, timeout)
        yield world
    except BaseException as error:
        first, together = _report_failure(error, here.size, watch, timeout)
        if not first:
            raise SystemExit(2) from error
        raise
    finally:
        if together:
            dist.destroy_process_group()
            _end_mpi(kind)
            if watch is not None:
                watch.close()


def _meet(kind, here, device, timeout):
    """Start torch.distributed; raises UserError where the others don't come in time.

    torchrun keeps one store for all its restarts: each gets names of its own there, else it would take the addresses
    of processes that are dead.
    """
    method = "env://" if kind == "torchrun" else f"tcp://{here.address}:{here.port}"
    wait = timedelta(seconds=timeout)
    try:
        store, _, _ = next(dist.rendezvous(method, here.rank, here.size, timeout=wait))
        own = dist.PrefixStore(f"start {os.environ.get(RESTARTS, 0)}", store)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=own, rank=here.rank,
                                world_size=here.size, timeout=wait)
    except RuntimeError as error:
        if not _is_of_communication(error):
            raise
        raise UserError(f"process {here.rank} of {here.size} (counted from 0) has not met all others at "
                        f"{here.address}, port {here.port}, within {timeout:g} seconds (--timeout; "
                        f"{_first_line(error)}): expected all of them there; see whether each has started, or raise "
                        f"--timeout") from error


def _connected_world(here, device, threads, timeout):
    """Return the World of a process in the group; raises UserError where processes share a GPU."""
    group = dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout))  # to connect
    dist.distributed_c10d._set_pg_timeout(WAITING_TIMEOUT, group)
    world = World(here.rank, here.size, here.local_rank, here.local_size, device, group, threads)
    if device.type == "cuda":
        gpu = getattr(torch.cuda.get_device_properties(device), "uuid", device.index)
        check_own_gpus(world.gather((socket.gethostname(), str(gpu))))
    return world


def _report_failure(error, size, watch, timeout):
    """Return (whether this process should report its error, whether all have failed by now).

    What comes of the loss of another process is no news: this process ends here, with what its watch says, or, where
    that knows of none, with what can be said.
    """
    lost = _is_of_communication(error)
    if watch is not None:
        watch.end_if_lost(PATIENCE if lost else 0)
    first, together = _count_failure(error, size)
    if watch is not None:
        watch.close(UNMET if lost else FAILED)  # the others end soon, and a launcher may end this process then
    if lost:
        if first:
            print(f"error: the processes lost each other ({_first_line(error)}): expected all of them at each step "
                  f"within {timeout:g} seconds (--timeout); one is stuck, slow or gone: see to its machine, or raise "
                  f"--timeout; the same command goes on", file=sys.stderr)
        end(LOST_STATUS)
    return first, together


def _count_failure(error, size):
    """Return (whether this process is the first that failed, whether all have failed by now)."""
    try:
        store = dist.distributed_c10d._get_default_store()
        first = store.add("failures", 1) == 1
        deadline = time.monotonic() + PATIENCE
        while (failures := store.add("failures", 0)) < size and time.monotonic() < deadline:
            time.sleep(0.02)
        return first, failures == size
    except (RuntimeError, ValueError):  # the store went with the main process; what follows from that is no news
        return isinstance(error, UserError), False


def _is_of_communication(error):
    """Return whether an error is torch.distributed's, of a process that is gone or doesn't come."""
    return isinstance(error, RuntimeError) and bool(_COMMUNICATION.search(f"{type(error).__name__} {error}"))


def _first_line(error):
    """Return what an error of torch says, without the place in its source."""
    return re.sub(r"\[\S*/[^\]]*\] ?", "", str(error).splitlines()[0])[:120]


def _end_mpi(kind):
    """Leave MPI. A process that failed alone doesn't come here, and its launcher ends the others."""
    if kind == "mpi":
        from mpi4py import MPI

        MPI.Finalize()


@contextlib.contextmanager
def _one_voice_per_machine(local_rank):
    try:
        yield
    except UserError as error:
        if local_rank:
            raise SystemExit(2) from error
        raise


def pick_device(name: str, local_rank: int = 0, local_size: int = 1) -> torch.device:
    """Return the device of a local rank; `name` is one of add.config.DEVICES.

    "auto" is an NVIDIA or AMD GPU where torch sees one, else Apple's (mps), else the CPU.

    Raises:
        UserError: a GPU is asked for and there is none, or there are too few. One visible GPU is right for any
            number of processes, as Slurm can show each process a GPU of its own.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if _has_mps() and local_size == 1 else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    if name == "mps":
        return _mps(local_size)
    if not torch.cuda.is_available():
        raise UserError(f"--device {name} was given, but torch {torch.__version__} sees no GPU: expected one; "
                        f"use --device cpu, or install a torch build for the GPU")
    count = torch.cuda.device_count()
    if 1 < count < local_size:
        raise UserError(f"{local_size} processes on this machine, but {count} GPUs: expected one GPU for each; start "
                        f"{count} processes")
    return torch.device("cuda", local_rank % count)


def _has_mps():
    return torch.backends.mps.is_available()


def _mps(local_size):
    if not _has_mps():
        raise UserError(f"--device mps was given, but torch {torch.__version__} sees no Apple GPU: expected a Mac with "
                        f"one; use --device cpu")
    if local_size > 1:
        raise UserError(f"--device mps was given to {local_size} processes, and a Mac has one GPU: expected one "
                        f"process; start it without a launcher, or use --device cpu")
    return torch.device("mps")


def set_threads(given: int = 0, local_size: int = 1) -> Threads:
    """Set torch's CPU threads and return them: those given, else OMP_NUM_THREADS, else by the cores that are free.

    Raises:
        UserError: a number of threads that can't be meant.
    """
    if not 0 <= given <= MAX_THREADS:
        raise UserError(f"--threads is {given}, expected 0 to {MAX_THREADS}: give about the number of cores, or 0 "
                        f"to take those that are free")
    chosen = choose_threads(given, torch.get_num_threads(), local_size)
    torch.set_num_threads(chosen.number)
    return chosen


class StopAsked:
    """Whether a signal asked for a stop, as asked(); `number` is that of the first one, or 0."""

    number = 0

    def __call__(self) -> bool:
        """Return whether a stop was asked for."""
        return self.number > 0


@contextlib.contextmanager
def stop_on_signal(silent: bool = False) -> Iterator[StopAsked]:
    """Give what tells whether Ctrl-C, SIGTERM or SIGHUP came; a second Ctrl-C interrupts at once.

    The first signal is answered at once on stderr, unless `silent`: a step may take long. SIGHUP stays ignored where
    it was, as nohup has it. Where it came because the terminal is gone, nothing more is said there.
    """
    asked = StopAsked()
    terminals = [output for output in OUTPUTS if os.isatty(output)]

    def note(number, frame):
        if asked.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        _leave_lost(terminals)
        if not asked.number and not silent:
            with contextlib.suppress(OSError):
                os.write(2, STOPPING[number].encode())  # print could meet itself half-way through a line
        asked.number = asked.number or number

    stopping = [number for number in STOPPING
                if number in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(number) != signal.SIG_IGN]
    previous = {number: signal.signal(number, note) for number in stopping}
    try:
        yield asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _leave_lost(terminals):
    """Let outputs whose terminal is gone lead nowhere: a failing write would end the work before it is saved."""
    for output in terminals:
        if not os.isatty(output):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, output)
            os.close(nowhere)
