"""Measure how likely a model finds the images of a folder, in bits per dimension.

The variational bound of Ho et al. 2020 (arXiv:2006.11239), Eq. 5, and its terms at each timestep, as guided-diffusion's
image_nll measures it. With --timestep_respacing it is the bound of the shorter diffusion, which is looser. The same
command again continues.
"""
import csv
import dataclasses
import functools
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike

from add.config import (
    MOST_BATCH,
    MOST_IMAGES,
    Checked,
    device_option,
    estimate_option,
    max_pixels_option,
    option,
    path_option,
    seed_option,
    threads_option,
    timeout_option,
)
from add.data import ImageSet, holds_domains, to_model_input
from add.data.files import changed_settings, fingerprint, require_local, save_json, write_atomically
from add.data.read_back import read_npz
from add.diffusion import DiffusionConfig, GaussianDiffusion
from add.errors import UserError
from add.interfaces import Model, OnStep, PathLike, Row
from add.networks import ModelConfig
from add.results.report_page import page_line
from add.runtime.cost_lines import count_parameters, evaluation_seconds, work_lines
from add.runtime.given_models import describe, load_given, run_facts
from add.runtime.next_steps import command_line, next_steps
from add.runtime.options import Options, Parsed
from add.runtime.progress import EvaluationBar, processes_and_bar
from add.runtime.shares import take_share
from add.runtime.world import World
from add.training import LoadedConfig, trained_on

TERMS = ("vb", "mse", "xstart_mse")
LEVEL = 0.95
RECORD_BYTES = 2000  # of an image's file, beside its terms
INTERVAL = "mean -+ t s / sqrt(n), t of Student's distribution with n - 1 degrees of freedom, over the images"


@dataclasses.dataclass(frozen=True)
class LikelihoodConfig(Checked):
    """What is measured."""

    model_path: str = path_option("", "checkpoint or run folder of the model", "model")
    data_dir: str = path_option("", "folder of images; of a class-conditional model, with a subfolder per class, or "
                                    "files named CLASS_NAME.png", "images")
    num_samples: int = option(0, "images to measure, drawn at random by --seed, as the first by name would be one "
                                 "corner of a slide; a larger number adds to them; 0: all", least=0, most=MOST_IMAGES)
    batch_size: int = option(1, "images per network evaluation", least=1, most=MOST_BATCH)
    clip_denoised: bool = option(True, "clip the predicted clean image to [-1, 1]")
    max_pixels: int = max_pixels_option()
    seed: int = seed_option("image i is noised by (seed, i, timestep), whatever the batch size and processes")
    estimate: bool = estimate_option()
    out_dir: str = path_option("results/nll", "folder to write to; finished images are kept and not measured again",
                                              "out")
    device: str = device_option()
    threads: int = threads_option()
    timeout: int = timeout_option()


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, LikelihoodConfig, ModelConfig, DiffusionConfig)


def main(argv: list[str] | None = None) -> None:
    """Measure the images that the command line names."""
    parsed = build_options().parse(argv)
    with processes_and_bar(parsed, "measuring") as (world, bar):
        measure_folder(parsed, world, bar)


