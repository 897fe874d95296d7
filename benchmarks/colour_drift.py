"""How far the colours of samples drift from the training images, by what the model predicts. Prints a Markdown table.

For each variant one network is trained on the embedded gland patches at 32 pixels, all else equal. At every save the
EMA draws 64 DDIM samples from fixed noise. Colour drift is the distance in CIELAB between the mean colour of samples
and of training images; the spread ratio compares standard deviations of L; `clipped` is the share of values at or
beyond -1 or 1 (0.1 % or less in the training images).
"""
import argparse
import tempfile

import numpy as np
import torch
from skimage.color import rgb2lab

from add.data import ImageSet, embedded, to_uint8
from add.diffusion import DiffusionConfig
from add.networks import ModelConfig
from add.runtime.processes import World
from add.training import TrainConfig, load_model, prepare
from add.training.step_randomness import draw_noise

VARIANTS = {
    "epsilon (published)": {},
    "x_start": {"prediction": "x_start"},
    "v": {"prediction": "v"},
    "v, min-SNR 5": {"prediction": "v", "min_snr_gamma": 5.0},
}
IMAGE_SIZE = 32
NUM_SAMPLES = 64


def lab_statistics(images):
    """Return mean [3] and standard deviation [3] in Lab of uint8 images [n, H, W, 3]."""
    lab = rgb2lab(images).reshape(-1, 3)
    return lab.mean(axis=0), lab.std(axis=0)


@torch.no_grad()
def measure(run_dir, reference):
    """Return (colour drift, spread ratio of L, clipped share) of samples of a run's newest EMA."""
    model, diffusion, _ = load_model(run_dir, timestep_respacing="50")
    noise = draw_noise((NUM_SAMPLES, 3, IMAGE_SIZE, IMAGE_SIZE), 7, 0, 0, torch.device("cpu"))
    x = diffusion.ddim_sample_loop(model, noise.shape, noise=noise, clip_denoised=False)
    mean, std = lab_statistics(to_uint8(x).numpy())
    return np.linalg.norm(mean - reference[0]), std[0] / reference[1][0], (x.abs() >= 1).float().mean().item()


def run_variant(settings, args, reference):
    """Give (step, *measure) of one variant after each interval; the run resumes in between."""
    with tempfile.TemporaryDirectory() as folder:
        for step in range(args.interval, args.max_steps + 1, args.interval):
            config = TrainConfig(
                data_dir=str(embedded.train_dir("gland")), run_dir=folder, batch_size=16, lr=1e-3, lr_warmup_steps=200,
                grad_clip=1.0, ema_rate="0.999", augment="dihedral", schedule_sampler="stratified", num_preview=0,
                max_steps=step, save_interval=args.interval, log_interval=100, seed=args.seed, threads=1,
                tensorboard=False)
            model_config = ModelConfig(image_size=IMAGE_SIZE, num_channels=32, num_res_blocks=1, channel_mult="1,1,2",
                                       attention_resolutions="8")
            prepare(config, model_config, DiffusionConfig(**settings), World()).run()
            yield step, *measure(folder, reference)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max_steps", type=int, default=900, help="training steps of each variant")
    parser.add_argument("--interval", type=int, default=300, help="steps between measurements")
    parser.add_argument("--seed", type=int, default=0, help="seed of training")
    args = parser.parse_args()
    torch.set_num_threads(1)
    images = ImageSet.from_folder(embedded.train_dir("gland"), IMAGE_SIZE)
    reference = lab_statistics(images.batch(range(len(images))))
    print("| prediction | step | colour drift (Lab) | spread of L / real | clipped |\n| --- | --- | --- | --- | --- |")
    for name, settings in VARIANTS.items():
        for step, drift, spread, clipped in run_variant(settings, args, reference):
            print(f"| {name} | {step} | {drift:.1f} | {spread:.2f} | {clipped:.1%} |", flush=True)


if __name__ == "__main__":
    main()
