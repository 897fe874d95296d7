"""How many core-seconds of training give which quality: this package's recipe, its levers one by one, other libraries.

python benchmarks/time_to_quality.py --out_dir results/time_to_quality
python benchmarks/time_to_quality.py --out_dir results/time_to_quality --sets tissue --recipes before,all --budgets 500
python benchmarks/time_to_quality.py --out_dir results/time_to_quality --report    (prints the tables alone)

Every recipe trains on each set, with each seed, for each budget of core-seconds: processor time of the training steps
on one thread, without preparation, measurements and files. Each such row is a file of its own in OUT_DIR/rows, written
when it is measured, so that the same command again goes on, and several can run at once with different --recipes. At
the end it prints Markdown tables. 32 of each row's samples lie in OUT_DIR/samples.

Sets: `phantom` (32 px, 50 drawn images of the mild band, 500 held out), `tissue` and `stroma` (64 px, the embedded
gland and stroma patches: 450 to train on, 64 held out). Recipes are the dicts of quality_recipes.py. `gd` are
guided-diffusion's defaults, with a constant rate; `before` is this package's recipe before its levers; each lever is
measured alone on top of it, then `all` and `all_but_LEVER`. `diffusers` and `ddpm_pytorch` are the examples of these
libraries, which are left out where they are not installed. `embedded` is the published model, and `real` are the
training images themselves.

A rate that is planned rises over a tenth of the budget at most and falls linearly over its second half (the example of
diffusers: as a cosine over the whole).

KID x 1000 on EfficientNet-Lite0 features, of samples from the same noise by the same solver and as many evaluations,
whatever trained the network. Of `gd` plain weights and EMA are measured, and the better of the two counts; its EMA
is left out while more than 90 % of it are the weights that it started from.
"""
import argparse
import dataclasses
import hashlib
import json
import math
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from against_libraries import load_libraries
from quality_plan import FALL_STARTS, planned_fall, planned_start
from quality_recipes import EMBEDDED_CORE_SECONDS, PHANTOM, RECIPES, REFERENCES, RIVALS, SETS, SLOW, options_of, runs_on
from quality_tables import report
from rivals_common import say

from add import __version__
from add.data import ImageSet, embedded, save_json, save_png, to_model_input
from add.data.phantom import make_phantom_set
from add.diffusion import DiffusionConfig, ModelMeanType
from add.errors import UserError
from add.metrics import kid, load_features
from add.networks import ModelConfig
from add.runtime.world import World
from add.training import TrainConfig, load_model, prepare
from add.training.ema import share_of_start
from add.training.held_out import MAX_IMAGES, held_out_loss
from add.training.loop import keep_freed_memory
from add.training.previews import tile
from add.training.step_costs import measure_steps
from add.transition.from_noise import FromNoise, OwnNoise
from add.transition.two_way_samplers import LEAST_STEPS

NOISE_SEED, SUBSET_SEED = 7, 11
BATCH = 32  # images sampled or measured at once
IN_PICTURE, COLUMNS = 32, 8
USELESS_SHARE = 0.9  # an EMA with more of its start than this is not measured
PACKAGES = {"diffusers": "diffusers", "ddpm_pytorch": "denoising-diffusion-pytorch"}


class BrokeDown(Exception):
    """A loss that is no finite number; the message says which, and at which step."""


# The rows


@dataclasses.dataclass(frozen=True)
class Row:
    """A training and its measurement, or a measurement alone.

    settings: all that decides what is measured, beside set, recipe, seed and budget (core-seconds).
    """

    set: str
    recipe: str
    seed: int
    budget: float
    settings: dict

    @property
    def name(self):
        """The row's name in files."""
        digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()
        return f"{self.set}-{self.recipe}-seed{self.seed}-{self.budget:g}s-{digest[:8]}"


def settings_of(name, recipe, args):
    """Return the settings of a recipe on a set."""
    options = {} if recipe in REFERENCES else options_of(recipe, SETS[name][0])
    count = args.num_samples_rivals if recipe in SLOW else args.num_samples
    drawn = {} if recipe == "real" else {"num_samples": count, "evaluations": args.evaluations}
    return {"images": PHANTOM if name == "phantom" else "embedded", "options": options} | drawn


