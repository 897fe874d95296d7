"""Models that a command's options name: loaded, checked against the options, and described in run.json."""
import dataclasses
import functools
import hashlib
import logging
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from add import __version__
from add.diffusion import GaussianDiffusion
from add.errors import UserError
from add.interfaces import Model, PathLike, Row
from add.networks.precision import check_precision
from add.runtime import machine
from add.runtime.backends import with_backend
from add.runtime.options import Parsed
from add.runtime.typed_command import command_facts
from add.training import LoadedConfig, find_checkpoint, load_model
from add.training.config_differences import EXECUTION, LOSS, SAMPLING, differences

MAY_DIFFER = EXECUTION | SAMPLING | LOSS  # from training; the others decide what the weights mean


def load_given(path: PathLike, parsed: Parsed, device: torch.device, backend: str = "torch", precision: str = "fp32",
               kind: str = "image", **assumed: Any) -> tuple[Model, GaussianDiffusion, LoadedConfig]:
    """Return (network, diffusion, config) of a checkpoint for a command with options of its kind and of diffusion.

    The configuration beside the checkpoint is used; where there is none, the network is recognised by its keys, with
    the options given, and `assumed` in place of defaults. `backend` and `precision` say how the model runs, see
    `with_backend`; `--use_fp16` (of a classifier `--classifier_use_fp16`) is the command's own, too: with it, precision
    "fp32" becomes "fp16" on a GPU.

    Args:
        kind: one of add.networks.KINDS. Any but "image" runs in PyTorch as it is; points in float32.

    Raises:
        UserError: an option was given that contradicts the configuration beside the checkpoint, a network of another
            kind, or the backend can't run it.
    """
    given = {name: parsed.values[name] for name in parsed.given}
    network, diffusion, config = load_model(path, device, timestep_respacing=parsed.timestep_respacing, kind=kind,
                                            given=given, assumed=assumed)
    _refuse_contradictions(parsed, config)
    if kind == "points":
        return network, diffusion, config
    half = "classifier_use_fp16" if kind == "classifier" else "use_fp16"
    if parsed.values[half] and precision == "fp32":
        if device.type == "cuda":
            precision = "fp16"
        else:
            _warn_of_no_effect(half, device.type)
    check_precision(device, precision)
    if kind == "image":
        model = with_backend(network, backend, sha256=sha256(config.path) if backend == "onnx" else "", device=device,
                             image_size=config.model.image_size, precision=precision)
    else:
        model = with_backend(network, "torch", sha256="", device=device, image_size=0, precision=precision)
    return model, diffusion, dataclasses.replace(
        config, model=dataclasses.replace(config.model, **{half: parsed.values[half]}))


@functools.cache  # said once
def _warn_of_no_effect(option, device):
    logging.getLogger(__name__).warning(f"--{option} has no effect on a {device}: float32 is used there")


def sha256(path: PathLike) -> str:
    """Return the SHA-256 of the checkpoint that `path` names, as hexadecimal digits."""
    with open(find_checkpoint(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_contradictions(parsed, config):
    trained = (config.model, config.diffusion)
    given = tuple(dataclasses.replace(part, **{name: parsed.values[name] for name in vars(part)
                                               if name in parsed.given}) for part in trained)
    contradictions = [f"  --{name} {new}, but it was trained with {old}"
                      for name, (old, new) in differences(trained, given, MAY_DIFFER).items()]
    if contradictions:
        raise UserError("\n".join([f"options contradict the configuration beside {config.path}:", *contradictions,
                                   "leave them out: a checkpoint knows how it was trained"]))


def describe(config: LoadedConfig) -> Row:
    """Return what tells a model from others, as JSON values: the SHA-256 of its checkpoint, and its configs."""
    return {"sha256": sha256(config.path), "model": dataclasses.asdict(config.model),
            "diffusion": dataclasses.asdict(config.diffusion)}


def run_facts(options: Row, checkpoints: Mapping[str, Row], device: torch.device) -> Row:
    """Return what run.json says of every run: the command, options, versions, checkpoints, CPU threads, peak memory.

    Args:
        options: JSON values.
        checkpoints: {role: JSON values}.
        device: of this process; on a GPU its own peak is reported, else the process's.
    """
    versions = {"add": __version__, "python": platform.python_version(), "torch": torch.__version__,
                "numpy": np.__version__}
    return command_facts() | {
        "options": options, "versions": versions, "checkpoints": checkpoints, "threads": torch.get_num_threads(),
        "peak_memory_mb": round(peak_memory_mb(device), 1)}


def peak_memory_mb(device: torch.device) -> float:
    """Return the peak memory of this process in MiB, on its GPU where it has one."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1024**2
    return machine.peak_memory_mb()
