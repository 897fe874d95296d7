"""Convert a model to a folder of diffusers (UNet2DModel and scheduler), or such a folder to a run folder."""
import sys

from add.runtime import options


def build_options():
    from add.diffusion import DiffusionConfig
    from add.networks import ModelConfig
    from add.runtime.convert import ConvertConfig

    return options.Options(__doc__, ConvertConfig, ModelConfig, DiffusionConfig)


def main(argv=None):
    parsed = build_options().parse(argv)
    import torch

    from add.runtime.convert import convert

    convert(parsed, torch.device("cpu"), note=print)


if __name__ == "__main__":
    sys.exit(options.run(main))