def wanted_rows(args):
    """Return the Rows that the options ask for, in the order in which they are measured."""
    found = []
    for name in args.sets:
        recipes = [recipe for recipe in args.recipes if runs_on(recipe, name)]
        settings = {recipe: settings_of(name, recipe, args) for recipe in recipes}
        found += [Row(name, recipe, 0, 0.0, settings[recipe]) for recipe in recipes if recipe in REFERENCES]
        found += [Row(name, recipe, seed, budget, settings[recipe]) for budget in args.budgets for seed in args.seeds
                  for recipe in recipes if recipe not in REFERENCES]
    return found


def path_of(row, args):
    """Return the file of a Row."""
    return args.out_dir / "rows" / f"{row.name}.json"


def measured_rows(args):
    """Return the rows measured so far of --sets and --recipes, of any seed and budget, with the settings of `args`."""
    found, others = [], 0
    for path in sorted((args.out_dir / "rows").glob("*.json")):
        row = json.loads(path.read_text(encoding="utf-8"))
        if row["set"] not in args.sets or row["recipe"] not in args.recipes:
            continue
        same = Row(row["set"], row["recipe"], row["seed"], row["budget"], settings_of(row["set"], row["recipe"], args))
        if path.stem == same.name:
            found.append(row)
        else:
            others += 1
    if others:
        say(f"{others} rows were made with other settings than the options' and the recipes' now, and are left out")
    return found


def measure_missing(args):
    """Measure the Rows that have no file yet, one after the other."""
    missing = [row for row in wanted_rows(args) if not path_of(row, args).exists()]
    modules, sentences = load_libraries([recipe for recipe in RIVALS if any(row.recipe == recipe for row in missing)])
    for sentence in sentences:
        say(sentence)
    missing = [row for row in missing if row.recipe not in RIVALS or row.recipe in modules]
    with tempfile.TemporaryDirectory() as scratch:
        sets, features = {}, load_features() if missing else None
        for i, row in enumerate(missing):
            say(f"row {i + 1} of {len(missing)}: {row.name}")
            if row.set not in sets:
                sets[row.set] = TrainingSet(row.set, Path(scratch), features)
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                record = measure(row, sets[row.set], modules.get(row.recipe), Path(folder), args)
            save_json(path_of(row, args), record)
            say(f"  {summary(record)}")


def summary(record):
    """Return a line on a row that was measured."""
    if record["broke_down"]:
        return f"broke down: {record['broke_down']}"
    return (f"KID x 1000 {record['kid']['held_out'][0]:.1f} after {record['steps']} steps in "
            f"{record['core_seconds']:.1f} core-seconds; sampling took {record['sampling_core_seconds']:.1f}")


class TrainingSet:
    """A set's images and their features.

    train_dir: folder of the training images. training, held_out: [n, 3, S, S] in [-1, 1].
    """

    def __init__(self, name, scratch, features):
        self.image_size, domain = SETS[name]
        if domain:
            self.train_dir, test_dir = embedded.train_dir(domain), embedded.test_dir(domain)
        else:
            make_phantom_set(scratch / "phantom", size=self.image_size, **PHANTOM)
            self.train_dir, test_dir = (scratch / "phantom" / split / "mild" for split in ("train", "test"))
        self.domain = domain
        self.training, self.held_out = self._read(self.train_dir), self._read(test_dir)
        self.features = features
        self.of_training, self.of_held_out = features(self.training), features(self.held_out)

    def _read(self, folder):
        images = ImageSet.from_folder(folder, self.image_size)
        return to_model_input(images.batch(range(len(images))))

    def distances(self, x):
        """Return {"held_out", "training"}: KID x 1000 of x [n, 3, S, S] in [-1, 1], its mean and spread of a subset."""
        found = self.features(x)
        return {"held_out": kid_of(found, self.of_held_out), "training": kid_of(found, self.of_training)}


def kid_of(features, real):
    """Return [mean, spread of a subset] of KID x 1000."""
    found = kid(features, real, generator=torch.Generator().manual_seed(SUBSET_SEED))
    return [1000 * found.mean, 1000 * found.spread]


# Training


