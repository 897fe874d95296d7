"""Cut two domains of tissue patches, stroma and gland, from scikit-image's stained section."""
import argparse
import sys

from add.runtime import options


def build_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out_dir", required=True,
                        help="folder to write train/, test/ and sources/ to, each with stroma/ and gland/")
    parser.add_argument("--num_train", type=int, default=450, help="most training patches of each domain")
    parser.add_argument("--num_test", type=int, default=64, help="most held-out patches of each domain")
    parser.add_argument("--num_sources", type=int, default=8,
                        help="held-out patches of each domain that sources/ repeats, to translate from")
    return parser


def main(argv=None):
    args = build_parser().parse_args(argv)
    from add.data import files, tissue  # after parsing: --help stays instant

    image = tissue.load_micrograph()
    chosen = tissue.choose_patches(image, args.num_train, args.num_test, args.num_sources)
    for folder, corners in chosen.items():
        for corner in corners:
            path = files.join(args.out_dir, folder, tissue.patch_name(corner))
            files.save_png(path, tissue.cut_patch(image, corner))
        print(f"{folder}: {len(corners)} patches")


if __name__ == "__main__":
    sys.exit(options.run(main))
