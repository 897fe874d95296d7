"""Train small classifiers with and without generated images, over several seeds, and compare them."""
import sys

from add.runtime import options


def build_options():
    from add.evaluation.classification import ClassificationConfig
    from add.evaluation.classifier import ClassifierConfig

    return options.Options(__doc__, ClassificationConfig, ClassifierConfig)


def main(argv=None):
    parsed = build_options().parse(argv)
    from add.evaluation.classification import ClassificationConfig, run_classification, table
    from add.evaluation.classifier import ClassifierConfig

    config = parsed.take(ClassificationConfig)
    result = run_classification(config, parsed.take(ClassifierConfig), note=print)
    print(f"\n{table(result)}\nwritten: {config.out_dir}/classification.json, .csv and .md, runs/")


if __name__ == "__main__":
    sys.exit(options.run(main))
