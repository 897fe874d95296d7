"""Make samples of a point set's model, after DDIB's 2-D experiments.

The same command again continues.
"""
import dataclasses
from pathlib import Path
from typing import ClassVar

import numpy as np

from add.commands.shared.directions import resolve_config
from add.commands.shared.point_job import PointJob, find_model
from add.commands.shared.sample_job import SAMPLING_GROUPS
from add.config import (
    MOST_POINTS,
    MOST_TIMESTEPS,
    Checked,
    HelpGroups,
    device_option,
    option,
    path_option,
    seed_option,
    threads_option,
    timeout_option,
)
from add.data.points import POINT_SETS
from add.diffusion import DiffusionConfig
from add.networks import PointConfig
from add.runtime.given_models import load_given
from add.runtime.next_steps import command_line
from add.runtime.options import Options, Parsed
from add.runtime.progress import EvaluationBar, processes_and_bar
from add.runtime.world import World
from add.transition import SAMPLERS, make_sampler
from add.transition.point_translation import PointCloud, decode_points

SAMPLES = ("latent", "points")  # states of a sample
FROM_NOISE = tuple(name for name in SAMPLERS if name != "obelm")  # which walks pairs of states


@dataclasses.dataclass(frozen=True)
class PointSampleConfig(Checked):
    """Sampling points."""

    help_groups: ClassVar[HelpGroups] = SAMPLING_GROUPS

    model_path: str = path_option("", "checkpoint or run folder of the model; empty: that of --task in --models_dir",
                                      "model")
    models_dir: str = path_option("runs/synthetic", "folder with a run for each point set, named moons, ... or 0, ...",
                                                    "models")
    num_samples: int = option(80000, "points to make", least=1, most=MOST_POINTS)
    batch_size: int = option(20000, "points per network evaluation", least=1, most=MOST_POINTS)
    sampler: str = option("unipc", "solver of the ODE from noise to points; ddim walks the steps of "
                                   "--timestep_respacing", FROM_NOISE)
    decode_steps: int = option(0, "evaluations per point, other samplers than ddim; 0: the sampler's own number",
                               least=0, most=MOST_TIMESTEPS)
    seed: int = seed_option("what the noise is drawn by, whatever the batch size and processes")
    out_dir: str = path_option("results/synthetic", "folder to write to, as sample_TASK; finished points are kept",
                                                    "out")
    device: str = device_option()
    threads: int = threads_option()
    timeout: int = timeout_option()


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, PointSampleConfig, PointConfig, DiffusionConfig)


def main(argv: list[str] | None = None) -> None:
    """Make the samples that the command line asks for."""
    parsed = build_options().parse(argv)
    with processes_and_bar(parsed, "sampling") as (world, bar):
        sample_points(parsed, world, bar)


def sample_points(parsed: Parsed, world: World, bar: EvaluationBar) -> None:
    """Make the samples of the set --task, or of --model_path, in OUT/sample_TASK; nothing where they are finished.

    The noise is drawn by --seed and put in the order of its angle, so that a colour shows where it goes. Writes
    latent.npy (the noise) and points.npy, float32 [n, 2], scatter_*.png, heatmap_*.png, overview.png and run.json.
    `bar` shows evaluations and sentences.

    Raises:
        UserError: no usable model, or a folder of points that were made otherwise.
    """
    config = resolve_config(parsed, PointSampleConfig)
    bar.note(f"making {config.num_samples} points with {config.model_path or config.models_dir} on {world.place}; "
             f"writing to {Path(config.out_dir).resolve()}")
    path = config.model_path or find_model(config.models_dir, parsed.task, "--model_path")
    model, diffusion, loaded = load_given(path, parsed, world.device, kind="points")
    sampler = make_sampler(config.sampler, 0, config.decode_steps)
    sampler.check(diffusion)
    noise = np.random.default_rng([config.seed]).standard_normal((config.num_samples, 2), dtype=np.float32)
    noise = noise[np.argsort(np.arctan2(noise[:, 1], noise[:, 0]))]

    def walk(noise):
        return [noise, decode_points(PointCloud(model, bar.add), diffusion, noise, sampler)]

    task = loaded.model.task
    other = (task + 1) % len(POINT_SETS)
    following = [
        command_line("synthetic_train", task=other, run_dir=Path(config.models_dir) / POINT_SETS[other].lower()),
        command_line("synthetic_translation", models_dir=config.models_dir, source=task, target=other)]
    job = PointJob(Path(config.out_dir) / f"sample_{task}", SAMPLES, {"points": POINT_SETS[task].lower()},
                   {"model": loaded}, parsed, config, sampler.evaluations(diffusion)[1], following)
    job.run(noise, walk, world, bar)
