"""Run a whole study: train, generate, measure and classify with few real images.

Everything is done by the project's own commands, each a step that a user can repeat by hand: the report lists them. A
step leaves OUT/nN/done/STEP.json when it ends; the same study again goes on with the first step that has none, and
the steps continue half-done work by themselves.
"""
import dataclasses
from pathlib import Path
from typing import ClassVar

import torch

from add.classification.classifier import NETWORKS
from add.classification.classifier_methods import BASELINES, SYNTHETIC, Method, parse_method
from add.classification.heads import OFFERED
from add.classification.label_rules import LABEL_RULES
from add.classification.places_file import PLACES, lacks_shrunk
from add.commands.shared.study_estimate import study_lines
from add.config import (
    MOST_IMAGES,
    MOST_PIXELS,
    MOST_STEPS,
    MOST_TIMESTEPS,
    Checked,
    HelpGroups,
    domains_option,
    estimate_option,
    expect,
    group_option,
    max_pixels_option,
    option,
    path_option,
    seed_option,
    split_names,
)
from add.data.files import changed_settings, save_json
from add.data.folders import list_images
from add.data.phantom import parse_bands
from add.data.transforms import ORIENTATIONS
from add.errors import UserError
from add.interfaces import Note
from add.results.report_page import page_line
from add.runtime.options import Options
from add.runtime.processes import set_threads
from add.runtime.progress import say
from add.study.analysis_plan import ENDPOINTS, PLAN, analysis_plan, write_plan
from add.study.draw_report import write_draw_report
from add.study.image_draws import ONLY_DRAW, Draw
from add.study.study_data import prepare_data, refuse_tested
from add.study.study_plan import RIVALS, plan, test_sets
from add.study.study_report import write_report
from add.study.study_steps import Step, run_steps
from add.study.workflow import FILE, elsewhere, run_workflow, write_workflow
from add.transition import PATHS


