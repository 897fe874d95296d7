"""Point sets that models carry through named states, and the folder that is written: the 2-D experiments of DDIB.

Su et al. 2023 (arXiv:2203.08382), Section 5.1. The points are carried in parts of --batch_size, shared out among the
processes; a finished part is kept until all are done, so that a stopped command continues.
"""
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from add.data.files import changed_settings, save_json, save_npy, save_png
from add.data.points import POINT_SETS
from add.data.read_back import read_npy
from add.errors import UserError
from add.interfaces import PathLike
from add.results.point_plots import heat_map, panel, scatter
from add.results.report_page import page_line
from add.runtime.given_models import describe, run_facts
from add.runtime.next_steps import next_steps
from add.runtime.options import Parsed
from add.runtime.progress import EvaluationBar
from add.runtime.shares import take_share
from add.runtime.world import World
from add.training import LoadedConfig

LAST_SET = len(POINT_SETS) - 1


def find_model(models_dir: PathLike, task: int, flag: str) -> Path:
    """Return the path of a point set's run in a folder: its name, its number, or DDIB's log2DNUMBER.

    Raises:
        UserError: there is none; `flag` names the option that gives one.
    """
    if not 0 <= task <= LAST_SET:
        raise UserError(f"there is no point set {task}: expected 0 to {LAST_SET}")
    names = (POINT_SETS[task].lower(), str(task), f"log2D{task}")
    for name in names:
        if (Path(models_dir) / name).exists():
            return Path(models_dir) / name
    raise UserError(f"{models_dir} holds no model of point set {task}: expected a run folder {' or '.join(names)} in "
                    f"it; train one with add synthetic_train --task {task}, or give --models_dir or {flag}")


@dataclasses.dataclass(frozen=True)
class PointJob:
    """Points that models carry through named states, in parts, and the folder that they are written to.

    names: of the states, the first known beforehand. sets: {state: what set it should look like}.
    models: by role. parsed, config: the command's options and its own config.
    evaluations: of a network, for one point. following: commands to go on with.
    """

    folder: Path
    names: tuple[str, ...]
    sets: Mapping[str, str]
    models: Mapping[str, LoadedConfig]
    parsed: Parsed
    config: Any
    evaluations: int
    following: Sequence[str]

    def run(self, points: np.ndarray, walk: Callable[[torch.Tensor], Sequence[torch.Tensor]], world: World,
            bar: EvaluationBar) -> None:
        """Write the folder for points [n, 2]; walk(part [b, 2]) -> the part's states, each [b, 2]."""
        settings = self._settings()
        if changed := changed_settings(self.folder / "settings.json", settings):
            raise UserError(f"{self.folder} holds points made otherwise ({', '.join(changed)}): give the same options "
                            f"to continue, or another --out_dir")
        finished = (self.folder / "run.json").exists()
        world.barrier()
        if finished:
            bar.note(f"finished already: {self.folder.resolve()}\n{next_steps(*self.following)}")
            return
        if world.is_main:
            save_json(self.folder / "settings.json", settings)
        size = self.config.batch_size
        firsts = range(0, len(points), size)
        todo = [first for first in firsts if not self._part(first).exists()]

        def cost(first):
            return self.evaluations * min(size, len(points) - first)

        for first in take_share(todo, len(firsts), cost, f"parts of at most {size} points", world, bar):
            walked = walk(torch.from_numpy(points[first:first + size]).to(world.device))
            states = torch.stack(list(walked)).cpu().numpy()  # [number of states, b, 2]
            if not np.isfinite(states).all():
                raise UserError(f"points {first} to {first + states.shape[1] - 1} left the finite numbers: expected a "
                                f"trained model; train it longer, or give more steps")
            save_npy(self._part(first), states)
        world.barrier()
        if world.is_main:
            parts = [self._read_part(first, len(points)) for first in firsts]
            states = np.concatenate(parts, axis=1)
            self._write(dict(zip(self.names, states, strict=True)), settings, world, bar)
            for path in self._part(0).parent.iterdir():
                path.unlink()
            self._part(0).parent.rmdir()

    def _part(self, first):
        return self.folder / "parts" / f"{first:06d}_{self.config.batch_size}.npy"

    def _read_part(self, first, count):
        sides = len(self.names), min(self.config.batch_size, count - first), 2
        return read_npy(self._part(first), np.floating, sides, "remove it, and the same command makes it again")

    def _settings(self):
        """Return what decides where the points come to lie; a folder continues only with it."""
        settings = {role: describe(loaded) for role, loaded in self.models.items()}
        settings["timestep_respacing"] = self.parsed.timestep_respacing
        for name in ("num_samples", "sampler", "encode_steps", "decode_steps", "seed"):
            if hasattr(self.config, name):
                settings[name] = getattr(self.config, name)
        if getattr(self.config, "amount", 1) > 1:  # points on the way; earlier versions had none
            settings |= {name: getattr(self.config, name) for name in ("amount", "path")}
        return settings

    def _write(self, states, settings, world, bar):
        plots: dict[str, list[np.ndarray]] = {"scatter": [], "heatmap": []}
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
        bar.close()
        bar.note(f"done: {len(points)} points, overview.png, run.json in {self.folder.resolve()}\n"
                 f"{next_steps(*self.following)}\n{page_line(self.folder)}")


def cycle_errors(points: ArrayLike, back: ArrayLike) -> dict[str, float]:
    """Return the L2 distances of points [n, 2] from where a round trip led them: mean, median, percentile 99, max."""
    distances = np.linalg.norm(np.asarray(back, dtype=float) - np.asarray(points, dtype=float), axis=1)
    return {"mean": float(distances.mean()), "median": float(np.median(distances)),
            "percentile_99": float(np.percentile(distances, 99)), "max": float(distances.max())}
