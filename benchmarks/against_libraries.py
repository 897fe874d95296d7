"""Translation, sampling and training beside diffusers, MONAI and denoising-diffusion-pytorch. Prints Markdown tables.

pip install diffusers monai denoising-diffusion-pytorch    (those that are missing are left out, and named)
python benchmarks/against_libraries.py --models runs/plain/stroma runs/plain/gland --reference reference.pt

Contenders take turns, each once a round and every second round in reverse order; a table gives the median over the
rounds with the quartiles. All run on --threads threads of the CPU.

Translation: the embedded source patches, N depths evenly spaced up to 999. --models names a pair of plain models, whose
weights diffusers runs as well: trained with --head_start none --patch_size 1, as docs/speed.md shows. PSNR (range 2) is
the distance of images from DDIM over all 1000 timesteps, which --reference keeps. Without --models the weights are
random, the same for this package and diffusers, and time alone is compared.
Training: each contender in a process of its own, images in memory, as near to the same network as its library has.
"""
import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent))
from rivals_common import NotInstalled, count_parameters, memory_mb, say, spread, table, take_turns

LIBRARIES = ("ours", "diffusers", "monai", "ddpm_pytorch")
WARM_UP = 2


def load_libraries(names):
    """Return {name: module} of those that are installed, and a sentence on each that is not."""
    modules, missing = {}, []
    for name in names:
        try:
            modules[name] = importlib.import_module(f"rivals_{name}")
        except NotInstalled as error:
            missing.append(f"Not installed and left out: {error}.")
    return modules, missing


def offered(modules, what, *args):
    """Return the list of what the libraries have under a name; some lack it."""
    return [item for module in modules.values() if hasattr(module, what) for item in getattr(module, what)(*args)]


def chosen(contenders, only):
    """Return the first contender, which all are compared with, and of the others those whose name has a given part."""
    return [contender for i, contender in enumerate(contenders)
            if i == 0 or not only or any(part in contender.name for part in only)]


def translation(modules, args):
    """Return the table of translations, ours first; with PSNR where the weights are not random."""
    from plain_models import plain_pair
    from solvers import psnr

    x, models = modules["ours"].read_sources(args.images), plain_pair(args.models)
    reference = read_reference(modules["ours"], models, x, args) if args.models else None
    contenders = chosen(offered(modules, "translations", models, x, args.amount), args.only)
    found = take_turns(contenders, args.rounds)
    base = median(found[contenders[0].name][0])
    rows = []
    for name, (seconds, images, evaluations) in found.items():
        far = ["own weights", ""] if args.models else []
        if args.models and images is not None:
            decibel = psnr(images, reference)
            far = [f"{decibel.median():.1f}", f"{decibel.quantile(0.05):.1f}"]
        rows.append([name, spread([value / args.images for value in seconds]), f"{median(seconds) / base:.2f}",
                     f"{evaluations / args.images:.0f}", f"{1000 * median(seconds) / evaluations:.2f}", *far])
    return table(["translation", "seconds per source image", "of ours", "network evaluations", "ms per evaluation",
                  *(["PSNR median, dB", "5th percentile"] if args.models else [])], rows)


def read_reference(ours, models, x, args):
    """Return the full-schedule images [B, N, 3, H, W], from --reference where it holds them."""
    import torch

    digests = [model.digest for model in models]
    if args.reference is not None and args.reference.exists():
        kept = torch.load(args.reference, weights_only=True)
        if kept.get("models") != digests:
            raise SystemExit(f"--reference {args.reference} holds images of other models than --models names: expected "
                             f"the same; name another file")
        same = kept["targets"].shape[1] == args.amount and torch.equal(kept["sources"][:len(x)], x)
        if not same:
            raise SystemExit(f"--reference {args.reference} holds {len(kept['sources'])} images at "
                             f"{kept['targets'].shape[1]} depths: expected at least {len(x)} of the same at "
                             f"{args.amount}; name another file")
        return kept["targets"][:len(x)]
    say(f"translating {len(x)} images on 1000 timesteps, for reference")
    targets = ours.reference(models, x, args.amount)
    if args.reference is not None:
        torch.save({"sources": x, "targets": targets, "models": digests}, args.reference)
    return targets


def sampling(modules, args):
    """Return the table of sampling from noise."""
    from plain_models import plain_pair

    contenders = offered(modules, "samplers", plain_pair(args.models), args.images, args.sample_steps)
    found = take_turns(contenders, args.rounds)
    base = median(found[contenders[0].name][0])
    sizes = {contender.name: count_parameters(contender.networks[0]) for contender in contenders}
    rows = [[name, spread([value / args.images for value in seconds], 3), f"{median(seconds) / base:.2f}",
             f"{evaluations / args.images:.0f}", f"{sizes[name]:.2f}"]
            for name, (seconds, _, evaluations) in found.items()]
    return table([f"sampling, {args.sample_steps} steps", "seconds per image", "of ours", "network evaluations",
                  "parameters, M"], rows)


def network(modules, args):
    """Return the table of one forward pass at several batch sizes."""
    import torch

    networks = {name: made for module in modules.values() for name, made in module.networks().items()}
    sizes = [int(size) for size in args.network_batches.split(",")]
    seconds = {(name, size): [] for name in networks for size in sizes}
    with torch.no_grad():
        for i in range(args.rounds + 1):
            for size in sizes:
                x, t = torch.randn(size, 3, 64, 64), torch.full((size,), 500)
                for name, made in networks.items():
                    start = time.perf_counter()
                    for _ in range(args.network_repeats):
                        made(x, t)
                    if i > 0:  # the first round warms up
                        seconds[name, size].append(1000 * (time.perf_counter() - start) / args.network_repeats / size)
    rows = [[name, f"{count_parameters(made):.2f}", *[spread(seconds[name, size]) for size in sizes]]
            for name, made in networks.items()]
    return table(["network, no gradient", "parameters, M", *[f"ms per image, batch {size}" for size in sizes]], rows)


