"""The 2-D experiments of DDIB: samples of a point set, translation from one set to another, and there and back.

Su et al. 2023 (arXiv:2203.08382), Section 5.1. The points are carried in parts of --batch_size, shared out among the
processes; a finished part is kept until all are done, so that a stopped command continues.
"""
import dataclasses
from pathlib import Path

import numpy as np
import torch

from add.config import option
from add.data.files import changed_settings, is_url, save_json, save_npy, save_png
from add.data.point_plots import heat_map, panel, scatter
from add.data.points import POINT_SETS, draw_points
from add.errors import UserError
from add.runtime.models import describe, load_given, run_facts
from add.transition import SAMPLERS, check_schedules, make_sampler
from add.transition.points import PointCloud, decode_points, encode_points

TRANSLATION = ("source", "latent", "target")
CYCLE = (*TRANSLATION, "latent_2", "source_2")
SAMPLES = ("latent", "points")
FROM_NOISE = tuple(name for name in SAMPLERS if name != "obelm")  # which walks pairs of states
_LAST_TASK = len(POINT_SETS) - 1


@dataclasses.dataclass(frozen=True)
class PointSampleConfig:
    """Sampling."""

    model_path: str = option("", "checkpoint or run folder of the model; empty: that of --task in --models_dir")
    models_dir: str = option("runs/synthetic", "folder with a run for each point set, named moons, ... or 0, ...")
    num_samples: int = option(80000, "points to make")
    batch_size: int = option(20000, "points per network evaluation")
    sampler: str = option("unipc", "solver of the ODE from noise to points; ddim walks the steps of "
                                   "--timestep_respacing", FROM_NOISE)
    decode_steps: int = option(0, "evaluations per point, other samplers than ddim; 0: the sampler's own number")
    seed: int = option(0, "what the noise is drawn by, whatever the batch size and processes")
    out_dir: str = option("results/synthetic", "folder to write to, as sample_TASK; finished points are kept")
    device: str = option("auto", "auto: a GPU where there is one", ("auto", "cpu", "cuda"))
    threads: int = option(0, "CPU threads of each process; 0: share the cores")

    def __post_init__(self):
        _check_numbers(self, num_samples=1, batch_size=1, decode_steps=0, seed=0)


@dataclasses.dataclass(frozen=True)
class PointTranslationConfig:
    """Translation."""

    source: int = option(0, f"point set translated from, 0 to {_LAST_TASK}: " + ", ".join(POINT_SETS).lower())
    target: int = option(1, f"point set translated to, 0 to {_LAST_TASK}")
    source_model_path: str = option("", "checkpoint or run folder of the source's model; empty: in --models_dir")
    target_model_path: str = option("", "checkpoint or run folder of the target's model; empty: in --models_dir")
    models_dir: str = option("runs/synthetic", "folder with a run for each point set, named moons, ... or 0, ...")
    num_samples: int = option(90000, "points to draw from the source and translate")
    batch_size: int = option(30000, "points per network evaluation")
    sampler: str = option("unipc", "solver of the ODE between points and noise; ddim walks the steps of "
                                   "--timestep_respacing", SAMPLERS)
    encode_steps: int = option(0, "steps to noise, other samplers than ddim; 0: the sampler's own number")
    decode_steps: int = option(0, "evaluations from noise, other samplers than ddim; 0: the sampler's own number")
    seed: int = option(0, "what the points are drawn by")
    out_dir: str = option("results/synthetic", "folder to write to, as translation_SOURCE_TARGET or "
                                               "translation_cycle_SOURCE_TARGET; finished points are kept")
    device: str = option("auto", "auto: a GPU where there is one", ("auto", "cpu", "cuda"))
    threads: int = option(0, "CPU threads of each process; 0: share the cores")

    def __post_init__(self):
        _check_numbers(self, num_samples=1, batch_size=1, encode_steps=0, decode_steps=0, seed=0)
        for name in ("source", "target"):
            if not 0 <= getattr(self, name) <= _LAST_TASK:
                raise UserError(f"--{name} is {getattr(self, name)}, expected a point set from 0 to {_LAST_TASK}: "
                                + ", ".join(POINT_SETS))


