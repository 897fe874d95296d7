"""Train a model that enlarges images, on pairs made from a folder of large ones. The same command again resumes."""
import sys

from add.runtime import options


def build_options():
    from add.diffusion import DiffusionConfig
    from add.networks import SuperResConfig
    from add.training.config import SuperResTrainConfig

    return options.Options(__doc__, SuperResTrainConfig, SuperResConfig, DiffusionConfig)


def main(argv=None):
    parsed = build_options().parse(argv)
    from add.networks import SuperResConfig
    from add.runtime.training import counting_classes, folder_runs, train
    from add.training.config import SuperResTrainConfig

    runs = folder_runs(parsed.take(SuperResTrainConfig), run_dir="runs/super_res")
    train(parsed, runs, counting_classes(parsed, SuperResConfig))


if __name__ == "__main__":
    sys.exit(options.run(main))
