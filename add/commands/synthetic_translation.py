"""Translate one point set into another, after DDIB's 2-D experiments.

The same command again continues.
"""
import dataclasses
from pathlib import Path
from typing import ClassVar

import numpy as np

from add.commands.shared.directions import TRANSLATION_GROUPS, resolve_config
from add.commands.shared.point_job import LAST_SET, PointJob, find_model
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
from add.data.points import POINT_SETS, draw_points
from add.diffusion import DiffusionConfig
from add.errors import UserError
from add.networks import PointConfig
from add.runtime.given_models import load_given
from add.runtime.next_steps import command_line
from add.runtime.options import Options, Parsed
from add.runtime.progress import EvaluationBar, processes_and_bar
from add.runtime.world import World
from add.transition import SAMPLERS, check_schedules, make_sampler
from add.transition.point_translation import (
    PointCloud,
    decode_points,
    encode_points,
    point_evaluations,
    points_between,
)

TRANSLATION = ("source", "latent", "target")  # states of a point
CYCLE = (*TRANSLATION, "latent_2", "source_2")


@dataclasses.dataclass(frozen=True)
class PointTranslationConfig(Checked):
    """Translation of points."""

    help_groups: ClassVar[HelpGroups] = TRANSLATION_GROUPS

    source: int = option(0, f"point set translated from, 0 to {LAST_SET}: " + ", ".join(POINT_SETS).lower(),
                         least=0, most=LAST_SET)
    target: int = option(1, f"point set translated to, 0 to {LAST_SET}", least=0, most=LAST_SET)
    source_model_path: str = path_option("", "checkpoint or run folder of the source's model; empty: in --models_dir",
                                             "source_model")
    target_model_path: str = path_option("", "checkpoint or run folder of the target's model; empty: in --models_dir",
                                             "target_model")
    models_dir: str = path_option("runs/synthetic", "folder with a run for each point set, named moons, ... or 0, ...",
                                                    "models")
    num_samples: int = option(90000, "points to draw from the source and translate", least=1, most=MOST_POINTS)
    batch_size: int = option(30000, "points per network evaluation", least=1, most=MOST_POINTS)
    amount: int = option(1, "point sets on the way, N; 1: the full translation only", least=1, most=1000)
    path: str = option("blend", "how those on the way come about: decoded by a mean of both models, or by the target's "
                                "from lower depths, as in `add translate`", ("blend", "depth"))
    sampler: str = option("unipc", "solver of the ODE between points and noise; ddim walks the steps of "
                                   "--timestep_respacing", SAMPLERS)
    encode_steps: int = option(0, "steps to noise, other samplers than ddim; 0: the sampler's own number",
                               least=0, most=MOST_TIMESTEPS)
    decode_steps: int = option(0, "evaluations from noise, other samplers than ddim; 0: the sampler's own number",
                               least=0, most=MOST_TIMESTEPS)
    seed: int = seed_option("what the points are drawn by")
    out_dir: str = path_option("results/synthetic", "folder to write to, as translation_SOURCE_TARGET or "
                                                    "translation_cycle_SOURCE_TARGET; finished points are kept", "out")
    device: str = device_option()
    threads: int = threads_option()
    timeout: int = timeout_option()


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, PointTranslationConfig, PointConfig, DiffusionConfig)


def main(argv: list[str] | None = None) -> None:
    """Translate the points that the command line asks for."""
    parsed = build_options().parse(argv)
    with processes_and_bar(parsed, "translating") as (world, bar):
        translate_points(parsed, world, bar)


