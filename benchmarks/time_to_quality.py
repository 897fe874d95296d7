"""How many training steps each of two recipes needs for samples of the same quality, with the same network.

python benchmarks/time_to_quality.py --recipe ours --run_dir runs/quality --train_dir TRAIN --test_dir TEST
python benchmarks/time_to_quality.py --recipe gd --run_dir runs/quality --train_dir TRAIN --test_dir TEST
python benchmarks/time_to_quality.py --report --run_dir runs/quality    (prints Markdown tables)

`gd` are guided-diffusion's defaults: epsilon prediction, uniform timesteps, AdamW at 1e-4 without warm-up, EMA 0.9999
from the first step on. `ours` predicts v with min-SNR weights 5, draws stratified timesteps, trains at 1e-3 with 200
steps of warm-up and a linear fall over the second half of --horizon steps, mirrors and turns images, clips gradients
at norm 1, and lets the EMA (0.999) warm up. Network, batch and images are the same.

At each of --checkpoints the model draws --num_samples images (DDIM, --sampling_steps steps, from one fixed noise), and
their KID to the held-out images is added to RUN_DIR/kid_RECIPE.json; the same command again goes on. guided-diffusion's
EMA is too slow for short runs, so its plain weights are measured as well, and the better of the two counts.
"""
import argparse
import json
import sys
from pathlib import Path

import torch

from add.data import ImageSet, save_json, to_model_input
from add.diffusion import DiffusionConfig
from add.errors import UserError
from add.metrics import kid, load_features
from add.networks import ModelConfig
from add.runtime.processes import World
from add.training import TrainConfig, load_model, prepare
from add.training.step_randomness import draw_noise

MODEL = {"image_size": 32, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1,2,2",
         "attention_resolutions": "16,8", "num_heads": 4}
RECIPES = {
    "ours": {
        "train": {"schedule_sampler": "stratified", "lr": 1e-3, "lr_warmup_steps": 200, "ema_rate": "0.999",
                  "ema_warmup": True, "augment": "dihedral", "grad_clip": 1.0},
        "diffusion": {"prediction": "v", "min_snr_gamma": 5.0},
        "weights": ["ema"],
    },
    "gd": {
        "train": {"schedule_sampler": "uniform", "lr": 1e-4, "ema_rate": "0.9999", "ema_warmup": False,
                  "augment": "none"},
        "diffusion": {"prediction": "epsilon"},
        "weights": ["model", "ema"],
    },
}
NAMES = {"ours": "ours", "gd": "guided-diffusion's defaults"}
NOISE_SEED, SUBSET_SEED = 7, 11