class OwnTraining:
    """One of this package's recipes in training.

    Args:
        folder: an empty one, for the run.
    """

    def __init__(self, row, images, folder):
        options = row.settings["options"]
        self.planned, self.folder = row.recipe != "gd", folder
        self.weights = ("model", "ema") if row.recipe == "gd" else ("ema",)
        config = TrainConfig(data_dir=str(images.train_dir), run_dir=str(folder), seed=row.seed, device="cpu",
                             threads=1, max_steps=0, num_preview=0, tensorboard=False, **options["train"])
        model, diffusion = ModelConfig(**options["model"]), DiffusionConfig(**options["diffusion"])
        self.trainer = prepare(config, model, diffusion, World())
        self.parameters = sum(p.numel() for p in self.trainer.parameters)
        if self.planned:
            self.trainer.config = planned_start(config, int(row.budget / core_seconds_of_a_step(self.trainer)))

    @property
    def finished(self):
        """Whether the rate has fallen to 0."""
        return self.trainer.finished

    def step(self, core_seconds, budget):
        """Take one step, `core_seconds` of the budget being spent; return the loss."""
        trainer = self.trainer
        if self.planned and not trainer.config.lr_anneal_steps and core_seconds >= FALL_STARTS * budget:
            trainer.config = planned_fall(trainer.config, trainer.step, core_seconds, budget)
        losses, *_ = trainer.advance()
        return losses["loss"].mean().item()

    def models(self):
        """Yield (name of the weights, model, diffusion) to sample from."""
        trainer = self.trainer
        trainer.save(pictured=False)
        rate, ema = next(iter(trainer.emas.items()))
        for weights in self.weights:
            if weights == "ema" and share_of_start(ema.rate, trainer.step, ema.warmup) > USELESS_SHARE:
                continue
            prefix = "model" if weights == "model" else f"ema_{rate}_"
            model, diffusion, _ = load_model(self.folder / f"{prefix}{trainer.step:06d}.pt")
            yield weights, model.to(memory_format=torch.channels_last), diffusion


class Embedded:
    """The published model of a domain, which is not trained here."""

    def __init__(self, domain):
        self.model, self.diffusion, _ = load_model(embedded.model_dir(domain))
        self.parameters = sum(p.numel() for p in self.model.parameters())

    def models(self):
        """Yield (name of the weights, model, diffusion) to sample from."""
        yield "ema", self.model.to(memory_format=torch.channels_last), self.diffusion


def core_seconds_of_a_step(trainer):
    """Return the processor time of a step, in seconds, from a few that leave no trace."""
    wall, core = time.monotonic(), time.process_time()
    seconds = measure_steps(trainer).seconds
    return seconds * (time.process_time() - core) / (time.monotonic() - wall)


def train_for(training, budget):
    """Train for a budget of core-seconds; return (steps, core-seconds spent).

    Raises:
        BrokeDown: a loss is NaN or infinite.
    """
    steps, spent = 0, 0.0
    while spent < budget and not training.finished:
        start = time.process_time()
        loss = training.step(spent, budget)
        spent += time.process_time() - start
        steps += 1
        if not math.isfinite(loss):
            raise BrokeDown(f"the loss was {loss} at step {steps}")
    return steps, spent


# Measuring


def measure(row, images, library, folder, args):
    """Return the record of a Row, trained and measured; `library` is the module of a rival's recipe, else None."""
    record = dataclasses.asdict(row) | {
        "steps": 0, "core_seconds": 0.0, "preparing_core_seconds": 0.0, "parameters": 0, "num_samples": 0,
        "sampling_core_seconds": 0.0, "v_error": None, "broke_down": "", "cpu": cpu_name(),
        "versions": versions(row.recipe)}
    if row.recipe == "real":
        return record | {"kid": {"held_out": kid_of(images.of_training, images.of_held_out)}}
    start = time.process_time()
    if row.recipe == "embedded":
        training = Embedded(images.domain)
        record["core_seconds"] = EMBEDDED_CORE_SECONDS
    else:
        training = (OwnTraining(row, images, folder) if library is None else
                    library.OwnRecipe(images.training, row.seed, row.settings["options"]))
    record |= {"preparing_core_seconds": time.process_time() - start, "parameters": training.parameters}
    if row.recipe != "embedded":
        try:
            record["steps"], record["core_seconds"] = train_for(training, row.budget)
        except BrokeDown as error:
            return record | {"broke_down": str(error)}
        record["seconds_per_step"] = record["core_seconds"] / record["steps"]
    return record | measure_models(row, images, training, args)