@dataclasses.dataclass(frozen=True)
class StudyConfig(Checked):
    """Study."""

    help_groups: ClassVar[HelpGroups] = {
        "images": ("dataset", "num_train", "num_test", "image_size", "bands", "domains", "group_pattern",
                   "unlabelled_dir", "max_pixels"),
        "models and generated images": ("train_config", "train_steps", "augment", "amount", "path", "num_sources",
                                        "num_samples", "sample_steps", "backend"),
        "draws": ("draws", "primary", "endpoint", "margin"),
        "classifiers and labels": ("methods", "heads", "num_seeds", "synthetic_share", "label_rule", "label_rules",
                                   "network", "classifier_steps", "max_images"),
        "methods of other papers": ("rival_minutes", "rival_config", "rival_sample_steps"),
        "output and speed": ("out_dir", "estimate", "jobs", "restarts", "prepare_only", "threads", "seed")}

    dataset: str = path_option("phantom", "phantom: drawn cells of known severity; tissue: scikit-image's stained "
                                          "section; or a folder with train/ and test/, each with one subfolder per "
                                          "domain", "images")
    bands: str = option("mild:0:0.3,severe:0.7:1", "the phantom's domains, NAME:LOW:HIGH with commas")
    domains: str = domains_option("of a folder sorted by name, of the phantom as --bands goes")
    group_pattern: str = group_option()
    max_pixels: int = max_pixels_option()
    unlabelled_dir: str = path_option("", "images of unknown stage, none of them a test image: a base model of them is "
                                          "trained first, in --train_steps, and both domains' models from it in half "
                                          "as many each; and what taught_unlabelled learns from", "unlabelled")
    image_size: int = option(32, "side of the images in pixels", least=1, most=MOST_PIXELS)
    num_train: str = option("50,100", "training images per domain, several sizes with commas; a fifth more are used "
                                      "for validation")
    num_test: int = option(1000, "test images per domain and test set", least=1, most=MOST_IMAGES)
    train_config: str = path_option("configs/phantom.yaml", "YAML file of the diffusion models' training options")
    train_steps: int = option(0, "training steps, the rate falling over the second half; 0: as the YAML file says",
                              least=0, most=MOST_STEPS)
    augment: str = option("dihedral", "flips and quarter turns of the real images that everything learns from: models, "
                                      "methods of other papers, classifiers; with dihedral the diffusion models do as "
                                      "their YAML files say", tuple(ORIENTATIONS))
    amount: int = option(10, "progressive images per source image, N", least=1, most=1000)
    path: str = option("blend", "path of the translations, as in `add translate`", PATHS)
    num_sources: int = option(100, "training images of each domain that are translated, at most",
                              least=1, most=MOST_IMAGES)
    num_samples: int = option(500, "unconditional samples of each domain's model", least=1, most=MOST_IMAGES)
    sample_steps: int = option(30, "network evaluations of a sample", least=1, most=MOST_TIMESTEPS)
    label_rules: str = option("depth,power,classifier,likelihood,blend", "rules for soft labels to judge")
    methods: str = option(",".join((*BASELINES, *SYNTHETIC)),
                          "methods to compare, as in `add classify`; of other papers progan, lofgan, mixdl, iddpm")
    heads: str = option("class", "what a classifier says, as in `add classify`", OFFERED)
    draws: int = option(1, "independent repetitions, each with training images, models and classifiers of its own; of "
                           "several, intervals hold for other training images, too, and the plan is noted before",
                        least=1, most=1000)
    primary: str = option("progressive", "the method that several draws are to tell about: is it better than every one "
                                         "without generated images?")
    endpoint: str = option("linked", "what several draws are compared by, where severities are known: the error of "
                                     "places by the line between the ends, or of these drawn towards the middle by as "
                                     "much as they scatter, shrunk; else always the AUC", tuple(ENDPOINTS))
    margin: float = option(0.005, "difference in the endpoint up to which methods of several draws count as the same",
                           least=0, most=1)
    rival_minutes: float = option(8.0, "minutes that a model of another paper is trained for each domain; lofgan, "
                                       "which learns all domains at once, gets them together", above=0, most=10**6)
    rival_config: str = path_option("configs/iddpm.yaml", "YAML file of IDDPM's training options")
    rival_sample_steps: int = option(100, "ancestral steps of an IDDPM sample", least=1, most=MOST_TIMESTEPS)
    label_rule: str = option("classifier", "soft labels of the method progressive", LABEL_RULES)
    synthetic_share: str = option("0.5", "share of synthetic images in each batch, as in `add classify`")
    num_seeds: int = option(5, "classifiers per method", least=1, most=1000)
    network: str = option("small_resnet", "classifier", NETWORKS)
    classifier_steps: int = option(300, "training steps of a classifier", least=1, most=MOST_STEPS)
    max_images: int = option(300, "images of each set that metrics are computed on", least=2, most=MOST_IMAGES)
    backend: str = option("torch", "how networks make images: torch, compile or onnx", ("torch", "compile", "onnx"))
    threads: int = option(1, "CPU threads of each command; 0: its own choice", least=0, most=1024)
    jobs: int = option(1, "commands at a time; more than one are run by Snakemake, share the cores, and their output "
                          "goes to OUT/nN/logs", least=1, most=1024)
    restarts: int = option(0, "of several commands at a time: how often one that failed is begun again", least=0,
                           most=1000)
    prepare_only: bool = option(False, "draw or copy the images, write OUT/workflow.json for Snakemake, print how to "
                                       "start it on a cluster, and stop")
    seed: int = seed_option("of data, models, samples and the first classifier")
    estimate: bool = estimate_option()
    out_dir: str = path_option("results/study", "folder for everything; the same study again continues", "out")

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_bands(self.bands)
        unknown = [rule for rule in self.label_rules.split(",") if rule not in LABEL_RULES]
        if unknown:
            raise UserError(f"label rule {unknown[0]!r} is unknown: expected some of {', '.join(LABEL_RULES)}")
        for method in self.parsed_methods():
            base, _, rule = method.source.partition("@")
            rule = rule or self.label_rule
            if base == "progressive" and rule not in self.label_rules.split(","):
                raise UserError(f"method {method.name} needs soft labels by the rule {rule}: add it to --label_rules")
        if self.draws > 1 and self.primary not in self.methods.split(","):
            raise UserError(f"--primary {self.primary} is not compared: expected one of --methods ({self.methods})")
        try:
            sizes = self.sizes()
        except ValueError as error:
            raise UserError(f"--num_train {self.num_train!r} is not understood: expected numbers, such as 50,100"
                            ) from error
        if (self.domains or self.group_pattern) and self.dataset in ("phantom", "tissue"):
            raise UserError(f"--domains and --group_pattern are for a folder of your own: expected neither with "
                            f"--dataset {self.dataset}; leave them out")
        if self.unlabelled_dir and self.train_steps < 2:
            raise UserError(f"--train_steps is {self.train_steps}: expected 2 or more with --unlabelled_dir, as "
                            f"many as the base model is trained")
        if any(method.images == "unlabelled" for method in self.parsed_methods()) and not self.unlabelled_dir:
            raise UserError("the method taught_unlabelled needs images of unknown stage: expected --unlabelled_dir; "
                            "give a folder, or leave the method out")
        expect(2 <= min(sizes) <= max(sizes) <= MOST_IMAGES, "num_train", self.num_train,
               f"2 to {MOST_IMAGES} training images per domain")

    def sizes(self) -> list[int]:
        """Return the sizes of the training sets, ascending."""
        return sorted({int(word) for word in self.num_train.split(",")})

    def parsed_methods(self) -> list[Method]:
        """Return the methods of --methods."""
        return [parse_method(name, RIVALS) for name in self.methods.split(",")]


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, StudyConfig)


