"""Turn images of one domain into another in N steps, each with a soft label.

Both directions are translated, unless --direction names one. Of more than two domains, --models_dir and --data_dir name
the folders that hold them all, and --pairs what is wanted. The same command again continues.
With nothing but --amount, the embedded default is used: held-out patches of stained tissue, and two tiny models.
"""
from dataclasses import dataclass

from add.commands.shared.directions import Direction, WalkOptions, check_walk, resolve_config
from add.commands.shared.domain_ways import find_domains, refuse_images_of_another
from add.commands.shared.translation_job import run_directions
from add.config import MOST_DOMAINS, Checked, domains_option, option, path_option
from add.data import ImageSet
from add.diffusion import DiffusionConfig
from add.errors import UserError
from add.networks import ModelConfig
from add.runtime.given_models import describe, load_given
from add.runtime.options import Options, Parsed
from add.runtime.world import World

FIRST_OPTIONS = ("source_model_path", "target_model_path", "models_dir", "data_dir", "target_data_dir",
                 "domains", "pairs", "amount", "num_images", "out_dir", "device")  # what people use first


@dataclass(frozen=True)
class DomainOptions(Checked):
    """Domains to translate between: their models and images."""

    source_model_path: str = path_option("", "checkpoint or run folder of the source domain; left out: embedded stroma",
                                             "source_model")
    target_model_path: str = path_option("", "checkpoint or run folder of the target domain; left out: embedded gland",
                                             "target_model")
    models_dir: str = path_option("", "folder of run folders, one per domain, in place of the two models; --data_dir "
                                      "then holds a subfolder of images per domain, of the same names; other kinds of "
                                      "runs are passed over", "models")
    domains: str = domains_option("the order that the run folders were trained with, else sorted by name; of two "
                                  "models, the names of their folders")
    pairs: str = option("", "with --models_dir, what is translated: all, every ordered pair (the default); chain, "
                            "through all domains in order as one series, and back; or a list such as 0-1,2-0 or "
                            "mild-severe or mild-moderate-severe, which is a chain in that order")
    data_dir: str = path_option("", "folder of source images; left out with embedded models: held-out stroma patches",
                                    "images")
    target_data_dir: str = path_option("", "folder of target-domain images, the sources of the opposite direction",
                                           "backward_images", "backward_data_dir")
    source: int = option(0, "number of the source domain in the label vectors", least=0, most=MOST_DOMAINS - 1)
    target: int = option(1, "number of the target domain in the label vectors", least=0, most=MOST_DOMAINS - 1)
    num_domains: int = option(2, "length of the label vectors; with --models_dir the number of its domains",
                              least=2, most=MOST_DOMAINS)
    direction: str = option("both", "source to target, target to source, or both; with --models_dir forward means from "
                                    "a lower to a higher number", ("both", "forward", "backward"))


@dataclass(frozen=True)
class TranslationConfig(WalkOptions, DomainOptions):
    """Translation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pairs and not self.models_dir:
            raise UserError(f"--pairs {self.pairs} was given without --models_dir: expected a folder with a run folder "
                            f"per domain; give it, or leave out --pairs")
        clashing = [name for name in ("source_model_path", "target_model_path", "target_data_dir")
                    if getattr(self, name)]
        if self.models_dir and clashing:
            raise UserError(f"--models_dir was given with --{clashing[0]}, and both say where the domains are: "
                            f"expected either all domains in two folders (--models_dir, --data_dir) or a path for each "
                            f"of two; leave one out")


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, TranslationConfig, ModelConfig, DiffusionConfig, first=FIRST_OPTIONS)


def main(argv: list[str] | None = None) -> None:
    """Translate the images that the command line asks for."""
    parsed = build_options().parse(argv)
    run_directions(parsed, prepare_directions)


def prepare_directions(parsed: Parsed, world: World) -> list[Direction]:
    """Return the directions that the options ask for; nothing is written before all of them are known to work.

    Raises:
        UserError: unusable models, images, options or output folder.
    """
    config = resolve_config(parsed, TranslationConfig)
    domains = find_domains(config, parsed.given)
    models = {number: _load(path, parsed, world, config, is_source=not config.models_dir and number == config.source)
              for number, path in domains.models.items()}
    check_walk(list(models.values()), config)
    descriptions = {number: describe(loaded) for number, (_, _, loaded) in models.items()}
    size = next(iter(models.values()))[2].model.image_size
    sources = dict.fromkeys(way[0] for way in domains.ways)
    all_images = {number: ImageSet.from_folder(domains.images[number], size, skip_bad=config.skip_bad)
                  for number in sources}
    images = {number: config.chosen(found, domains.images[number]) for number, found in all_images.items()}
    refuse_images_of_another(domains, {number: found.files for number, found in images.items()})
    directions = []
    for way in domains.ways:
        roles = ["source", *(f"domain_{number}" for number in way[1:-1]), "target"]
        told = {role: descriptions[number] for role, number in zip(roles, way, strict=True)}
        networks, diffusions, loaded = zip(*(models[number] for number in way), strict=True)
        directions.append(Direction(
            parsed, config, way, domains.number, networks, diffusions, images[way[0]], domains.images[way[0]],
            told={f"{role}_model": description for role, description in told.items()},
            checkpoints={role: {"path": str(found.path)} | told[role]
                         for role, found in zip(roles, loaded, strict=True)},
            names=tuple(map(domains.say, way)),
            options={"source": way[0], "target": way[-1], "num_domains": domains.number},
            further={"domains": domains.all_names}, least_side=all_images[way[0]].least_side))
    if world.is_main:
        for sentence in domains.sentences:
            print(sentence, flush=True)
    return directions


def _load(path, parsed, world, config, is_source):
    """Return (network, diffusion, LoadedConfig) of one domain's model."""
    # The published defaults for checkpoints without a config: global-priority attention in the source model.
    found = load_given(path, parsed, world.device, config.backend, config.precision, use_new_attention_order=is_source)
    if found[2].model.class_cond:
        raise UserError(f"{found[2].path} is class-conditional: expected one unconditional model per domain; translate "
                        f"between its classes with add imagenet_translation, or train it without "
                        f"--class_cond")
    return found
