"""Samples of untrained networks, with and without the Gaussian head start, beside real patches: docs/head_start.png.

python benchmarks/untrained_samples.py --out_path docs/head_start.png

Both embedded domains, the network of configs/small_data.yaml, the same noise with and without, UniPC in 20 evaluations.
"""
import argparse

import numpy as np
import torch

from add.data import ImageSet, embedded, save_png, to_uint8
from add.diffusion import DiffusionConfig, diffusion_from_config
from add.networks import ModelConfig, create_denoiser
from add.results.overview import PAPER
from add.training.head_start_fit import fit_head_start
from add.transition.from_noise import FromNoise, OwnNoise

SIZE, COLUMNS, GAP, HEADER, MARGIN = 64, 7, 4, 26, 10
MODEL = {"image_size": SIZE, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1,2,2",
         "attention_resolutions": "16,8", "patch_size": 2}
CAPTIONS = ("real", "untrained, no head start", "untrained, Gaussian head start")


def untrained(images, head_start):
    """Return COLUMNS samples of an untrained network, uint8 [n, H, W, 3]."""
    config = DiffusionConfig(prediction="v", head_start=head_start)
    network = create_denoiser(ModelConfig(**MODEL), config).eval()
    fit_head_start(network, images, "dihedral")
    noise = OwnNoise(0, range(COLUMNS), (3, SIZE, SIZE))
    x = FromNoise("unipc", decode_steps=20).images(network, diffusion_from_config(config), noise)
    return to_uint8(x).numpy()


def rows_of(domain):
    """Return the three rows of a domain, each [n, H, W, 3]."""
    images = ImageSet.from_folder(str(embedded.train_dir(domain)), SIZE)
    real = images.batch(np.linspace(0, len(images) - 1, COLUMNS).round().astype(int))
    return real, untrained(images, "none"), untrained(images, "gaussian")


def main():
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out_path", required=True, help="PNG to write")
    out_path = parser.parse_args().out_path
    from PIL import Image, ImageDraw, ImageFont

    torch.manual_seed(0)
    rows = [(f"{domain}: {caption}", row) for domain in embedded.DOMAINS
            for caption, row in zip(CAPTIONS, rows_of(domain), strict=True)]
    width, height = COLUMNS * (SIZE + GAP) - GAP, SIZE + HEADER
    canvas = Image.new("RGB", (width + 2 * MARGIN, len(rows) * height + 2 * MARGIN), PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=14)
    for number, (caption, row) in enumerate(rows):
        top = MARGIN + number * height
        draw.text((MARGIN, top + 4), caption, font=font, fill="black")
        for column, pixels in enumerate(row):
            canvas.paste(Image.fromarray(pixels), (MARGIN + column * (SIZE + GAP), top + HEADER))
    save_png(out_path, np.asarray(canvas))


if __name__ == "__main__":
    main()
