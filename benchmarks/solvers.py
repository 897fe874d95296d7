"""How far the images of fewer network evaluations lie from those of 1000-step DDIM, in both directions.

python benchmarks/solvers.py --reference_dir FOLDER    (the embedded tissue models and 12 held-out patches each way)
python benchmarks/solvers.py --reference_dir FOLDER --models RUN_A RUN_B --images FOLDER_A FOLDER_B

The reference, 1000 steps of DDIM both ways, is made at first use (an hour for the tissue on 2 cores) and kept in
--reference_dir. Samplers are given as NAME:ENCODE_STEPS:DECODE_STEPS, 0 for the sampler's own number, or ddim:STEPS.
PSNR (for a range of 2) is that of all decoded images; "cycle" is that of the source image against itself after a full
translation there and back, by the same sampler; evaluations are those of one source image and direction, N = 10.
CPU seconds count all threads, so that other work on the machine matters little.
"""
import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from judge import held_out

from add.data import ImageSet, embedded, to_model_input
from add.runtime.backends import with_backend
from add.runtime.given_models import sha256
from add.training import load_model
from add.transition import decode, encode, make_sampler, translate
from add.transition.fixed_batches import InBatches

AMOUNT = 10
PUBLISHED = 7497  # evaluations of the published code for one source image and direction, at depths 1/10 to 10/10
HELD_OUT = 19  # patches of stroma that are not among the embedded sources
DEFAULT = ("ddim:100,ddim:50,unipc,unipc:30:24,unipc:24:14,unipc:16:10,draft,dpm++2m:24:14,deis:24:14,heun:10:7,"
           "obelm")


def neighbours_last(x, count):
    """Return `count` of the patches x [n, 3, 64, 64], spread over the section; neighbours, which overlap, come last."""
    order = np.linspace(0, len(x) - 1, HELD_OUT).round().astype(int)
    return x[[*order[::2], *order[1::2]][:count]]


def psnr(x, reference):
    """Return the PSNR in dB of each image, for a range of 2."""
    error = (x.clamp(-1, 1) - reference.clamp(-1, 1)).square().flatten(-3).mean(dim=-1)
    return 10 * torch.log10(4 / error)


def first_images(folder, size, count):
    """Return x [count, 3, size, size] in [-1, 1] of the first images of a folder."""
    images = ImageSet.from_folder(folder, size)
    return to_model_input(images.batch(range(min(count, len(images)))))


class Pair:
    """Two models and source images of each, with their reference."""

    def __init__(self, args):
        self.args, self.networks = args, []
        self.paths = args.models or [embedded.model_dir(domain) for domain in embedded.DOMAINS]
        for path in self.paths:
            model, _, config = load_model(path)
            self.networks.append(with_backend(model, args.backend, sha256=sha256(path), device=torch.device("cpu"),
                                              image_size=config.model.image_size))
        if args.models:
            self.images = [first_images(folder, config.model.image_size, args.count) for folder in args.images]
        else:
            self.images = [neighbours_last(held_out(domain), args.count) for domain in embedded.DOMAINS]

    def diffusion(self, respacing=""):
        return load_model(self.paths[0], timestep_respacing=respacing)[1]

    def translate(self, source, spec):
        """Return (Translation, seconds, images after a full translation there and back) of direction `source`."""
        name, *steps = spec.split(":")
        respacing = steps[0] if name == "ddim" else ""
        sampler = make_sampler(name) if name == "ddim" else make_sampler(name, *map(int, steps))
        diffusion, x = self.diffusion(respacing), self.images[source]
        networks = self.networks[source], self.networks[1 - source]
        start = time.process_time()
        result = translate(*networks, x, AMOUNT, diffusion, sampler=sampler, rule="uniform",
                           batch_size=self.args.batch_size)
        seconds = (time.process_time() - start) / len(x)
        back = self.full(result.targets[:, -1], 1 - source, sampler, diffusion)
        return result, seconds, back

    def full(self, x, source, sampler, diffusion):
        """Return images x of domain `source` as full translations into the other."""
        networks = (InBatches(self.networks[place], self.args.batch_size) for place in (source, 1 - source))
        depths = torch.full((len(x), 1), diffusion.num_timesteps)
        latents = encode(next(networks), diffusion, x.clamp(-1, 1), depths, sampler)
        return decode(next(networks), diffusion, latents, depths, sampler)[:, 0]

    def reference(self, source):
        """Return (targets [B, N, 3, H, W], images there and back) of 1000-step DDIM, from a file once it is made."""
        path = self.args.reference_dir / f"{self.args.name}_{source}.npz"
        if not path.exists():
            result, _, back = self.translate(source, "ddim:1000")
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, x=self.images[source].numpy(), targets=result.targets.numpy(), back=back.numpy())
        with np.load(path) as file:
            if not np.array_equal(file["x"], self.images[source].numpy()):
                raise SystemExit(f"{path} belongs to other images: give another --reference_dir or --name")
            return torch.from_numpy(file["targets"]), torch.from_numpy(file["back"])


def row(cells):
    return "| " + " | ".join(cells) + " |"


def distances(values):
    """Return median, 5th percentile and minimum as table cells."""
    return [f"{value:.1f}" for value in (values.median(), values.quantile(0.05), values.min())]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference_dir", type=Path, required=True, help="folder of the 1000-step results")
    parser.add_argument("--models", nargs=2, help="run folders; left out: the embedded tissue models")
    parser.add_argument("--images", nargs=2, help="folders of images, the first --count are translated")
    parser.add_argument("--name", default="tissue", help="of the pair, in --reference_dir")
    parser.add_argument("--count", type=int, default=12, help="source images in each direction")
    parser.add_argument("--samplers", default=DEFAULT, help="NAME:ENCODE_STEPS:DECODE_STEPS, with commas between")
    parser.add_argument("--batch_size", type=int, default=8, help="images per network evaluation")
    parser.add_argument("--backend", default="torch", help="torch, compile or onnx")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if bool(args.models) != bool(args.images):
        parser.error("--models and --images go together: give both, or neither for the embedded tissue")
    pair = Pair(args)
    references = [pair.reference(source) for source in (0, 1)]
    print(row(["sampler", "direction", "evaluations", "fewer", "PSNR median", "5th percentile", "least", "cycle median",
               "CPU seconds per image"]))
    print(row(["---"] * 9))
    for source, (_, back) in enumerate(references):
        cycle = psnr(back, pair.images[source])
        print(row(["ddim:1000", f"{source} to {1 - source}", "6500", f"{PUBLISHED / 6500:.1f}x", "-", "-", "-",
                   f"{cycle.median():.1f}", "-"]))
    for spec in args.samplers.split(","):
        both = []
        for source, (targets, _) in enumerate(references):
            result, seconds, back = pair.translate(source, spec)
            far = psnr(result.targets, targets)
            both.append(far)
            cycle = psnr(back, pair.images[source]).median()
            print(row([spec, f"{source} to {1 - source}", f"{result.nfe:.0f}", f"{PUBLISHED / result.nfe:.0f}x",
                       *distances(far), f"{cycle:.1f}", f"{seconds:.2f}"]), flush=True)
        print(row([spec, "both", f"{result.nfe:.0f}", f"{PUBLISHED / result.nfe:.0f}x", *distances(torch.cat(both)), "",
                   ""]), flush=True)


if __name__ == "__main__":
    main()
