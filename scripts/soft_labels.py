"""Give the images of finished translations soft labels by a rule: labels_RULE.csv beside labels.csv."""
import sys

from add.runtime import options


def build_options():
    from add.evaluation.classifier import ClassifierConfig
    from add.evaluation.relabel import RelabelConfig

    return options.Options(__doc__, RelabelConfig, ClassifierConfig)


def main(argv=None):
    parsed = build_options().parse(argv)
    from add.evaluation.classifier import ClassifierConfig
    from add.evaluation.relabel import RelabelConfig, relabel

    relabel(parsed.take(RelabelConfig), parsed.take(ClassifierConfig), note=print)


if __name__ == "__main__":
    sys.exit(options.run(main))