def sample_points(parsed, world, bar):
    """Make the samples of the set --task, or of --model_path, in OUT/sample_TASK; nothing where they are finished.

    The noise is drawn by --seed and put in the order of its angle, so that a colour shows where it goes. Writes
    latent.npy (the noise) and points.npy, float32 [n, 2], scatter_*.png, heatmap_*.png, overview.png and run.json.
    `bar` shows evaluations and sentences.

    Raises:
        UserError: no usable model, or a folder of points that were made otherwise.
    """
    config = _resolve_sampler(parsed, PointSampleConfig)
    _check_local(config.out_dir)
    path = config.model_path or find_model(config.models_dir, parsed.task, "--model_path")
    model, diffusion, loaded = load_given(path, parsed, world.device, kind="points")
    sampler = make_sampler(config.sampler, 0, config.decode_steps)
    sampler.check(diffusion)
    noise = np.random.default_rng([config.seed]).standard_normal((config.num_samples, 2), dtype=np.float32)
    noise = noise[np.argsort(np.arctan2(noise[:, 1], noise[:, 0]))]

    def walk(noise):
        return [noise, decode_points(PointCloud(model, bar.add), diffusion, noise, sampler)]

    job = _Job(Path(config.out_dir) / f"sample_{loaded.model.task}", SAMPLES,
               {"points": POINT_SETS[loaded.model.task].lower()}, {"model": loaded}, parsed, config)
    job.run(noise, walk, world, bar)


def translate_points(parsed, world, bar, cycle=False):
    """Translate points of the set --source in OUT/translation_SOURCE_TARGET; nothing where they are finished.

    With `cycle`, there and back in OUT/translation_cycle_SOURCE_TARGET. Writes source.npy, latent.npy, target.npy and,
    of a cycle, latent_2.npy and source_2.npy, float32 [n, 2], scatter_*.png, heatmap_*.png, overview.png and run.json.
    A point has the colour of its place in the source in all pictures. `bar` shows evaluations and sentences.

    Raises:
        UserError: unusable models or options, or a folder of points that were made otherwise.
    """
    config = _resolve_sampler(parsed, PointTranslationConfig)
    _check_local(config.out_dir)
    roles = ("source", "target")
    models = {role: _load_set(role, config, parsed, world.device) for role in roles}
    check_schedules(*(models[role][1] for role in roles))
    sampler = make_sampler(config.sampler, config.encode_steps, config.decode_steps)
    for role in roles:
        sampler.check(models[role][1])
    clouds = {role: PointCloud(models[role][0], bar.add) for role in roles}
    points = draw_points(config.source, config.num_samples, np.random.default_rng([config.seed]), ordered=True)

    def walk(points):
        states = [points]
        for here, there in ((roles, roles[::-1]) if cycle else (roles,)):
            latents = encode_points(clouds[here], models[here][1], states[-1], sampler)
            states += [latents[:, :2], decode_points(clouds[there], models[there][1], latents, sampler)]
        return states

    sets = {f"{role}{number}": POINT_SETS[getattr(config, role)].lower() for role in roles for number in ("", "_2")}
    folder = f"translation_{'cycle_' if cycle else ''}{config.source}_{config.target}"
    job = _Job(Path(config.out_dir) / folder, CYCLE if cycle else TRANSLATION, sets,
               {f"{role}_model": models[role][2] for role in roles}, parsed, config)
    job.run(points, walk, world, bar)


def find_model(models_dir, task, flag):
    """Return the path of a point set's run in a folder: its name, its number, or DDIB's log2DNUMBER.

    Raises:
        UserError: there is none; `flag` names the option that gives one.
    """
    if not 0 <= task <= _LAST_TASK:
        raise UserError(f"there is no point set {task}: expected 0 to {_LAST_TASK}")
    names = (POINT_SETS[task].lower(), str(task), f"log2D{task}")
    for name in names:
        if (Path(models_dir) / name).exists():
            return Path(models_dir) / name
    raise UserError(f"{models_dir} holds no model of point set {task}: expected a run folder {' or '.join(names)} in "
                    f"it; train one with scripts/synthetic_train.py --task {task}, or give --models_dir or {flag}")


def cycle_errors(points, back):
    """Return the L2 distances of points [n, 2] from where a round trip led them: mean, median, percentile 99, max."""
    distances = np.linalg.norm(np.asarray(back, dtype=float) - np.asarray(points, dtype=float), axis=1)
    return {"mean": float(distances.mean()), "median": float(np.median(distances)),
            "percentile_99": float(np.percentile(distances, 99)), "max": float(distances.max())}


