"""Make domains of procedural cytology images whose severity is known."""
import argparse
import sys

from add.runtime import options


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out_dir", required=True,
                        help="new or empty folder to write train/, test/ and severity.csv to")
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels, for instance 32 or 64")
    parser.add_argument("--num_train", type=int, default=500, help="training images of each domain")
    parser.add_argument("--num_test", type=int, default=100, help="held-out images of each domain")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same images")
    parser.add_argument("--bands", default="mild:0:0.3,severe:0.7:1",
                        help="domains as NAME:LOW:HIGH, joined by commas: bands of severity from 0 to 1")
    return parser


def main(argv=None):
    args = build_parser().parse_args(argv)
    from add.data import phantom  # after parsing: --help stays instant

    bands = phantom.parse_bands(args.bands)
    phantom.make_phantom_set(args.out_dir, bands, args.num_train, args.num_test, args.size, args.seed)
    for name, (low, high) in bands.items():
        print(f"{name}: severity {low:g} to {high:g}, {args.num_train} training and {args.num_test} held-out images")


if __name__ == "__main__":
    sys.exit(options.run(main))
