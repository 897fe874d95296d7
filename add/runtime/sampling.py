"""Unconditional samples of one domain's model as numbered PNGs; each has a seed of its own."""
import dataclasses
from pathlib import Path

import numpy as np
import torch

from add.config import option
from add.data.files import changed_settings, is_url, save_json, save_png
from add.data.transforms import to_uint8
from add.errors import UserError
from add.runtime.models import describe, load_given, run_facts
from add.transition import SAMPLERS, decode, make_sampler
from add.transition.batches import InBatches

FROM_NOISE = tuple(name for name in SAMPLERS if name != "obelm")  # which walks pairs of states


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """Sampling."""

    model_path: str = option("", "checkpoint or run folder of the model")
    num_samples: int = option(100, "images to make")
    batch_size: int = option(16, "images per network evaluation")
    sampler: str = option("unipc", "solver of the ODE from noise to image; ddim walks the steps of "
                                   "--timestep_respacing", FROM_NOISE)
    decode_steps: int = option(0, "evaluations per image, other samplers than ddim; 0: the sampler's own number")
    clip_denoised: bool = option(False, "clip the predicted clean image to [-1, 1] at every step")
    seed: int = option(0, "image i is made from the noise of (seed, i), whatever the batch size and processes")
    out_dir: str = option("results/samples", "folder to write to; finished images are kept and not made again")
    backend: str = option("torch", "how the network runs", ("torch", "compile", "onnx"))
    precision: str = option("fp32", "the network's precision; bf16 and fp16 are for GPUs", ("fp32", "bf16", "fp16"))
    device: str = option("auto", "auto: a GPU where there is one", ("auto", "cpu", "cuda"))
    threads: int = option(0, "CPU threads of each process; 0: share the cores")

    def __post_init__(self):
        for name, least in (("num_samples", 1), ("batch_size", 1), ("decode_steps", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} is {getattr(self, name)}, expected {least} or more")


def sample_images(parsed, world, bar):
    """Make the samples that the output folder still lacks; each process makes every world.size-th of them.

    Writes OUT/sample_000000.png, ..., and OUT/run.json last. `bar` shows evaluations and sentences.

    Raises:
        UserError: no usable model, or a folder of samples that were made otherwise.
    """
    config = parsed.take(SampleConfig)
    if is_url(config.out_dir):
        raise UserError(f"--out_dir {config.out_dir} is a URL, expected a local folder: copy the samples afterwards")
    if not config.model_path:
        raise UserError("no --model_path was given: expected a checkpoint or run folder, such as runs/mild")
    model, diffusion, loaded = load_given(config.model_path, parsed, world.device, config.backend, config.precision)
    if loaded.model.class_cond:
        raise UserError(f"{loaded.path} is class-conditional: expected an unconditional model")
    sampler = make_sampler(config.sampler, 0, config.decode_steps, config.clip_denoised)
    sampler.check(diffusion)
    out_dir = Path(config.out_dir)
    settings = {"model": describe(loaded), "sampler": config.sampler, "decode_steps": config.decode_steps,
                "timestep_respacing": parsed.timestep_respacing, "clip_denoised": config.clip_denoised,
                "seed": config.seed}
    _check_settings(out_dir / "settings.json", settings)
    world.barrier()
    if world.is_main:
        save_json(out_dir / "settings.json", settings)
    size = loaded.model.image_size
    todo = [i for i in range(config.num_samples) if not _path(out_dir, i).exists()]
    world.agree("samples to make", todo)
    in_batches = InBatches(model, config.batch_size, bar.add)
    mine = todo[world.rank::world.size]
    for first in range(0, len(mine), config.batch_size):
        numbers = mine[first:first + config.batch_size]
        noise = torch.stack([draw_noise(config.seed, i, (3, size, size)) for i in numbers]).to(world.device)
        depths = torch.full((len(numbers), 1), diffusion.num_timesteps)
        images = decode(in_batches, diffusion, noise[:, None], depths, sampler)[:, 0]
        for i, image in zip(numbers, to_uint8(images.cpu()).numpy(), strict=True):
            save_png(_path(out_dir, i), image)
    world.barrier()
    if world.is_main:
        facts = run_facts(dataclasses.asdict(config), {"model": {"path": str(loaded.path)} | settings["model"]},
                          world.device)
        save_json(out_dir / "run.json", facts)
        bar.note(f"done: {config.num_samples} samples in {out_dir.resolve()}")


def draw_noise(seed, number, shape):
    """Return the standard normal noise float32 `shape` that sample `number` of a seed is made from."""
    return torch.from_numpy(np.random.default_rng([seed, number]).standard_normal(shape, dtype=np.float32))


def _path(out_dir, number):
    return out_dir / f"sample_{number:06d}.png"


def _check_settings(path, settings):
    if changed := changed_settings(path, settings):
        raise UserError(f"{path.parent} holds samples made otherwise ({', '.join(changed)}): give the same options to "
                        f"continue, or another --out_dir")
