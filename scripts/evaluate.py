"""Measure generated images against real ones: REAL and FAKE are folders, FAKE may be a translation folder."""
import argparse
import sys

from add.runtime import options


def build_options():
    from add.evaluation.evaluate import EvaluationConfig

    built = options.Options(__doc__, EvaluationConfig)
    for name, word in (("real_dir", "REAL"), ("fake_dir", "FAKE")):
        built.parser.add_argument(name, metavar=word, nargs="?", default=argparse.SUPPRESS, help=f"as --{name}")
    return built


def main(argv=None):
    parsed = build_options().parse(argv)
    from add.data.files import join
    from add.evaluation.evaluate import EvaluationConfig, evaluate, table
    from add.runtime.processes import process_group

    with process_group(parsed.device, parsed.threads) as world:
        if world.is_main:
            result = evaluate(parsed.take(EvaluationConfig, device=str(world.device)),
                              note=lambda sentence: print(sentence, flush=True))
            print(f"\n{table(result)}")
            for what, file in (("all numbers", "evaluation.json"), ("this table", "evaluation.md"),
                               ("nearest to training images", "closest.png")):
                print(f"{what}: {join(parsed.out_dir, file)}")


if __name__ == "__main__":
    sys.exit(options.run(main))