@dataclasses.dataclass(frozen=True)
class _Job:
    """Points that are walked through named states, in parts, and the folder that tells of them.

    names: of the states, the first known beforehand. sets: {state: what set it should look like}. models: {role:
    LoadedConfig}.
    """

    folder: Path
    names: tuple
    sets: dict
    models: dict
    parsed: object
    config: object

    def run(self, points, walk, world, bar):
        """Write the folder for points [n, 2]; walk(part [b, 2]) -> the part's states, each [b, 2]."""
        settings = self._settings()
        if changed := changed_settings(self.folder / "settings.json", settings):
            raise UserError(f"{self.folder} holds points made otherwise ({', '.join(changed)}): give the same options "
                            f"to continue, or another --out_dir")
        finished = (self.folder / "run.json").exists()
        world.barrier()
        if finished:
            bar.note(f"finished already: {self.folder.resolve()}")
            return
        if world.is_main:
            save_json(self.folder / "settings.json", settings)
        size = self.config.batch_size
        firsts = range(0, len(points), size)
        todo = [first for first in firsts if not self._part(first).exists()]
        world.agree("points to make", todo)
        for first in todo[world.rank::world.size]:
            states = walk(torch.from_numpy(points[first:first + size]).to(world.device))
            states = torch.stack(states).cpu().numpy()  # [number of states, b, 2]
            if not np.isfinite(states).all():
                raise UserError(f"points {first} to {first + states.shape[1] - 1} left the finite numbers: expected a "
                                f"trained model; train it longer, or give more steps")
            save_npy(self._part(first), states)
        world.barrier()
        if world.is_main:
            states = np.concatenate([np.load(self._part(first)) for first in firsts], axis=1)
            self._write(dict(zip(self.names, states, strict=True)), settings, world, bar)
            for path in self._part(0).parent.iterdir():
                path.unlink()
            self._part(0).parent.rmdir()

    def _part(self, first):
        return self.folder / "parts" / f"{first:06d}_{self.config.batch_size}.npy"

    def _settings(self):
        """Return what decides where the points come to lie; a folder continues only with it."""
        settings = {role: describe(loaded) for role, loaded in self.models.items()}
        settings["timestep_respacing"] = self.parsed.timestep_respacing
        for name in ("num_samples", "sampler", "encode_steps", "decode_steps", "seed"):
            if hasattr(self.config, name):
                settings[name] = getattr(self.config, name)
        return settings

    def _write(self, states, settings, world, bar):
        plots = {"scatter": [], "heatmap": []}
        for name, points in states.items():
            save_npy(self.folder / f"{name}.npy", points)
            for kind, draw in (("scatter", scatter), ("heatmap", heat_map)):
                plots[kind].append(draw(points))
                save_png(self.folder / f"{kind}_{name}.png", plots[kind][-1])
        titles = [f"{name}: {self.sets[name]}" if name in self.sets else name for name in states]
        save_png(self.folder / "overview.png", panel(list(plots.values()), titles))
        checkpoints = {role: {"path": str(loaded.path)} | settings[role] for role, loaded in self.models.items()}
        used = dataclasses.asdict(self.config) | {"timestep_respacing": self.parsed.timestep_respacing}
        facts = run_facts(used, checkpoints, world.device) | {"sets": {
            name: self.sets[name] for name in states if name in self.sets}}
        facts["states"] = {name: {"mean": points.mean(axis=0, dtype=float).tolist(),
                                  "std": points.std(axis=0, dtype=float).tolist()} for name, points in states.items()}
        for name, points in states.items():
            if name.startswith("latent"):
                bar.note(f"{name}: mean {points.mean():.4f}, standard deviation {points.std():.4f}")
        if "source_2" in states:
            facts["cycle_error"] = errors = cycle_errors(states["source"], states["source_2"])
            bar.note(f"L2 distance of the round trip: mean {errors['mean']:.4g}, median {errors['median']:.4g}, "
                     f"max {errors['max']:.4g}")
        save_json(self.folder / "run.json", facts)
        bar.note(f"done: {len(points)} points, overview.png, run.json in {self.folder.resolve()}")


def _resolve_sampler(parsed, config_class):
    """Return the config; --timestep_respacing without --sampler means DDIM on those steps."""
    config = parsed.take(config_class)
    if parsed.timestep_respacing and "sampler" not in parsed.given:
        return dataclasses.replace(config, sampler="ddim")
    return config


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


def _check_local(out_dir):
    if is_url(out_dir):
        raise UserError(f"--out_dir {out_dir} is a URL, expected a local folder: copy the results afterwards")


def _check_numbers(config, **least):
    for name, number in least.items():
        if getattr(config, name) < number:
            raise UserError(f"--{name} is {getattr(config, name)}, expected {number} or more")
