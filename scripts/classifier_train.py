"""Train a classifier of noisy images, which guides sampling; its classes are the folders. The same command resumes."""
import sys

from add.runtime import options


def build_options():
    from add.diffusion import DiffusionConfig
    from add.networks import ClassifierConfig
    from add.training.config import ClassifierTrainConfig

    return options.Options(__doc__, ClassifierTrainConfig, ClassifierConfig, DiffusionConfig)


def main(argv=None):
    parsed = build_options().parse(argv)
    from add.networks import ClassifierConfig
    from add.runtime.training import accuracy_table, counting_classes, folder_runs, train
    from add.training.config import ClassifierTrainConfig

    runs = folder_runs(parsed.take(ClassifierTrainConfig), run_dir="runs/classifier")
    for trainer in train(parsed, runs, counting_classes(parsed, ClassifierConfig)):
        if trainer.world.is_main and (row := trainer.run_folder.last_measured()):
            print(accuracy_table(row))


if __name__ == "__main__":
    sys.exit(options.run(main))
