"""Train a model that enlarges images, on pairs made from a folder of large ones.

The same command again resumes.
"""
from add.commands.shared.training_runs import counting_classes, folder_runs, train
from add.diffusion import DiffusionConfig
from add.networks import SuperResConfig
from add.runtime.options import Options
from add.training.run_config import SuperResTrainConfig


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, SuperResTrainConfig, SuperResConfig, DiffusionConfig)


def main(argv: list[str] | None = None) -> None:
    """Train the models that the command line asks for."""
    parsed = build_options().parse(argv)
    runs = folder_runs(parsed.take(SuperResTrainConfig), run_dir="runs/super_res")
    train(parsed, runs, counting_classes(parsed, SuperResConfig))
