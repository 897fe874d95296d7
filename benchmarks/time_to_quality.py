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
import csv
import dataclasses
import hashlib
import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from against_libraries import load_libraries
from budget_training import (
    BATCH,
    BrokeDown,
    OwnTraining,
    cpu_name,
    draw_samples,
    kid_of,
    own_versions,
    read_folder,
    train_for,
)
from quality_options import names_of, number_of, numbers_of
from quality_recipes import PHANTOM, RECIPES, REFERENCES, RIVALS, SETS, SLOW, options_of, runs_on
from quality_tables import report
from rivals_common import say

from add.data import embedded, save_json, save_png
from add.data.phantom import make_phantom_set
from add.diffusion import ModelMeanType
from add.errors import UserError
from add.metrics import load_features
from add.training import load_model
from add.training.held_out import MAX_IMAGES, held_out_loss
from add.training.loop import keep_freed_memory
from add.training.previews import tile
from add.transition.two_way_samplers import LEAST_STEPS

IN_PICTURE, COLUMNS = 32, 8
PACKAGES = {"diffusers": "diffusers", "ddpm_pytorch": "denoising-diffusion-pytorch"}


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
        self.training, self.held_out = (read_folder(path, self.image_size) for path in (self.train_dir, test_dir))
        self.features = features
        self.of_training, self.of_held_out = features(self.training), features(self.held_out)

    def distances(self, x):
        """Return {"held_out", "training"}: KID x 1000 of x [n, 3, S, S] in [-1, 1], its mean and spread of a subset."""
        found = self.features(x)
        return {"held_out": kid_of(found, self.of_held_out), "training": kid_of(found, self.of_training)}


# Training


def own_training(row, train_dir, folder):
    """Return the OwnTraining of a Row, in an empty folder."""
    ways = {"planned": False, "weights": ("model", "ema")} if row.recipe == "gd" else {}
    return OwnTraining(row.settings["options"], train_dir, folder, row.seed, row.budget, **ways)


class Embedded:
    """The published model of a domain, which is not trained here."""

    def __init__(self, domain):
        folder = embedded.model_dir(domain)
        self.model, self.diffusion, _ = load_model(folder)
        with open(folder / "progress.csv", newline="", encoding="utf-8") as file:
            *_, last = csv.DictReader(file)
        self.core_seconds = 60 * float(last["minutes"])
        self.parameters = sum(p.numel() for p in self.model.parameters())

    def models(self):
        """Yield (name of the weights, model, diffusion) to sample from."""
        yield "ema", self.model.to(memory_format=torch.channels_last), self.diffusion


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
        record["core_seconds"] = training.core_seconds
    else:
        training = (own_training(row, images.train_dir, folder) if library is None else
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


def versions(recipe):
    """Return {package: version} of what a recipe's row depends on."""
    other = {PACKAGES[recipe]: version(PACKAGES[recipe])} if recipe in RIVALS else {}
    return own_versions() | other


# The command


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
    parser.add_argument("--num_samples", type=number_of(int, 2), default=500,
                        help="images drawn of our recipes, for their KID (500)")
    parser.add_argument("--num_samples_rivals", type=number_of(int, 2), default=128,
                        help=f"images drawn of {', '.join(SLOW)}, which are slow (128)")
    parser.add_argument("--evaluations", type=number_of(int, LEAST_STEPS), default=20,
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