def training(names, args):
    """Return (table of training steps, sentences on what is missing)."""
    found, missing = {}, {}
    for i in range(args.rounds):
        for name in names if i % 2 == 0 else names[::-1]:
            if name in missing:
                continue
            facts = run_worker(name, args)
            if "missing" in facts:
                missing[name] = f"Not installed and left out: {facts['missing']}."
                continue
            found.setdefault(name, []).append(facts)
            say(f"round {i + 1} of {args.rounds}: training, {name}, {median(facts['seconds']):.3f} s per step")
    base = median(seconds_of(found["ours"]))
    rows = [[facts[0]["name"], spread(seconds_of(facts), 3), f"{median(seconds_of(facts)) / base:.2f}",
             f"{median([run['peak_mb'] for run in facts]):.0f}", f"{median([run['before_mb'] for run in facts]):.0f}",
             f"{facts[0]['parameters']:.2f}", facts[0]["work"]]
            for facts in (found[name] for name in names if name in found)]
    return table([f"training, batch {args.batch_size}, {args.image_size} px", "seconds per step", "of ours",
                  "peak memory, MB", "before the first step, MB", "parameters, M", "a step beside the network"],
                 rows), list(missing.values())


def seconds_of(runs):
    return [value for run in runs for value in run["seconds"]]


def run_worker(name, args):
    """Return what a worker process printed."""
    command = [sys.executable, __file__, "--worker", name, "--steps", str(args.steps), "--batch_size",
               str(args.batch_size), "--image_size", str(args.image_size), "--threads", str(args.threads)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"the training process of {name} failed: see its message above")
    return json.loads(done.stdout.splitlines()[-1])


def work(args):
    """Train for some steps and print what was measured, as JSON."""
    import torch

    torch.set_num_threads(args.threads)
    modules, missing = load_libraries([args.worker])
    if missing:
        print(json.dumps({"missing": missing[0].split(": ", 1)[1].removesuffix(".")}))
        return
    step, parameters, does = modules[args.worker].trainer(args.image_size, args.batch_size)
    before, seconds = memory_mb("VmRSS"), []
    for _ in range(WARM_UP + args.steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({
        "name": modules[args.worker].NAME, "seconds": seconds[WARM_UP:], "parameters": parameters, "work": does,
        "before_mb": before, "peak_mb": memory_mb("VmHWM")}))


def versions():
    """Return the versions of what was compared, in a sentence."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for package in ("torch", "diffusers", "monai", "denoising-diffusion-pytorch"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def weights_of(args):
    """Return a sentence on the weights that translate and sample."""
    if args.models:
        return f"Translation and sampling: the weights of {' and '.join(args.models)} in add and diffusers."
    return ("Translation and sampling: random weights of fixed seeds, the same in add and diffusers; only time is "
            "compared.")


TABLES = {"network": network, "sampling": sampling, "translation": translation}
PARTS = ("training", *TABLES)


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="tables to make (default: all)")
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES[1:], default=LIBRARIES[1:],
                        help="libraries to compare with (default: all)")
    parser.add_argument("--models", nargs=2, metavar=("SOURCE", "TARGET"),
                        help="run folders of plain models of 64 pixels, v-prediction (default: random weights)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, in each of which every contender runs once (5)")
    parser.add_argument("--images", type=int, default=4, help="source images, or images to sample, at once (4)")
    parser.add_argument("--amount", type=int, default=10, help="depths of a translation (10)")
    parser.add_argument("--only", nargs="+", metavar="PART", help="translations whose name has one of these parts, "
                                                                  "such as '50 steps' (default: all)")
    parser.add_argument("--reference", type=Path, help="file of the 1000-step images; made where it is missing")
    parser.add_argument("--sample_steps", type=int, default=50, help="DDIM steps of sampling (50)")
    parser.add_argument("--network_batches", default="1,8,32", help="batch sizes of the forward pass (1,8,32)")
    parser.add_argument("--network_repeats", type=int, default=5, help="forward passes per round and size (5)")
    parser.add_argument("--steps", type=int, default=10, help="training steps of each contender in a round (10)")
    parser.add_argument("--batch_size", type=int, default=16, help="images per training step (16)")
    parser.add_argument("--image_size", type=int, default=64, help="side of training images, pixels, divisible by 8 "
                                                                   "(64)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    parser.add_argument("--worker", choices=LIBRARIES, help="train this one alone and print JSON; used by this command")
    return parser


def main(argv=None):
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.reference and not args.models:
        parser.error("--reference keeps images of --models: give both, or neither for random weights")
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    os.environ.setdefault("TQDM_DISABLE", "1")  # libraries draw bars for every sample
    if args.worker:
        work(args)
        return
    names, missing = ["ours", *args.libraries], []
    print(f"{versions()}; {args.threads} thread{'s' if args.threads > 1 else ''}, {args.rounds} rounds; "
          f"{args.images} images at once where the batch is not named.")
    if {"translation", "sampling"} & set(args.parts):
        print(weights_of(args), flush=True)
    if "training" in args.parts:  # before this process imports anything large
        lines, missing = training(names, args)
        print("\n" + lines, flush=True)
    if set(args.parts) - {"training"}:
        import torch

        torch.set_num_threads(args.threads)
        torch.manual_seed(0)
        modules, missing = load_libraries(names)
        for part, make in TABLES.items():
            if part in args.parts:
                print("\n" + make(modules, args), flush=True)
    for sentence in missing:
        print("\n" + sentence)


if __name__ == "__main__":
    main()