def translate_points(parsed: Parsed, world: World, bar: EvaluationBar, cycle: bool = False) -> None:
    """Translate points of the set --source in OUT/translation_SOURCE_TARGET; nothing where they are finished.

    With `cycle`, there and back in OUT/translation_cycle_SOURCE_TARGET. Writes source.npy, latent.npy, target.npy and,
    of --amount N, way_01.npy to those before the target, of a cycle, latent_2.npy and source_2.npy, float32 [n, 2],
    scatter_*.png, heatmap_*.png, overview.png and run.json.
    A point has the colour of its place in the source in all pictures. `bar` shows evaluations and sentences.

    Raises:
        UserError: unusable models or options, or a folder of points that were made otherwise.
    """
    config = resolve_config(parsed, PointTranslationConfig)
    if cycle and config.amount > 1:
        raise UserError(f"--amount {config.amount} was given for points that go there and back: expected 1; take add "
                        f"synthetic_translation for the way there")
    roles = ("source", "target")
    sets = {role: POINT_SETS[getattr(config, role)].lower() for role in roles}
    way = f"from {sets['source']} to {sets['target']}{' and back' if cycle else ''}"
    bar.note(f"translating {config.num_samples} points {way} on {world.place}; writing to "
             f"{Path(config.out_dir).resolve()}")
    models = {role: _load_set(role, config, parsed, world.device) for role in roles}
    check_schedules(*(models[role][1] for role in roles))
    sampler = make_sampler(config.sampler, config.encode_steps, config.decode_steps)
    for role in roles:
        sampler.check(models[role][1])
    diffusions = [models[role][1] for role in roles]
    clouds = {role: PointCloud(models[role][0], bar.add) for role in roles}
    points = draw_points(config.source, config.num_samples, np.random.default_rng([config.seed]), ordered=True)

    def walk(points):
        states = [points]
        for here, there in ((roles, roles[::-1]) if cycle else (roles,)):
            latents = encode_points(clouds[here], models[here][1], states[-1], sampler)
            way = [] if config.amount == 1 else points_between(
                [clouds[role] for role in roles], diffusions, states[-1], latents, config.amount, config.path, sampler)
            states += [latents[:, :2], *way, decode_points(clouds[there], models[there][1], latents, sampler)]
        return states

    shown = {f"{role}{number}": sets[role] for role in roles for number in ("", "_2")}
    evaluations = sum(point_evaluations(sampler, diffusions[0], config.amount, config.path)) * (2 if cycle else 1)
    between = tuple(f"way_{m:0{max(2, len(str(config.amount)))}d}" for m in range(1, config.amount))
    names = CYCLE if cycle else (*TRANSLATION[:2], *between, TRANSLATION[2])
    folder = f"translation_{'cycle_' if cycle else ''}{config.source}_{config.target}"
    job = PointJob(Path(config.out_dir) / folder, names, shown,
               {f"{role}_model": models[role][2] for role in roles}, parsed, config,
               evaluations, [_next_command(config, models, cycle)])
    job.run(points, walk, world, bar)


def _next_command(config, models, cycle):
    """Return the command that carries the same points back, or that shows what the target's model makes of noise."""
    paths = {f"{role}_model_path": models[role][2].path for role in models if getattr(config, f"{role}_model_path")}
    if not cycle:
        return command_line("synthetic_cycle", source=config.source, target=config.target,
                            models_dir=config.models_dir, num_samples=config.num_samples, **paths)
    return command_line("synthetic_sample", model_path=models["target"][2].path)


def _load_set(role, config, parsed, device):
    """Return (model, diffusion, LoadedConfig) of the role "source" or "target"; the model must be of its set."""
    task, flag = getattr(config, role), f"--{role}_model_path"
    path = getattr(config, f"{role}_model_path") or find_model(config.models_dir, task, flag)
    model, diffusion, loaded = load_given(path, parsed, device, kind="points", task=task)
    if loaded.model.task != task:
        raise UserError(f"{loaded.path} was trained on point set {loaded.model.task} "
                        f"({POINT_SETS[loaded.model.task].lower()}): expected one of --{role} {task} "
                        f"({POINT_SETS[task].lower()}); change --{role} or {flag}")
    return model, diffusion, loaded