def main(argv: list[str] | None = None) -> None:
    """Run the study that the command line asks for, and write its report."""
    parsed = build_options().parse(argv)
    config = parsed.take(StudyConfig)
    if config.estimate:
        set_threads(config.threads)
        say(study_lines(config, config.parsed_methods()))
        return
    out_dir = run_study(config, note=say)
    if config.prepare_only:
        say(f"\nthe workflow is written; on a cluster, from this folder:\n  {elsewhere((out_dir / FILE).resolve())}\n"
            f"then the same `add compare` without --prepare_only writes the report")
        return
    for path in write_reports(config, out_dir):
        print(f"written: {path}")
    print(page_line(out_dir))


def write_reports(config: StudyConfig, out_dir: Path) -> list[Path]:
    """Write the report of a finished study, and of each of several draws; return the paths of their files."""
    own = draws_of(config)
    paths = [path for _, draw_config in own for path in write_report(draw_config, draw_config.out_dir)]
    if config.draws == 1:
        return paths
    return [*paths, *write_draw_report(out_dir, [Path(draw_config.out_dir) for _, draw_config in own], config.sizes())]


def draws_of(config: StudyConfig) -> list[tuple[Draw, StudyConfig]]:
    """Return each draw of a study with its own options; a single one has the study's folder to itself."""
    if config.draws == 1:
        return [(ONLY_DRAW, config)]
    draws = [Draw(number, config.draws) for number in range(config.draws)]
    return [(draw, dataclasses.replace(config, draws=1, seed=draw.seed(config.seed),
                                       out_dir=str(Path(config.out_dir) / f"draw_{draw.number}"))) for draw in draws]


def run_study(config: StudyConfig, note: Note = lambda text: None) -> Path:
    """Do what the study lacks, and return its folder.

    Args:
        note: called with a sentence for the user.

    Raises:
        UserError: a step failed, after its own message; or OUT holds another study.
    """
    out_dir = Path(config.out_dir)
    if config.unlabelled_dir:
        list_images(config.unlabelled_dir)  # one that can't be read ends the study before anything is written
    _check_shrunk(config, out_dir)
    _check_same_study(config, out_dir)
    note(f"images of the study {config.dataset} in {out_dir.resolve()}")
    steps: list[tuple[Path, Step]] = []
    tests: list[Path] = []
    for draw, own in draws_of(config):
        images = prepare_data(config.dataset, own.out_dir, config.sizes(), config.num_test, config.image_size,
                              config.seed, parse_bands(config.bands),
                              split_names(config.domains) if config.domains else None, config.group_pattern, draw)
        if len(images.domains) != 2:
            raise UserError(f"{config.dataset} has the domains {', '.join(images.domains)}: a study compares two; give "
                            f"a folder, or bands, with two")
        if draw.of > 1 and draw.number == 0:
            write_plan(out_dir, analysis_plan(config, images), dataclasses.asdict(StudyConfig()))
            note(f"the plan is noted: {out_dir / PLAN}" + (
                "" if images.disjoint else
                "; there are too few training images, so that draws share some, or parts of them"))
        tests += test_sets(own.out_dir).values()
        steps += [(Path(own.out_dir) / f"n{size}", step)
                  for size in own.sizes() for step in plan(own, images.domains, size)]
    if config.unlabelled_dir:
        refuse_tested(config.unlabelled_dir, tests, config.image_size, config.group_pattern)
    if config.jobs == 1 and not config.prepare_only:
        run_steps(steps, note)
        return out_dir
    gpus = torch.cuda.device_count()
    workflow = write_workflow(out_dir, steps, config.threads, gpus)
    if not config.prepare_only:
        run_workflow(workflow, config.jobs, config.restarts, gpus)
    return out_dir


def _check_shrunk(config, out_dir):
    """Refuse to judge by shrunk places classifiers that an earlier version placed without: before the plan changes."""
    for places in sorted(out_dir.glob(f"draw_*/n*/classification/{PLACES}")) if config.endpoint == "shrunk" else []:
        done = places.parents[1] / "done" / "classify.json"
        if done.exists() and lacks_shrunk(places):
            raise UserError(f"{places} is of an earlier version, without shrunk places: expected them for --endpoint "
                            f"shrunk; remove {done} and those of the other draws, and the same study scores its "
                            f"classifiers again, without training them")


def _check_same_study(config, out_dir):
    """Refuse a folder of a study with other options but for those that only add to it; else note the options there."""
    path = out_dir / "study_options.json"
    given = dataclasses.asdict(config)
    adding = {"num_train", "methods", "num_seeds", "label_rules", "threads", "jobs", "out_dir", "estimate",
              "max_pixels", "primary", "endpoint", "margin", "restarts", "prepare_only"}
    adding |= {"draws"} if config.dataset == "phantom" else set()  # others deal their images out anew
    earlier = {"rival_augment": config.augment}  # an option once, of the methods of other papers alone
    if changed := changed_settings(path, given | earlier, adding, dataclasses.asdict(StudyConfig()) | earlier):
        raise UserError(f"{out_dir} holds a study with other options ({', '.join(changed)}): give the same ones to "
                        f"continue, or another --out_dir")
    save_json(path, given)