def configs(recipe, args, step):
    """Return (TrainConfig, ModelConfig, DiffusionConfig) of a recipe's run up to `step`."""
    settings = RECIPES[recipe]
    fall = {"lr_anneal_start": args.horizon // 2, "lr_anneal_steps": args.horizon} if recipe == "ours" else {}
    train = TrainConfig(
        data_dir=args.train_dir, run_dir=str(args.run_dir / recipe), batch_size=args.batch_size, max_steps=step,
        save_interval=step, log_interval=50, num_preview=0, tensorboard=False, seed=args.seed, device="cpu", threads=1,
        **settings["train"], **fall)
    return train, ModelConfig(**MODEL), DiffusionConfig(**settings["diffusion"])


def checkpoint(recipe, args, step, weights):
    """Return the path of a recipe's checkpoint file at `step`; weights are "model" or "ema"."""
    prefix = "model" if weights == "model" else f"ema_{RECIPES[recipe]['train']['ema_rate']}_"
    return args.run_dir / recipe / f"{prefix}{step:06d}.pt"


def train_to(recipe, args, step):
    """Train up to `step`, from where the run stands; return the seconds of training so far."""
    trainer = prepare(*configs(recipe, args, step), World(), note=lambda text: print(text, file=sys.stderr))
    trainer.run()
    return trainer.seconds


@torch.no_grad()
def draw_samples(path, args):
    """Return [n, 3, 32, 32] samples of a checkpoint, from noise that is the same for every one."""
    model, diffusion, _ = load_model(path, timestep_respacing=str(args.sampling_steps))
    model.to(memory_format=torch.channels_last)
    size = MODEL["image_size"]
    noise = draw_noise((args.num_samples, 3, size, size), NOISE_SEED, 0, 0, torch.device("cpu"))
    return torch.cat([diffusion.ddim_sample_loop(model, part.shape, noise=part, clip_denoised=True)
                      for part in noise.split(32)])


class Judge:
    """Measures the KID of images to the held-out ones of --test_dir."""

    def __init__(self, args):
        self.features = load_features()
        self.held_out = self.features(read(args.test_dir))

    def __call__(self, x):
        """Return (KID mean, spread) of images x [n, 3, H, W] in [-1, 1]."""
        found = kid(self.features(x), self.held_out, generator=torch.Generator().manual_seed(SUBSET_SEED))
        return found.mean, found.spread


def read(folder):
    """Return float32 [n, 3, 32, 32] of a folder's images."""
    images = ImageSet.from_folder(folder, MODEL["image_size"])
    return to_model_input(images.batch(range(len(images))))


def some_real(args):
    """Return num_samples of the training images, spread over the folder, or all of a smaller set."""
    x = read(args.train_dir)
    return x[torch.linspace(0, len(x) - 1, min(args.num_samples, len(x))).round().long()]


def settings_of(args):
    """Return what must stay the same for KIDs to compare."""
    names = ("train_dir", "test_dir", "num_samples", "sampling_steps", "batch_size", "horizon", "seed")
    return {name: getattr(args, name) for name in names} | {"model": MODEL}


def read_record(args, recipe):
    """Return {"settings", "rows"} of RUN_DIR/kid_RECIPE.json; new where there is none."""
    path = args.run_dir / f"kid_{recipe}.json"
    settings = settings_of(args)
    if not path.exists():
        return {"settings": settings, "rows": []}
    record = json.loads(path.read_text())
    if record["settings"] != settings:
        raise UserError(f"{path} was measured with other settings: {record['settings']}, given {settings}; give the "
                        f"same, or another --run_dir")
    return record


def measure(recipe, args):
    """Train to each checkpoint and add its KID to the record."""
    record, judge = read_record(args, recipe), Judge(args)
    path = args.run_dir / f"kid_{recipe}.json"

    def add_row(step, weights, seconds, images):
        mean, spread = judge(images)
        record["rows"].append({"step": step, "weights": weights, "kid": mean, "spread": spread,
                               "training_seconds": seconds})
        save_json(path, record)
        print(f"{recipe} step {step} {weights}: KID x 1000 {1e3 * mean:.2f}, spread {1e3 * spread:.2f}, after "
              f"{seconds / 60:.1f} min of training", flush=True)

    def missing(step, weights):
        return not any(row["step"] == step and row["weights"] == weights for row in record["rows"])

    if missing(0, "real"):
        add_row(0, "real", 0.0, some_real(args))
    for step in args.checkpoints:
        wanted = [weights for weights in RECIPES[recipe]["weights"] if missing(step, weights)]
        if not wanted or 0 < args.max_steps < step:
            continue
        seconds = train_to(recipe, args, step)
        for weights in wanted:
            add_row(step, weights, seconds, draw_samples(checkpoint(recipe, args, step, weights), args))


# The report


def best_by_step(rows):
    """Return [(step, KID)], ascending in step, of the better weights at each."""
    steps = sorted({row["step"] for row in rows if row["step"] > 0})
    return [(step, min(row["kid"] for row in rows if row["step"] == step)) for step in steps]


def steps_to_reach(curve, level):
    """Return the first step of a curve [(step, KID)] at or below `level`, or None where none is."""
    return next((step for step, value in curve if value <= level), None)


def compare(ours, theirs):
    """Return rows (step, KID, their step or None, ratio or lower bound) for each step of `ours` that improves."""
    rows, best = [], float("inf")
    for step, value in ours:
        if value >= best:
            continue
        best = value
        reached = steps_to_reach(theirs, value)
        rows.append((step, value, reached, (reached or theirs[-1][0]) / step))
    return rows


def report(args):
    """Print the KIDs of both recipes and how many times fewer steps ours needs."""
    records = {}
    for recipe in RECIPES:
        path = args.run_dir / f"kid_{recipe}.json"
        if not path.exists():
            raise UserError(f"{path} does not exist: run this benchmark with --recipe {recipe} first")
        records[recipe] = json.loads(path.read_text())
    print("| recipe | weights | step | minutes of training | KID x 1000 | spread of a subset x 1000 |\n"
          "| --- | --- | --- | --- | --- | --- |")
    real = next(row for row in records["ours"]["rows"] if row["weights"] == "real")
    print(f"| real training images | - | - | - | {1e3 * real['kid']:.2f} | {1e3 * real['spread']:.2f} |")
    for recipe, record in records.items():
        for row in sorted(record["rows"], key=lambda row: (row["weights"] == "ema", row["step"])):
            if row["weights"] != "real":
                print(f"| {NAMES[recipe]} | {row['weights']} | {row['step']} | {row['training_seconds'] / 60:.1f} | "
                      f"{1e3 * row['kid']:.2f} | {1e3 * row['spread']:.2f} |")
    curves = {recipe: best_by_step(record["rows"]) for recipe, record in records.items()}
    if not all(curves.values()):
        return
    print("\n| our step | our KID x 1000 | guided-diffusion's defaults reach it at step | times fewer steps |\n"
          "| --- | --- | --- | --- |")
    for step, value, reached, ratio in compare(curves["ours"], curves["gd"]):
        where = reached or f"not by {curves['gd'][-1][0]}"
        print(f"| {step} | {1e3 * value:.2f} | {where} | {'' if reached else 'more than '}{ratio:.1f} |")


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=tuple(RECIPES), help="recipe to train and measure")
    parser.add_argument("--report", action="store_true", help="print the tables of what was measured so far")
    parser.add_argument("--run_dir", type=Path, required=True, help="folder of both runs and their KIDs")
    parser.add_argument("--train_dir", help="folder of training images, reduced to 32 pixels")
    parser.add_argument("--test_dir", help="folder of held-out images to measure the KID to")
    parser.add_argument("--checkpoints", default="250,500,750,1000,1500,2000,3000,4000,5000,6000,7500,9000",
                        help="steps at which to measure")
    parser.add_argument("--max_steps", type=int, default=0, help="leave out checkpoints after this step; 0: none")
    parser.add_argument("--horizon", type=int, default=3000, help="step at which our learning rate has fallen to 0")
    parser.add_argument("--num_samples", type=int, default=256, help="images drawn at each checkpoint")
    parser.add_argument("--sampling_steps", type=int, default=50, help="DDIM steps")
    parser.add_argument("--batch_size", type=int, default=16, help="training images per step")
    parser.add_argument("--seed", type=int, default=0, help="seed of training")
    return parser


def main(argv=None):
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.report == bool(args.recipe):
        parser.error("give either --recipe ours, --recipe gd or --report")
    if args.recipe and not (args.train_dir and args.test_dir):
        parser.error("--recipe needs --train_dir and --test_dir")
    args.checkpoints = sorted(int(step) for step in args.checkpoints.split(","))
    torch.set_num_threads(1)
    try:
        report(args) if args.report else measure(args.recipe, args)
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
