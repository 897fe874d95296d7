"""Train a classifier of noisy images, which guides sampling; its classes are the folders. The same command resumes."""

from add.commands.shared.training_runs import counting_classes, folder_runs, train
from add.diffusion import DiffusionConfig
from add.networks import ClassifierConfig
from add.runtime.options import Options
from add.training.run_config import ClassifierTrainConfig


def build_options():
    return Options(__doc__, ClassifierTrainConfig, ClassifierConfig, DiffusionConfig)


def main(argv=None):
    parsed = build_options().parse(argv)
    runs = folder_runs(parsed.take(ClassifierTrainConfig), run_dir="runs/classifier")
    for trainer in train(parsed, runs, counting_classes(parsed, ClassifierConfig)):
        if trainer.world.is_main and (row := trainer.run_folder.last_measured()):
            print(accuracy_table(row))


def accuracy_table(row):
    """Return the lines that say a classifier's accuracy by noise level, from a row of progress.csv (dict of text)."""
    levels = [name for name in row if name.startswith("val_accuracy_") and row[name]]
    shares = "  ".join(f"{float(row[name]):.3f}" for name in levels)
    return (f"held-out accuracy at step {row['step']}: {float(row['val_accuracy']):.3f}; by noise, from little to "
            f"much, in {len(levels)} equal parts of the timesteps:\n{shares}")
