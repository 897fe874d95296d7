"""Train the diffusion model of one domain on a folder of images, or of each domain. The same command again resumes."""
import dataclasses
import sys
from pathlib import Path

from add.runtime import options

EMBEDDED_CONFIG = Path(__file__).resolve().parents[1] / "configs" / "tissue_stroma.yaml"


def build_options():
    from add.diffusion import DiffusionConfig
    from add.networks import ModelConfig
    from add.training import TrainConfig

    return options.Options(__doc__, TrainConfig, ModelConfig, DiffusionConfig,
                           default_config=lambda values: None if values["data_dir"] else EMBEDDED_CONFIG)


def main(argv=None):
    parsed = build_options().parse(argv)
    from add.data import embedded
    from add.networks import ModelConfig
    from add.runtime.training import counting_classes, folder_runs, train
    from add.training import TrainConfig

    config = parsed.take(TrainConfig)
    if not config.data_dir:
        config = dataclasses.replace(config, data_dir=str(embedded.train_dir(embedded.DOMAINS[0])))
    train(parsed, folder_runs(config), counting_classes(parsed, ModelConfig))


if __name__ == "__main__":
    sys.exit(options.run(main))
