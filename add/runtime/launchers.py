"""What started this process, and whether it is the first of several: read from the environment that launchers set."""
import os
from collections.abc import Mapping

MPI_SIZE_VARIABLES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_SIZE", "MV2_COMM_WORLD_SIZE")
RANK_VARIABLES = {
    "torchrun": ("RANK",),
    "mpi": tuple(name.replace("SIZE", "RANK") for name in MPI_SIZE_VARIABLES),
    "slurm": ("SLURM_PROCID",),
}


def launcher(environ: Mapping[str, str] = os.environ) -> str:
    """Return what started this process: "torchrun", "mpi", "slurm" or "single".

    Slurm counts where srun started this very process, which SLURM_STEP_NUM_TASKS tells: a batch script and an
    allocation's shell see SLURM_NTASKS too, but run once. An mpiexec inside Slurm names a size of its own.
    """
    if {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= environ.keys():
        return "torchrun"
    size, tasks = mpi_size(environ), int(environ.get("SLURM_STEP_NUM_TASKS", 1))
    if tasks > 1 and "SLURM_PROCID" in environ and size in (1, tasks):
        return "slurm"
    return "mpi" if size > 1 else "single"


def mpi_size(environ: Mapping[str, str]) -> int:
    """Return the number of processes that an MPI launcher says it started, else 1."""
    return max(int(environ.get(name, 1)) for name in MPI_SIZE_VARIABLES)


def is_first(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether this process is the only one or the first of those that a launcher started."""
    names = RANK_VARIABLES.get(launcher(environ), ())
    return next((environ[name] for name in names if name in environ), "0") == "0"
