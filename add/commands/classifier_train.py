"""Train a classifier of noisy images, which can guide sampling.

Its classes are the subfolders of --data_dir, or what file names begin with. The same command again resumes.
"""
from collections.abc import Mapping

from add.commands.shared.training_runs import counting_classes, folder_runs, train
from add.diffusion import DiffusionConfig
from add.networks import ClassifierConfig
from add.runtime.options import Options
from add.training.run_config import ClassifierTrainConfig


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, ClassifierTrainConfig, ClassifierConfig, DiffusionConfig)


def main(argv: list[str] | None = None) -> None:
    """Train the classifiers that the command line asks for, and print their accuracy."""
    parsed = build_options().parse(argv)
    runs = folder_runs(parsed.take(ClassifierTrainConfig), run_dir="runs/classifier")
    for trainer in train(parsed, runs, counting_classes(parsed, ClassifierConfig)):
        if trainer.world.is_main and (row := trainer.run_folder.last_measured()):
            print(accuracy_table(row))


def accuracy_table(row: Mapping[str, str]) -> str:
    """Return the lines that say a classifier's accuracy by noise level, from a row of progress.csv."""
    levels = [name for name in row if name.startswith("val_accuracy_") and row[name]]
    shares = "  ".join(f"{float(row[name]):.3f}" for name in levels)
    return (f"held-out accuracy at step {row['step']}: {float(row['val_accuracy']):.3f}; by noise, from little to "
            f"much, in {len(levels)} equal parts of the timesteps:\n{shares}")
