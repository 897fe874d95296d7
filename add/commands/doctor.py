"""Say what add finds on this machine: versions, devices, cores, MPI, missing packages, folders.

The text is made to be pasted into an issue. The status is 1 where something is broken that every command needs, and the
last lines say what to do.
"""
import dataclasses
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from add import __version__
from add.config import Checked, option
from add.extras import EXTRAS, REQUIRED, install_command, installed_version, missing_of, plain_name
from add.runtime.exit_status import EARLY_SETTINGS
from add.runtime.launchers import launcher
from add.runtime.options import Options

# This module imports nothing else at its top: it must speak where packages are missing or don't load.
IMPORTED = {"pillow": "PIL", "PyYAML": "yaml"}  # packages that are imported by another name
ASKED = ("OMP_NUM_THREADS", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "CUDA_VISIBLE_DEVICES", "PYTORCH_ENABLE_MPS_FALLBACK",
         "SLURM_JOB_ID", "ADD_TRACEBACK")  # variables of the environment that change what a command does
GIB = 2**30
Facts = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class DoctorConfig(Checked):
    """Form of the report."""

    json: bool = option(False, "print JSON in place of text")


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, DoctorConfig)


def main(argv: list[str] | None = None) -> None:
    """Print what is found; the process ends with status 1 where something essential is broken."""
    config = build_options().parse(argv).take(DoctorConfig)
    facts = examine()
    print(json.dumps(facts, indent=2) if config.json else as_text(facts))
    if facts["problems"]:
        raise SystemExit(1)


def examine() -> Facts:
    """Return what is found, as JSON values; "problems" are sentences on what is broken, [] where all is well."""
    problems: list[str] = []
    versions = {"add": __version__, "python": platform.python_version()} | _required(problems)
    facts: Facts = {
        "versions": versions, "system": platform.platform(), "executable": sys.executable,
        "package": str(Path(__file__).resolve().parents[1]),
        "devices": _devices(problems), "processor": _processor(), "mpi": _mpi(),
        "extras": {extra: missing_of(extra) for extra in EXTRAS},
        "folders": {"current": _folder(Path.cwd()), "cache": _folder(_cache_dir())},
        "terminal": sys.stdout.isatty(), "encoding": sys.stdout.encoding,
        "environment": {name: os.environ[name] for name in ASKED
                        if os.environ.get(name, EARLY_SETTINGS.get(name)) != EARLY_SETTINGS.get(name)}}
    _check_embedded(problems)
    return facts | {"problems": problems}


def as_text(facts: Facts) -> str:
    """Return the report of `examine` for a reader."""
    versions, devices, processor, mpi = (facts[name] for name in ("versions", "devices", "processor", "mpi"))
    packages = [f"{name} {version}" for name, version in versions.items() if name not in ("add", "python")]
    lines = [f"add {versions['add']}, Python {versions['python']}, {facts['system']}",
             f"packages: {', '.join(packages)}", f"installed in: {facts['package']}, run by {facts['executable']}",
             f"devices: {_say_devices(devices)}", f"processor: {_say_processor(processor)}", f"MPI: {_say_mpi(mpi)}"]
    for extra, missing in facts["extras"].items():
        lines.append(f"extra {extra}: " + (f"lacks {', '.join(missing)}; {install_command(extra)}"
                                           if missing else "complete"))
    for name, folder in facts["folders"].items():
        lines.append(f"{name} folder: {folder['path']}, {'can' if folder['writable'] else 'CANNOT'} be written, "
                     f"{folder['free_gib']} GiB free")
    lines.append(f"terminal: {'yes' if facts['terminal'] else 'no, the output is piped'}, {facts['encoding']}")
    if facts["environment"]:
        lines.append("environment: " + ", ".join(f"{name}={value}" for name, value in facts["environment"].items()))
    return "\n".join([*lines, *(f"BROKEN: {problem}" for problem in facts["problems"])] if facts["problems"] else
                     [*lines, "all that every command needs is there"])


def _required(problems):
    """Return {package: version or None} of the requirements; adds to `problems` what is missing or doesn't load."""
    found = {}
    for requirement in REQUIRED:
        name = plain_name(requirement)
        found[name] = installed_version(name)
        try:
            importlib.import_module(IMPORTED.get(name, name))
        except Exception as error:  # a library that doesn't fit raises nearly anything
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            problems.append(f"{name} does not load ({reason}): pip install --force-reinstall \"{requirement}\"")
    return found


