"""Train the diffusion model of one domain, or of each, on a folder of images.

Without --data_dir, the embedded patches of one domain of stained tissue are learned, with the options of their config.
The same command again resumes. With --domain all, every domain after the first starts from the first one's weights.
"""
import dataclasses

from add.commands.shared.neighbour_starts import with_starts
from add.commands.shared.training_runs import counting_classes, folder_runs, train
from add.data import embedded
from add.diffusion import DiffusionConfig
from add.networks import ModelConfig
from add.runtime.options import Options
from add.training import TrainConfig

EMBEDDED_CONFIG = embedded.config_path(f"tissue_{embedded.DOMAINS[0]}.yaml")


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, TrainConfig, ModelConfig, DiffusionConfig,
                   default_config=lambda values: None if values["data_dir"] else EMBEDDED_CONFIG)


def main(argv: list[str] | None = None) -> None:
    """Train the models that the command line asks for."""
    parsed = build_options().parse(argv)
    config = parsed.take(TrainConfig)
    if not config.data_dir:
        config = dataclasses.replace(config, data_dir=str(embedded.train_dir(embedded.DOMAINS[0])))
    runs = with_starts(config, folder_runs(config), parsed.given, parsed.class_cond)
    train(parsed, runs, counting_classes(parsed, ModelConfig))
