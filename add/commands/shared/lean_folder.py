"""Run folders cut down to what use needs: weights of one file, in float16 where asked, and what tells of the run."""
import copy
from pathlib import Path

import torch
from torch import nn

from add.data.files import read_bytes, write_atomically
from add.diffusion import GaussianDiffusion
from add.errors import UserError
from add.metrics.progression import cycle_error
from add.networks import ModelConfig
from add.networks.head_start import PREFIX
from add.training import LoadedConfig
from add.training.checkpoints import CONFIG_NAME, NAME, load_weights, read_weights, save_safetensors
from add.training.training_images import IMAGES_NAME

KEPT = ("progress.csv", IMAGES_NAME)  # beside config.json, where the run has them
LEAST_PSNR = 50.0  # dB; rounding an image to 8 bits alone gives 59
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the timesteps, at which outputs are compared
COMPARED = 2  # images of noise at each of them


def check_lean_source(file: Path) -> None:
    """Raise UserError where a checkpoint file is not one of a run folder, whose name and config.json would be kept."""
    if not (file.parent / CONFIG_NAME).is_file() or NAME.match(file.name) is None:
        raise UserError(f"{file} is not a checkpoint of a run folder: expected ema_RATE_NNNNNN or modelNNNNNN beside a "
                        f"{CONFIG_NAME}, which are kept; give a folder that training wrote, or use the file as it is")


def write_lean(folder: Path, model: nn.Module, diffusion: GaussianDiffusion, loaded: LoadedConfig, half: bool) -> float:
    """Fill a new folder with what use needs of a run, and return the PSNR of its outputs to the run's, in dB.

    It gets the weights as safetensors, named as the file that they came from, config.json as it is, and where they are
    there progress.csv, training_images.json and the newest picture of samples.

    Args:
        model, diffusion, loaded: of the run, as load_given gives them, on the CPU.
        half: store weights in float16, except those of a head start, whose variances span too many decades.

    Raises:
        UserError: weights that float16 can't hold, or that give other outputs: a PSNR below LEAST_PSNR.
    """
    state = model.state_dict()
    written = folder / f"{loaded.path.stem}.safetensors"
    save_safetensors(written, in_half(state) if half else state)
    run = loaded.path.parent
    pictures = [*run.glob("samples/samples*.png"), *run.glob("samples*.png")]  # a lean folder has it at its top
    newest = max(pictures, key=lambda path: (len(path.name), path.name), default=None)
    for path in (run / CONFIG_NAME, *(run / name for name in KEPT if (run / name).exists()), *filter(None, [newest])):
        _copy(path, folder)
    other = copy.deepcopy(model)  # of the same memory layout, which the last bits depend on
    load_weights(other, read_weights(written), written)
    psnr = agreement(model, other, diffusion, loaded.model)
    if not psnr >= LEAST_PSNR:
        raise UserError(f"in float16 the weights of {loaded.path} give other outputs, with a PSNR of {psnr:.1f} dB: "
                        f"expected {LEAST_PSNR:g} or more; nothing is written; keep float32 with --half False")
    return psnr


def in_half(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights of a state dict in float16, all but a head start's; raises UserError for one too large."""
    stored = {name: value.half() if value.is_floating_point() and not name.startswith(PREFIX) else value
              for name, value in state.items()}
    if beyond := [name for name, value in stored.items() if not torch.isfinite(value).all()]:
        raise UserError(f"{beyond[0]} holds weights beyond float16's {torch.finfo(torch.float16).max:g}, or NaN: "
                        f"expected finite ones within it; keep float32 with --half False, or look at the training")
    return stored


@torch.no_grad()
def agreement(model: nn.Module, other: nn.Module, diffusion: GaussianDiffusion, config: ModelConfig) -> float:
    """Return the smallest PSNR in dB between the x_start that two networks of a config predict; inf for the same.

    They are given the same noise at the SHARES of the timesteps, and x_start is clipped to [-1, 1] as in sampling.
    """
    x = torch.randn(COMPARED, 3, config.image_size, config.image_size, generator=torch.Generator().manual_seed(0))
    told = {"y": torch.arange(COMPARED) % config.num_classes} if config.class_cond else {}
    found = []
    for share in SHARES:
        t = torch.full((COMPARED,), int(share * diffusion.num_timesteps))
        x_start, others = (diffusion.p_mean_variance(network, x, t, model_kwargs=told)["pred_xstart"]
                           for network in (model, other))
        found.append(cycle_error(x_start, others).min().item())
    return min(found)


def size_in_mb(path: Path) -> float:
    """Return the size of a file, or of all files in a folder, in MB."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files) / 1e6


def _copy(path, folder):
    content = read_bytes(path)
    write_atomically(folder / path.name, lambda file: file.write(content))
