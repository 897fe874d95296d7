"""Translate images between the classes of one class-conditional model.

The classes are those of ImageNet or of any labelled folder. Images are translated as DDIB does, guided by a classifier
where one is given; with --amount also as a progressive series with soft labels. The same command again continues. In
labels.csv every class has a column p_k; of more than 100 only source, target and the last, and the rest are 0.

DDIB (Su et al. 2023, arXiv:2203.08382) encodes as the source class, not clipped and not guided, and decodes as the
target class, guided by a classifier where there is one. Progressive series, depth rules and fast solvers work here as
between domains, and so does guidance without a classifier.
"""
import dataclasses

from add.commands.shared.class_numbers import class_names, list_classes, number_classes, parse_classes
from add.commands.shared.classifier_guidance import GuidanceConfig, load_classifier
from add.commands.shared.directions import Direction, WalkOptions, check_walk, resolve_config
from add.commands.shared.translation_job import run_directions
from add.config import MOST_SCALE, Checked, option, path_option
from add.data import ImageSet
from add.diffusion import ClassifierFree, DiffusionConfig, ForClasses, class_gradient
from add.errors import UserError
from add.networks import ClassifierConfig, ModelConfig
from add.runtime.given_models import describe, load_given
from add.runtime.options import Options, Parsed
from add.runtime.world import World
from add.transition.fixed_batches import InBatches


@dataclasses.dataclass(frozen=True)
class ClassOptions(Checked):
    """Classes to translate between: their model and images."""

    model_path: str = path_option("", "checkpoint or run folder of a class-conditional model", "model")
    source: str = option("", "classes to translate from, with commas: numbers, or names where they are known")
    target: str = option("", "classes to translate to, one for each of --source")
    data_dir: str = path_option("", "source images: a subfolder per class, or files named CLASS_rest.png. A class is "
                                    "its name in training, else its number: 282 or 282_1.png", "images")
    val_dir: str = path_option("", "DDIB's spelling of data_dir")
    class_names: str = option("", "names of the model's classes in the order of their numbers, with commas or a file "
                                  "with a name per line, where the run doesn't remember them")
    guidance_scale: float = option(1.0, "guidance without a classifier in decoding: 1 is the model's own, more "
                                        "exaggerates the target class; needs a model trained with --class_dropout",
                                   least=-MOST_SCALE, most=MOST_SCALE)
    eta: float = option(0.0, "DDIB's; only 0 is a translation", least=0, most=1)


@dataclasses.dataclass(frozen=True)
class ClassTranslationConfig(WalkOptions, ClassOptions):
    """Translation between classes."""

    amount: int = option(1, "progressive images per source image, N; 1: the full translation only", least=1, most=1000)
    clip_denoised: bool = option(True, "clip the predicted clean image to [-1, 1] in decoding; encoding never clips")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eta:
            raise UserError(f"--eta is {self.eta}, expected 0: with fresh noise in decoding, the latent no longer "
                            f"decides the image, so it would be a sample of the target class and no translation")
        if self.data_dir and self.val_dir and self.data_dir != self.val_dir:
            raise UserError(f"--data_dir {self.data_dir} and --val_dir {self.val_dir} mean the same: expected one "
                            f"folder of images; leave one out")


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, ClassTranslationConfig, GuidanceConfig, ModelConfig, ClassifierConfig, DiffusionConfig)


def main(argv: list[str] | None = None) -> None:
    """Translate the images that the command line asks for."""
    parsed = build_options().parse(argv)
    run_directions(parsed, prepare_class_directions)


def prepare_class_directions(parsed: Parsed, world: World) -> list[Direction]:
    """Return a direction for each pair of classes; nothing is written before all of them are known to work.

    Raises:
        UserError: unusable models, images, options or output folder, or classes whose numbers are not known for sure.
    """
    config = resolve_config(parsed, ClassTranslationConfig)
    data_dir = config.data_dir or config.val_dir
    for name, value in (("model_path", config.model_path), ("data_dir", data_dir)):
        if not value:
            raise UserError(f"no --{name} was given: expected a class-conditional model and a folder of images by "
                            f"class; give both")
    model, diffusion, loaded = load_given(config.model_path, parsed, world.device, config.backend, config.precision)
    _check_model(loaded, config)
    check_walk([(model, diffusion, loaded)], config)
    names = class_names(loaded, config.class_names)
    num_classes = len(names) or loaded.model.num_classes
    pairs = parse_classes(config.source, config.target, names, num_classes)
    classes = list_classes(data_dir)
    found = number_classes(classes, names, num_classes)

    def say(number):
        return names[number] if names else f"class {number}"

    if missing := sorted({s for s, _ in pairs} - found.keys()):
        lacking = " or ".join(f"{say(s)} (class {s})" if names else say(s) for s in missing)
        raise UserError(f"{data_dir} holds no images of {lacking}: expected some of every class in --source; add them, "
                        f"or leave the class out")
    classifier, settings, checkpoints = _load_classifier(parsed, world, config, loaded)
    about = describe(loaded)
    settings = {"model": about, "guidance_scale": config.guidance_scale} | settings
    checkpoints = {"model": {"path": str(loaded.path)} | about} | checkpoints
    images = {s: config.chosen(ImageSet.from_paths(classes[found[s]], loaded.model.image_size,
                                                   skip_bad=config.skip_bad), data_dir)
              for s in dict.fromkeys(s for s, _ in pairs)}
    directions = []
    for source, target in pairs:
        gradient = classifier and InBatches(class_gradient(classifier, target, parsed.classifier_scale),
                                            config.batch_size)
        directions.append(Direction(
            parsed, config, (source, target), num_classes,
            (ForClasses(model, source), _decoder(model, target, loaded, config)), (diffusion, diffusion),
            images[source], data_dir, settings | {"source": source, "target": target}, checkpoints,
            guidance={"clip_encoded": False, "cond_fn": gradient},
            names=(say(source), say(target)),
            options=dataclasses.asdict(parsed.take(GuidanceConfig)), further={"classes": names} if names else {}))
    return directions


def _decoder(model, target, loaded, config):
    """Return what decodes as the target class, called as model(x, t)."""
    if config.guidance_scale == 1:
        return ForClasses(model, target)
    return ClassifierFree(model, target, config.guidance_scale, loaded.model.num_classes)


def _load_classifier(parsed, world, config, loaded):
    """Return (classifier, what settings say of it, what checkpoints say of it), or (None, {}, {}) without one."""
    guidance = parsed.take(GuidanceConfig)
    if not guidance.classifier_path:
        if "classifier_scale" in parsed.given:
            raise UserError(f"--classifier_scale {guidance.classifier_scale} was given without --classifier_path: "
                            f"expected a classifier of noisy images; give one, or leave it out")
        return None, {}, {}
    classifier, found = load_classifier(parsed, loaded, world.device, config.precision)
    about = describe(found)
    return (classifier, {"classifier": about, "classifier_scale": guidance.classifier_scale},
            {"classifier": {"path": str(found.path)} | about})


def _check_model(loaded, config):
    if not loaded.model.class_cond:
        raise UserError(f"{loaded.path} knows no classes: expected a model trained with --class_cond; for one model "
                        f"per domain use add translate")
    if config.guidance_scale != 1 and not loaded.model.class_dropout:
        raise UserError(f"--guidance_scale is {config.guidance_scale} and {loaded.path} was trained without class "
                        f"dropout: expected 1; train a model with --class_dropout 0.1, or guide by --classifier_path")