def measure_folder(parsed: Parsed, world: World, bar: EvaluationBar) -> None:
    """Measure the images that the output folder lacks; each process measures every world.size-th of them.

    Writes OUT/records/000000.npz, ... of each image, and from all of them OUT/terms.csv, OUT/vb_terms.npz,
    OUT/mse_terms.npz, OUT/xstart_mse_terms.npz (`arr_0` [T], means over images, the LAST timestep first, as
    guided-diffusion's) and OUT/nll.json, which says how many of the images the model was trained on. `bar` shows
    evaluations and sentences. With --estimate, what that would take is said, and nothing is written.

    Raises:
        UserError: no usable model or images, or a folder that was measured otherwise.
    """
    config = parsed.take(LikelihoodConfig)
    for name, kind in (("model_path", "checkpoint or run folder"), ("data_dir", "folder of images")):
        if not getattr(config, name):
            raise UserError(f"no --{name} was given: expected a {kind}")
    require_local(config.out_dir)
    out_dir = Path(config.out_dir)
    measured = f"the likelihood of the images of {config.data_dir} by {config.model_path} on {world.place}"
    bar.note(f"measuring what it takes to measure {measured}" if config.estimate else
             f"measuring {measured}; writing to {out_dir.resolve()}")
    model, diffusion, loaded = load_given(config.model_path, parsed, world.device)
    images = read_labelled(config.data_dir, loaded)
    settings: Row = {"model": describe(loaded), "data": fingerprint(config.data_dir, images.files),
                     "classes": images.class_names, "clip_denoised": config.clip_denoised, "seed": config.seed}
    if changed := changed_settings(out_dir / "settings.json", settings):
        raise UserError(f"{out_dir} holds images measured otherwise ({', '.join(changed)}): give the same options to "
                        f"continue, or another --out_dir")
    world.barrier()
    for sentence in images.sentences():
        bar.note(sentence)
    if images.labels is not None and loaded.classes is None:
        names = images.class_names or ()
        shown = [f"{number} {name}" for number, name in enumerate(names[:10])]
        bar.note(f"{loaded.path} does not name its classes; those of {config.data_dir} are taken in sorted order: "
                 f"{', '.join(shown)}{', ...' if len(names) > 10 else ''}")
    if len(images) < config.num_samples:
        bar.note(f"{config.data_dir} holds {len(images)} images, fewer than --num_samples {config.num_samples}")
    chosen = choose_randomly(len(images), config.num_samples, config.seed)
    todo = [i for i in chosen if not _record(out_dir, i).exists()]
    if config.estimate:
        bar.note(_estimate(model, diffusion, loaded, images, (len(chosen), len(todo)), config, world))
        return
    seen: frozenset[str] = frozenset()
    if world.is_main:
        seen = frozenset(trained_on(loaded.path, [images.files[i] for i in chosen]))
        save_json(out_dir / "settings.json", settings)
        if seen:
            bar.note(f"{len(seen)} of the {len(chosen)} images are among those that {loaded.path} was trained on, "
                     f"which it finds likelier than new ones: give a --data_dir of images that it never saw")
    mine = take_share(todo, len(chosen), lambda number: diffusion.num_timesteps, "images", world, bar)
    for first in range(0, len(mine), config.batch_size):
        numbers = mine[first:first + config.batch_size]
        terms = _measure_numbers(model, diffusion, images, numbers, config, world.device, bar)
        for i, own in zip(numbers, terms, strict=True):
            _save_record(out_dir, i, images.files[i], own)
    world.barrier()
    if world.is_main:
        result = _summarise(out_dir, images, chosen, seen, diffusion)
        facts = run_facts(dataclasses.asdict(config), {"model": {"path": str(loaded.path)} | settings["model"]},
                          world.device)
        save_json(out_dir / "nll.json", result | facts)
        bar.close()
        bar.note(f"{_say(result, config, out_dir)}\n{page_line(out_dir)}")


def choose_randomly(count: int, wanted: int, seed: int) -> list[int]:
    """Return the sorted numbers of `wanted` out of `count` images, each as likely; 0: all. More contain the fewer."""
    order = np.random.default_rng([seed, count]).permutation(count)
    return sorted(order[:wanted or count].tolist())


def _estimate(model, diffusion, loaded, images, numbers, config, world):
    """Return the lines that say what measuring will take, of `numbers` (images wanted, images left)."""
    size = loaded.model.image_size
    labels = {} if images.labels is None else {"y": torch.zeros(config.batch_size, dtype=torch.int64,
                                                                device=world.device)}
    seconds = evaluation_seconds(functools.partial(model, **labels), (3, size, size), world.device, config.batch_size)
    steps = diffusion.num_timesteps
    return work_lines(world, parameters=count_parameters(loaded.model), batch_seconds=steps * seconds,
                      batch_size=config.batch_size, wanted=numbers[0], left=numbers[1], evaluations=steps,
                      image_bytes=8 * len(TERMS) * steps + RECORD_BYTES)


