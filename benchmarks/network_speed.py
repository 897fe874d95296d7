"""Time the network against guided-diffusion's own, with the same weights, in one run; prints a Markdown table.

The weights are random ones of a fixed seed, or those of --model: a plain one, which guided-diffusion's network can
hold, trained with --head_start none --patch_size 1 as docs/speed.md shows.

python benchmarks/network_speed.py --guided_diffusion ~/guided-diffusion    (your checkout of openai/guided-diffusion)

Every round times every contender once, in an order that rotates, so that other work on the machine hits all alike.
"""
import argparse
import copy
import dataclasses
import inspect
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from plain_models import load_plain, random_plain

from add.runtime.backends import BACKENDS, PRECISIONS, with_backend

CONTENDERS = ("contiguous", *BACKENDS)
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guided_diffusion", type=Path, required=True, metavar="PATH",
                        help="folder that holds the package guided_diffusion; nothing is fetched, copied or built")
    parser.add_argument("--model", help="checkpoint or run folder of a plain model without classes (default: random "
                                        "weights)")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS),
                        help="what is timed against guided-diffusion (default: all; compile takes minutes to start)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="batch sizes (default: 1 8)")
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds of each batch size (default: 15)")
    parser.add_argument("--images", type=int, default=8, help="images in one timing, at least (default: 8)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads (default: torch's)")
    parser.add_argument("--clock", choices=CLOCKS, default="wall",
                        help="cpu: processor time, for one thread on a machine that does other work (default: wall)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32",
                        help="of torch and compile; guided-diffusion and the others stay float32 (default: fp32)")
    return parser


def guided_diffusion_network(folder, config, state):
    """Return guided-diffusion's UNet of a ModelConfig, filled with the weights, in eval mode."""
    if not (folder / "guided_diffusion" / "script_util.py").is_file():
        raise SystemExit(f"error: {folder} holds no package guided_diffusion: give a checkout of it")
    sys.path.insert(0, str(folder))
    from guided_diffusion.script_util import create_model

    known = inspect.signature(create_model).parameters
    options = {name: value for name, value in dataclasses.asdict(config).items() if name in known}
    network = create_model(**options | {"use_fp16": False})
    network.load_state_dict(state)
    return network.eval()


def make_contenders(args, device, cache):
    """Return ({name: call(x, t)}, image size); the first is guided-diffusion's. `cache`: folder for ONNX files."""
    plain = load_plain(args.model) if args.model else random_plain(0)
    size = plain.model.image_size
    calls = {"guided-diffusion": guided_diffusion_network(
        args.guided_diffusion, plain.model, plain.network.state_dict()).to(device)}
    for name in args.contenders:
        model = copy.deepcopy(plain.network).to(device)
        if name == "contiguous":
            calls["torch, contiguous"] = model
            continue
        label = "torch, channels-last" if name == "torch" else name
        precision = "fp32" if name == "onnx" else args.precision
        calls[label + ("" if precision == "fp32" else f", {precision}")] = with_backend(
            model, name, sha256=plain.digest, image_size=size, device=device, precision=precision, cache_dir=cache,
            threads=args.threads)
    return calls, size


def compare(calls, x, t, rounds, images, clock):
    """Return ({name: largest absolute difference from the first}, {name: ms per image [rounds]})."""
    repeats = -(-images // len(x))
    expected = next(iter(calls.values()))(x, t)
    differences = {}
    for name, call in calls.items():  # warms up, and compiles
        differences[name] = (call(x, t) - expected).abs().max().item()
        call(x, t)
    times = {name: [] for name in calls}
    names = list(calls)
    for i in range(rounds):
        for name in names[i % len(names):] + names[:i % len(names)]:
            _wait(x.device)
            start = clock()
            for _ in range(repeats):
                calls[name](x, t)
            _wait(x.device)
            times[name].append(1000 * (clock() - start) / repeats / len(x))
    return differences, {name: np.array(values) for name, values in times.items()}


def _wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main(argv=None):
    args = build_parser().parse_args(argv)
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    with torch.no_grad(), tempfile.TemporaryDirectory() as cache:
        calls, size = make_contenders(args, device, cache)
        print(f"{args.model or 'random weights of seed 0'}, {size} px, {args.threads} thread(s) of {os.cpu_count()}, "
              f"load {os.getloadavg()[0]:.1f}, torch "
              f"{torch.__version__}, {args.clock} time, {args.rounds} rounds of at least {args.images} images\n")
        print("| batch | network | ms/image, median | quartiles | times as fast, median | largest difference |")
        print("| --- | --- | --- | --- | --- | --- |")
        for batch in args.batches:
            generator = torch.Generator().manual_seed(0)
            x = torch.randn(batch, 3, size, size, generator=generator).to(device)
            t = torch.linspace(0.5, 999, batch, device=device)
            differences, times = compare(calls, x, t, args.rounds, args.images, CLOCKS[args.clock])
            theirs = times["guided-diffusion"]
            for name, ours in times.items():
                low, high = np.percentile(ours, [25, 75])
                print(f"| {batch} | {name} | {np.median(ours):.1f} | {low:.1f} to {high:.1f} | "
                      f"{np.median(theirs / ours):.2f} | {differences[name]:.1e} |", flush=True)


if __name__ == "__main__":
    main()
