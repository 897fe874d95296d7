"""Seconds, dollars and bytes for a million progressive images on many GPUs: a calculation, not a measurement.

python benchmarks/scaling_model.py    (prints the tables of docs/scaling.md)

The network's operations are counted by PyTorch on its own graph; a GPU's speed, its price and its utilisation are
assumptions, and are options.
"""
import argparse
import math

import torch
from torch.utils.flop_counter import FlopCounterMode

from add.networks import create_model

NETWORKS = {
    "guided-diffusion's at 256 pixels (553 M parameters)": {
        "image_size": 256, "num_channels": 256, "num_res_blocks": 2, "attention_resolutions": "32,16,8",
        "num_head_channels": 64, "resblock_updown": True, "use_scale_shift_norm": True, "learn_sigma": True},
    "97 M parameters (128 channels, 1 block, attention at 16 and 8)": {
        "image_size": 256, "num_channels": 128, "num_res_blocks": 1, "attention_resolutions": "16,8",
        "num_head_channels": 64, "resblock_updown": True, "use_scale_shift_norm": True, "learn_sigma": False},
}
SAMPLERS = {"published code": (7497, True), "ddim, 50 steps": (325, False), "unipc (the default)": (163, False)}


def operations(options):
    """Return the floating-point operations of one image's evaluation by a network."""
    with torch.device("meta"):
        model = create_model(**options)
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            model(torch.empty(1, 3, options["image_size"], options["image_size"]), torch.empty(1))
    return counter.get_total_flops()


def duration(total):
    """Return seconds as text."""
    if total < 120:
        return f"{total:.0f} s"
    return f"{total / 60:.0f} min" if total < 7200 else f"{total / 3600:.1f} h"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10**6, help="progressive images to make")
    parser.add_argument("--amount", type=int, default=10, help="of them per source image")
    parser.add_argument("--gpus", default="1,8,512", help="numbers of GPUs")
    parser.add_argument("--tflops", type=float, default=989, help="peak of one GPU in bfloat16, TFLOP/s (H100 SXM)")
    parser.add_argument("--utilisation", type=float, default=0.35, help="share of it in full batches")
    parser.add_argument("--utilisation_alone", type=float, default=0.10, help="share of it one image at a time")
    parser.add_argument("--dollars", type=float, default=3.0, help="of one GPU for an hour")
    parser.add_argument("--batch_size", type=int, default=64, help="source images at a time on each GPU")
    parser.add_argument("--start", type=float, default=60, help="seconds until each process has its models loaded")
    parser.add_argument("--kilobytes", type=float, default=110, help="of one 256-pixel PNG")
    args = parser.parse_args()
    sources = math.ceil(args.images / args.amount)
    print("| network | GFLOP per evaluation | sampler | GPUs | seconds of one source image | time | dollars |\n"
          "| --- | --- | --- | --- | --- | --- | --- |")
    for name, options in NETWORKS.items():
        flop = operations(options)
        for sampler, (evaluations, alone) in SAMPLERS.items():
            speed = args.tflops * 1e12 * (args.utilisation_alone if alone else args.utilisation)
            one = evaluations * flop / speed
            for gpus in map(int, args.gpus.split(",")):
                rounds = math.ceil(sources / (gpus * args.batch_size))  # the slowest process decides
                total = args.start + rounds * args.batch_size * one
                dollars = gpus * total / 3600 * args.dollars
                print(f"| {name} | {flop / 1e9:.0f} | {sampler} | {gpus} | {one:.2f} | "
                      f"{duration(total)} | {dollars:,.0f} |")
    hashes = 64 * sources / 1e6
    print(f"\nImages {args.images * args.kilobytes / 1e6:.0f} GB, labels.csv {70 * args.images / 1e6:.0f} MB, records "
          f"{(350 + 60 * args.amount) * sources / 1e6:.0f} MB; hashes that all processes hear of once {hashes:.1f} MB")


if __name__ == "__main__":
    main()
