"""Which depth rule and how many steps: evenness of the progression, and distance from the result with most steps.

python benchmarks/depth_rules.py    (prints a Markdown table; tens of minutes on 2 cores)

Held-out patches that are not among the embedded sources are translated in both directions with the embedded models.
Evenness is the mean distance of the target's mean probability at m from m / N, by the classifier trained with mixup,
and the largest step back. PSNR compares decoded images with those of the same rule at the first number of steps,
median and 5th percentile.
"""
import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from judge import probability, read, train_classifier

from add.data import embedded
from add.training import load_model
from add.transition import RULES, translate


def held_out(domain, count):
    """Return x [count, 3, 64, 64] of held-out patches, spread over the section, without the embedded sources."""
    sources = set(read(embedded.source_dir(domain))[1])
    x, names = read(embedded.test_dir(domain))
    places = [i for i, name in enumerate(names) if name not in sources]
    return x[[places[i] for i in np.linspace(0, len(places) - 1, count).round().astype(int)]]


def translate_both(count, amount, rule, steps):
    """Return (images [2, count, N, 3, H, W] of both directions, evaluations per image, rules followed)."""
    models = [load_model(embedded.model_dir(domain), timestep_respacing=str(steps)) for domain in embedded.DOMAINS]
    for model, *_ in models:
        model.to(memory_format=torch.channels_last)
    results = []
    for source, target in ((0, 1), (1, 0)):
        (model_a, diffusion, _), (model_b, _, _) = models[source], models[target]
        x = held_out(embedded.DOMAINS[source], count)
        results.append(translate(model_a, model_b, x, amount, diffusion, rule=rule, domains=(source, target)))
    followed = sum(plan.rule == rule for result in results for plan in result.plans)
    return torch.stack([result.targets for result in results]), np.mean([result.nfe for result in results]), followed


def psnr(x, reference):
    """Return the PSNR in dB of each image, for a range of 2."""
    error = (x.clamp(-1, 1) - reference.clamp(-1, 1)).square().flatten(-3).mean(dim=-1)
    return 10 * torch.log10(4 / error)


def evenness(x, classifiers):
    """Return (mean distance from the straight line, largest step back) of the target's mean probability by m."""
    amount = x.shape[2]
    p = torch.stack([probability(model, x.clamp(-1, 1).reshape(-1, *x.shape[3:])) for model in classifiers]).mean(dim=0)
    p = p.reshape(x.shape[:3])
    p = torch.stack([p[0], 1 - p[1]]).mean(dim=1)  # [2, N], of the target
    line = torch.arange(1, amount + 1) / amount
    return (p - line).abs().mean().item(), (p[:, :-1] - p[:, 1:]).clamp(min=0).max().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4, help="source images in each direction")
    parser.add_argument("--amount", type=int, default=10, help="progressive images per source image")
    parser.add_argument("--steps", default="1000,200,100,50,25", help="numbers of steps, most first")
    parser.add_argument("--rules", default=",".join(RULES), help="depth rules")
    args = parser.parse_args()
    classifiers = [train_classifier(seed, mixup=True)[0] for seed in range(3)]
    print("| rule | steps | followed | NFE | seconds per source image | distance from line | step back | PSNR median | "
          "5th percentile |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for rule in args.rules.split(","):
        reference = None
        for steps in args.steps.split(","):
            start = time.perf_counter()
            x, nfe, followed = translate_both(args.images, args.amount, rule, steps)
            seconds = (time.perf_counter() - start) / (2 * args.images)
            reference = x if reference is None else reference
            decibel = psnr(x, reference)
            far = "" if reference is x else f"{decibel.median():.1f} | {decibel.quantile(0.05):.1f}"
            distance, back = evenness(x, classifiers)
            print(f"| {rule} | {steps} | {followed}/{2 * args.images} | {nfe:.0f} | {seconds:.1f} | {distance:.3f} | "
                  f"{back:.3f} | {far or '- | -'} |", flush=True)


if __name__ == "__main__":
    main()