def _measure_numbers(model, diffusion, images, numbers, config, device, bar):
    """Return the terms of images by their numbers, a dict each. A short batch is padded: its size decides rounding."""
    padded = numbers + numbers[:1] * (config.batch_size - len(numbers))
    x_start = to_model_input(images.batch(padded)).to(device)
    noise = draw_noise(config.seed, padded, diffusion, x_start.shape[1:], device)
    labels = None if images.labels is None else torch.from_numpy(images.labels[padded]).to(device)
    terms = measure(model, diffusion, x_start, noise, labels, config.clip_denoised,
                    on_step=lambda i, t, x_t: bar.add(len(numbers)))
    return [{name: values[row] for name, values in terms.items()} for row in range(len(numbers))]


def measure(model: Model, diffusion: GaussianDiffusion, x_start: torch.Tensor, noise: Callable[[int], torch.Tensor],
            labels: torch.Tensor | None = None, clip_denoised: bool = True, on_step: OnStep | None = None
            ) -> dict[str, np.ndarray]:
    """Return {"total_bpd", "prior_bpd" [B], "vb", "mse", "xstart_mse" [B, T], the last timestep first}, as arrays.

    Args:
        model: see `GaussianDiffusion.p_mean_variance`. x_start: [B, C, H, W] in [-1, 1], of 8-bit images.
        noise: noise(t) -> like x_start, of the timestep t of the diffusion.
        labels: int64 [B], of a class-conditional model.
        on_step: called after each timestep, see `calc_bpd_loop`.
    """
    terms = diffusion.calc_bpd_loop(model, x_start, clip_denoised, None if labels is None else {"y": labels},
                                    noise=noise, on_step=on_step)
    return {name: values.cpu().double().numpy() for name, values in terms.items()}


def draw_noise(seed: int, numbers: Sequence[int], diffusion: GaussianDiffusion, shape: Sequence[int],
               device: torch.device | str = "cpu") -> Callable[[int], torch.Tensor]:
    """Return noise(t) -> float32 [B, *shape] for images of these numbers; row i is drawn from (seed, numbers[i], t).

    t counts in the original schedule, so a respaced diffusion sees the same noise at the timesteps that it keeps.
    """
    def noise(t):
        rows = [np.random.default_rng([seed, number, diffusion.timestep_map[t]]).standard_normal(
            shape, dtype=np.float32) for number in numbers]
        return torch.from_numpy(np.stack(rows)).to(device)

    return noise


def read_labelled(folder: PathLike, loaded: LoadedConfig) -> ImageSet:
    """Return the images of a folder for a model, labelled as it was trained where it has classes.

    Raises:
        UserError: file names that tell no class, classes that the run doesn't know, or more than the model has.
    """
    size = loaded.model.image_size
    if not loaded.model.class_cond:
        return ImageSet.from_folder(folder, size)
    if holds_domains(folder):
        images = ImageSet.from_domains(folder, size)
    else:
        images = ImageSet.from_folder(folder, size, class_cond=True)
    found = images.class_names or ()
    known = list(loaded.classes or found)
    if unknown := [name for name in found if name not in known]:
        raise UserError(f"{folder} has classes that {loaded.path} was not trained on ({', '.join(unknown[:5])}): "
                        f"expected some of {', '.join(known[:10])}; rename them, or leave them out")
    if len(known) > loaded.model.num_classes:
        raise UserError(f"{folder} has {len(known)} classes and the model {loaded.model.num_classes}: expected no more "
                        f"classes than it has; give a folder of its classes")
    images.labels = np.array([known.index(name) for name in found])[images.labels]
    images.class_names = known
    return images