def _devices(problems):
    try:
        import torch

        gpus = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        found = {"cuda": [{"name": gpu.name, "memory_gib": round(gpu.total_memory / GIB, 1)} for gpu in gpus],
                 "built_for": f"CUDA {torch.version.cuda}" if torch.version.cuda else
                 f"ROCm {torch.version.hip}" if torch.version.hip else None, "mps": torch.backends.mps.is_available()}
    except Exception as error:
        if importlib.util.find_spec("torch"):
            problems.append(f"torch can't tell its devices ({type(error).__name__}: {error}): install another build")
        return {"cuda": [], "built_for": None, "mps": False, "auto": None}
    return found | {"auto": "cuda" if gpus else "mps" if found["mps"] else "cpu"}


def _say_devices(devices):
    names = [f"cuda:{number} {gpu['name']} with {gpu['memory_gib']} GiB" for number, gpu in enumerate(devices["cuda"])]
    names += ["mps"] * devices["mps"] + ["cpu"]
    unseen = f" (torch is built for {devices['built_for']} and sees no GPU)" if (
        devices["built_for"] and not devices["cuda"]) else ""
    return f"{', '.join(names)}{unseen}; --device auto takes {devices['auto']}"


def _processor():
    try:
        import psutil
        import torch

        from add.runtime import machine
    except ImportError:
        return None
    cores, memory = machine.usable_cores(), psutil.virtual_memory()
    threads = machine.choose_threads(0, torch.get_num_threads())
    return {"name": platform.processor() or platform.machine(), "cores": os.cpu_count(), "usable_cores": len(cores),
            "allowed_cores": machine.allowed_cores(cores), "threads": threads.number, "threads_reason": threads.reason,
            "memory_gib": round(memory.total / GIB, 1), "available_gib": round(memory.available / GIB, 1)}


def _say_processor(processor):
    if processor is None:
        return "not known without torch and psutil"
    return (f"{processor['name']}, {processor['allowed_cores']} of {processor['cores']} cores may be used; a command "
            f"takes {processor['threads']} thread(s): {processor['threads_reason']}; memory {processor['memory_gib']} "
            f"GiB, {processor['available_gib']} GiB available")


def _mpi():
    """Return what is known of MPI; its library is loaded without starting it."""
    found: Facts = {"launcher": launcher(), "library": None, "reason": None, "remedy": None,
                    "mpiexec": shutil.which("mpiexec") or shutil.which("mpiexec", path=Path(sys.executable).parent)}
    try:
        import mpi4py

        mpi4py.rc.initialize = mpi4py.rc.finalize = False
        from mpi4py import MPI

        found["library"] = MPI.Get_library_version().strip("\0").splitlines()[0].strip()
    except (ImportError, RuntimeError, OSError) as error:
        found["reason"] = (str(error).splitlines() or [""])[0]
        found["remedy"] = "pip install mpich" if importlib.util.find_spec("mpi4py") else "pip install mpi4py mpich"
    return found


def _say_mpi(mpi):
    library = mpi["library"] or f"no library ({mpi['reason']}); for several processes by mpiexec: {mpi['remedy']}"
    return f"{library}; mpiexec: {mpi['mpiexec'] or 'neither on PATH nor beside Python'}; started by: {mpi['launcher']}"


def _cache_dir():
    try:
        from add.runtime.backends import default_cache_dir
    except ImportError:
        return Path.home()
    return default_cache_dir()


def _folder(path):
    """Return where files can be written, and how many: of a folder that is not there yet, its first parent that is."""
    there = next(folder for folder in (path, *path.parents) if folder.is_dir())
    try:
        with tempfile.TemporaryFile(dir=there):
            writable = True
    except OSError:
        writable = False
    return {"path": str(path), "writable": writable, "free_gib": round(shutil.disk_usage(there).free / GIB, 1)}


def _check_embedded(problems):
    try:
        from add.data import embedded
        from add.training import find_checkpoint

        for domain in embedded.DOMAINS:
            find_checkpoint(embedded.model_dir(domain))
    except ImportError:
        return  # of a requirement, which is told already
    except Exception as error:
        problems.append(f"the embedded models are not there ({error}): install add-diffusion again")
