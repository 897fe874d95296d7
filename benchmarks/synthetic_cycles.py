"""How far the points of DDIB's 2-D sets come back from a translation there and back, for all ordered pairs of sets.

python benchmarks/synthetic_cycles.py --models_dir runs/synthetic

Samplers are given as NAME:ENCODE_STEPS:DECODE_STEPS, 0 for the sampler's own number, or ddim:STEPS. "cycle" is the mean
L2 distance, in units of the sets' standard deviation, between points and where the round trip led them; evaluations are
those of one point, CPU seconds (of all threads; on a GPU elapsed ones) those of 1000, for a round trip. "misfit" is
the sliced Wasserstein distance of the translated points from as many fresh draws of the target set: a sampler could
come back well from the wrong place. The last row, "fresh draws", is that of other fresh draws: what a perfect
translation comes near.
"""
import argparse
import itertools
import time
from pathlib import Path

import numpy as np
import torch

from add.commands.shared.point_job import cycle_errors, find_model
from add.data.points import POINT_SETS, draw_points
from add.training import load_model
from add.transition import check_schedules, make_sampler
from add.transition.point_translation import PointCloud, decode_points, encode_points

DEFAULT = "ddim:50,ddim:250,ddim:1000,unipc,unipc:72:40,unipc:144:80,heun,deis,dpm++2m,obelm"
DIRECTIONS = 64  # of the sliced distance


def row(cells):
    return "| " + " | ".join(cells) + " |"


def sliced_distance(a, b):
    """Return the Wasserstein-1 distance of points a, b [n, 2], averaged over their projections on many directions."""
    angles = np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    directions = np.stack([np.cos(angles), np.sin(angles)])
    return float(np.abs(np.sort(a @ directions, axis=0) - np.sort(b @ directions, axis=0)).mean())


class Round:
    """Round trips by one sampler between the sets of a folder of models; each set is encoded once for all its pairs."""

    def __init__(self, args, tasks, spec):
        name, *steps = spec.split(":")
        respacing = steps[0] if name == "ddim" else None
        self.sampler = make_sampler(name) if name == "ddim" else make_sampler(name, *map(int, steps))
        self.args, self.models = args, {}
        for task in tasks:
            path = find_model(args.models_dir, task, "--models_dir")
            model, diffusion, _ = load_model(path, args.device, timestep_respacing=respacing, kind="points")
            self.models[task] = PointCloud(model), diffusion
            check_schedules(self.models[tasks[0]][1], diffusion)
        self.points = {task: fresh(task, args.num_samples, args.seed) for task in tasks}
        self.encoded = {task: self.timed(encode_points, task, self.points[task]) for task in tasks}

    def timed(self, walk, task, points):
        """Return (points walked by the model of a set, evaluations of each, seconds for each)."""
        cloud, diffusion = self.models[task]
        clock = time.process_time if self.args.device == "cpu" else time.perf_counter
        before, start = cloud.evaluations, clock()
        parts = [walk(cloud, diffusion, part.to(self.args.device), self.sampler).cpu()
                 for part in torch.as_tensor(points).split(self.args.batch_size)]
        return torch.cat(parts), (cloud.evaluations - before) / len(points), (clock() - start) / len(points)

    def trip(self, source, target):
        """Return (cycle errors, misfit, evaluations, seconds) of the points of one set, through another and back."""
        latents, *costs = self.encoded[source]
        there, *costs_there = self.timed(decode_points, target, latents)
        second, *costs_second = self.timed(encode_points, target, there)
        back, *costs_back = self.timed(decode_points, source, second)
        evaluations, seconds = np.sum([costs, costs_there, costs_second, costs_back], axis=0)
        misfit = sliced_distance(there.numpy(), fresh(target, len(there), self.args.seed + 1))
        return cycle_errors(self.points[source], back), misfit, evaluations, seconds


def fresh(task, count, seed):
    return draw_points(task, count, np.random.default_rng([seed, task]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models_dir", type=Path, default=Path("runs/synthetic"), help="a run for each point set")
    parser.add_argument("--tasks", type=int, nargs="+", default=range(len(POINT_SETS)), help="point sets to pair")
    parser.add_argument("--samplers", default=DEFAULT, help="NAME:ENCODE_STEPS:DECODE_STEPS, with commas between")
    parser.add_argument("--num_samples", type=int, default=2000, help="points of each set")
    parser.add_argument("--batch_size", type=int, default=30000, help="points per network evaluation")
    parser.add_argument("--seed", type=int, default=0, help="what the points are drawn by")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pairs = list(itertools.permutations(args.tasks, 2))
    if not pairs:
        parser.error("--tasks needs two point sets or more")
    print(row(["sampler", "pair", "cycle mean", "median", "max", "misfit"]))
    print(row(["---"] * 6))
    summary = []
    for spec in args.samplers.split(","):
        trips = Round(args, list(args.tasks), spec)
        found = []
        for source, target in pairs:
            errors, misfit, evaluations, seconds = trips.trip(source, target)
            found.append((errors["mean"], misfit, evaluations, seconds, errors["max"]))
            print(row([spec, f"{source} to {target}", *(f"{errors[name]:.5f}" for name in ("mean", "median", "max")),
                       f"{misfit:.4f}"]), flush=True)
        worst = int(np.argmax([cycle for cycle, *_ in found]))
        cycle, misfit, evaluations, seconds, _ = np.mean(found, axis=0)
        summary.append([spec, f"{evaluations:.0f}", f"{seconds * 1000:.2f}", f"{cycle:.5f}", f"{found[worst][0]:.5f}",
                        f"{pairs[worst][0]} to {pairs[worst][1]}", f"{max(found, key=lambda f: f[4])[4]:.4f}",
                        f"{misfit:.4f}"])
    floor = np.mean([sliced_distance(fresh(task, args.num_samples, args.seed + 2),
                                     fresh(task, args.num_samples, args.seed + 1)) for task in args.tasks])
    print()
    print(row(["sampler", "evaluations", "seconds per 1000 points", "cycle, mean of pairs", "worst pair", "which",
               "worst point", "misfit, mean of pairs"]))
    print(row(["---"] * 8))
    for cells in [*summary, ["fresh draws", *["-"] * 6, f"{floor:.4f}"]]:
        print(row(cells))


if __name__ == "__main__":
    main()