def mean_interval(values: ArrayLike, level: float = LEVEL) -> tuple[float, float | None, float | None]:
    """Return (mean, low, high) of numbers [n], the ends as INTERVAL says; they are None for n = 1."""
    values = np.asarray(values, dtype=np.float64)
    mean = float(values.mean())
    if len(values) == 1:
        return mean, None, None
    half = student_quantile((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return mean, float(mean - half), float(mean + half)


def student_quantile(probability: float, degrees: int) -> float:
    """Return the t below which Student's distribution has this probability, 0.5 to below 1.

    With t = sqrt(v) tan(a) the probability between -t and t is an integral of cos(a)^(v - 1), which is bisected.
    """
    nodes, weights = np.polynomial.legendre.leggauss(64)
    scale = 2 * math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(math.pi)
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        inside = scale * angle / 2 * (weights @ np.cos(angle / 2 * (nodes + 1)) ** (degrees - 1))
        low, high = (angle, high) if inside < 2 * probability - 1 else (low, angle)
    return math.sqrt(degrees) * math.tan(low)


def _record(out_dir, number):
    return out_dir / "records" / f"{number:06d}.npz"


def _save_record(out_dir, number, path, terms):
    if not np.isfinite(terms["total_bpd"]):
        raise UserError(f"the model gives {terms['total_bpd']} bits per dimension for {path}: expected a number; check "
                        f"the checkpoint, and the options that it was trained with")
    write_atomically(_record(out_dir, number), lambda file: np.savez(file, **terms))


def _summarise(out_dir, images, chosen, seen, diffusion):
    """Write the terms of the records of the chosen images and return what nll.json says of them."""
    shapes = {"total_bpd": (np.floating, ()), "prior_bpd": (np.floating, ()),
              **dict.fromkeys(TERMS, (np.floating, (diffusion.num_timesteps,)))}
    totals, priors, sums = [], [], {name: np.zeros(diffusion.num_timesteps) for name in TERMS}
    for i in chosen:
        record = read_npz(_record(out_dir, i), shapes, "remove it, and the same command measures that image again")
        totals.append(float(record["total_bpd"]))
        priors.append(float(record["prior_bpd"]))
        for name in TERMS:
            sums[name] += record[name]
    means = {name: total / len(chosen) for name, total in sums.items()}  # [T], the last timestep first
    for name, values in means.items():
        _save_terms(out_dir / f"{name}_terms.npz", values)
    write_atomically(out_dir / "terms.csv", lambda file: file.write(_csv_text(diffusion.timestep_map, means).encode()))
    mean, low, high = mean_interval(totals)
    rows = [{"image": images.files[i], "bits_per_dim": total, "prior_bits_per_dim": prior}
            | ({} if images.labels is None else {"class": images.class_names[images.labels[i]]})
            | ({"trained_on": True} if images.files[i] in seen else {})
            for i, total, prior in zip(chosen, totals, priors, strict=True)]
    return {"bits_per_dim": mean, "interval": {"low": low, "high": high, "level": LEVEL, "how": INTERVAL},
            "prior_bits_per_dim": float(np.mean(priors)), "num_images": len(chosen), "num_trained_on": len(seen),
            "timesteps": diffusion.num_timesteps, "images": rows}


def _save_terms(path, values):
    write_atomically(path, lambda file: np.savez(file, values))


def _csv_text(timesteps, means):
    """Return the mean terms as CSV text, a row per timestep of the original schedule, the first one first."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["timestep", *TERMS])
    for place, timestep in enumerate(timesteps):
        writer.writerow([timestep, *(f"{means[name][-1 - place]:.8g}" for name in TERMS)])
    return text.getvalue()


def _say(result, config, out_dir):
    low, high = result["interval"]["low"], result["interval"]["high"]
    spread = "" if low is None else f" (95 % confidence {low:.4f} to {high:.4f})"
    trained = f" ({result['num_trained_on']} of them trained on)" if result["num_trained_on"] else ""
    return "\n".join([
        f"{result['bits_per_dim']:.4f} bits per dimension{spread} over {result['num_images']} images{trained}, "
        f"{result['prior_bits_per_dim']:.2g} of them of the prior",
        f"done: {out_dir.resolve() / 'nll.json'}, and terms.csv with the means of each timestep; lower is likelier",
        next_steps(command_line("image_nll", model_path=config.model_path, data_dir="OTHER_IMAGES",
                                out_dir=out_dir.with_name(f"{out_dir.name}_other")))])