def measure_models(row, images, training, args):
    """Return the entries of a record that samples give, of the better weights where there are several."""
    found = []
    for weights, model, diffusion in training.models():
        start = time.process_time()
        samples = draw_samples(model, diffusion, images.image_size, row.settings["num_samples"],
                               row.settings["evaluations"])
        seconds = time.process_time() - start
        if not torch.isfinite(samples).all():
            return {"broke_down": "the samples are not finite numbers"}
        name = f"samples/{row.name}-{weights}.png"
        save_png(args.out_dir / name, tile(samples[:IN_PICTURE], columns=COLUMNS))
        found.append({"weights": weights, "kid": images.distances(samples), "num_samples": len(samples),
                      "sampling_core_seconds": seconds, "picture": name,
                      "v_error": v_error_of(row, model, diffusion, images)})
    best = min(found, key=lambda entry: entry["kid"]["held_out"][0])
    return best | {"all_weights": found}


def v_error_of(row, model, diffusion, images):
    """Return the mean squared error of v on held-out images, None for other predictions and other schedules."""
    if row.recipe in RIVALS or diffusion.model_mean_type is not ModelMeanType.V:
        return None
    return held_out_loss(model, diffusion, images.held_out[:MAX_IMAGES], torch.device("cpu"), BATCH)


@torch.no_grad()
def draw_samples(model, diffusion, image_size, count, evaluations):
    """Return samples [count, 3, S, S] in [-1, 1], from the same noise every time."""
    way, shape = FromNoise("unipc", decode_steps=evaluations), (3, image_size, image_size)
    parts = [OwnNoise(NOISE_SEED, range(first, min(first + BATCH, count)), shape) for first in range(0, count, BATCH)]
    return torch.cat([way.images(model, diffusion, noise) for noise in parts]).clamp(-1, 1)


def cpu_name():
    """Return the name of the processor."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
                platform.processor() or platform.machine())


def versions(recipe):
    """Return {package: version} of what a recipe's row depends on."""
    other = {PACKAGES[recipe]: version(PACKAGES[recipe])} if recipe in RIVALS else {}
    return {"add": __version__, "python": platform.python_version(), "torch": torch.__version__} | other


# The command


def names_of(choices):
    """Return the type of an option that takes some of the choices, joined by commas."""
    def parse(text):
        names = [name.strip() for name in text.split(",")]
        if unknown := [name for name in names if name not in choices]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: expected some of {', '.join(choices)}")
        return list(dict.fromkeys(names))
    return parse


def numbers_of(kind, least):
    """Return the type of an option that takes numbers of a kind, `least` or more, joined by commas."""
    def parse(text):
        numbers = [kind(number) for number in text.split(",")]
        if min(numbers) < least:
            raise argparse.ArgumentTypeError(f"{text}: expected numbers of {least} or more")
        return numbers
    parse.__name__ = f"list of {kind.__name__}"
    return parse


def count_of(least):
    """Return the type of an option that takes a whole number, `least` or more."""
    def parse(text):
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text}: expected {least} or more")
        return int(text)
    parse.__name__ = "whole number"
    return parse


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out_dir", type=Path, required=True, help="folder of the rows and of pictures of samples")
    parser.add_argument("--report", action="store_true", help="print the tables of what was measured so far, only")
    parser.add_argument("--sets", type=names_of(SETS), default=["phantom", "tissue"],
                        help=f"some of {', '.join(SETS)} (phantom,tissue)")
    parser.add_argument("--recipes", type=names_of(RECIPES), default=list(RECIPES),
                        help=f"some of {', '.join(RECIPES)} (all)")
    parser.add_argument("--seeds", type=numbers_of(int, 0), default=[0, 1], help="seeds of training (0,1)")
    parser.add_argument("--budgets", type=numbers_of(float, 1), default=[500.0], help="core-seconds of training (500)")
    parser.add_argument("--num_samples", type=count_of(2), default=500,
                        help="images drawn of our recipes, for their KID (500)")
    parser.add_argument("--num_samples_rivals", type=count_of(2), default=128,
                        help=f"images drawn of {', '.join(SLOW)}, which are slow (128)")
    parser.add_argument("--evaluations", type=count_of(LEAST_STEPS), default=20,
                        help="network evaluations of a sample (20)")
    return parser


def main(argv=None):
    args = build_parser().parse_args(argv)
    torch.set_num_threads(1)
    keep_freed_memory()
    try:
        if not args.report:
            measure_missing(args)
    except UserError as error:
        sys.exit(f"error: {error}")
    print(report(measured_rows(args)))


if __name__ == "__main__":
    main()
