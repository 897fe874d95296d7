"""MONAI (PyPI) as a contender: DiffusionModelUNet, DDIMScheduler.reversed_step, DiffusionInferer.

Its network has no scale-shift normalisation and other paddings, so the other contenders' weights can't be its own: it
runs with random ones, and only time and network evaluations can be compared.
"""
import importlib
from functools import partial

import torch
from rivals_common import (
    ATTENDS,
    CHANNEL_MULT,
    CHANNELS,
    GRAD_CLIP,
    HEAD_CHANNELS,
    LEARNING_RATE,
    NUM_TIMESTEPS,
    RES_BLOCKS,
    Contender,
    count_parameters,
    needs,
    shuffled_batches,
)
from rivals_ours import read_training_images
from torch.nn import functional as F

with needs("einops, which MONAI's attention asks for,"):
    importlib.import_module("einops")
with needs("monai"):
    from monai.inferers import DiffusionInferer
    from monai.networks.nets import DiffusionModelUNet
    from monai.networks.schedulers import DDIMScheduler, DDPMScheduler

NAME = "MONAI"
SCHEDULE = {"num_train_timesteps": NUM_TIMESTEPS, "schedule": "linear_beta", "beta_start": 1e-4, "beta_end": 0.02,
            "prediction_type": "v_prediction", "clip_sample": False}
STEPS = (50,)


def build_network():
    """Return the nearest network that the library has."""
    return DiffusionModelUNet(
        spatial_dims=2, in_channels=3, out_channels=3, num_res_blocks=RES_BLOCKS,
        channels=[CHANNELS * mult for mult in CHANNEL_MULT], attention_levels=ATTENDS,
        num_head_channels=HEAD_CHANNELS)


@torch.no_grad()
def translate(source, target, num_steps, x, amount):
    """Encode once and decode from each of N depths; returns None, as the weights are random.

    The scheduler's S timesteps are walked on S - 1 steps: one more would leave its table of levels.
    """
    scheduler = DDIMScheduler(**SCHEDULE)
    scheduler.set_timesteps(num_steps)
    latents = []
    for t in scheduler.timesteps.flip(0)[:-1]:
        x, _ = scheduler.reversed_step(source(x, t[None]), t, x)
        latents.append(x)
    for i in range(1, amount + 1):
        depth = round(i * (num_steps - 1) / amount)
        y = latents[depth - 1]
        for t in scheduler.timesteps[num_steps - 1 - depth:]:
            y, _ = scheduler.step(target(y, t[None]), t, y)


def translations(models, x, amount):
    """Return the contenders that do a translation's work, with random weights; `models` are left alone."""
    source, target = build_network().eval(), build_network().eval()
    return [Contender(f"MONAI, DDIM, {steps} steps (random weights)",
                      partial(translate, source, target, steps, x, amount), (source, target)) for steps in STEPS]


def samplers(models, count, steps):
    """Return the contender that samples `count` images from noise, with random weights; `models` are left alone."""
    network, scheduler = build_network().eval(), DDIMScheduler(**SCHEDULE)
    scheduler.set_timesteps(steps)
    inferer = DiffusionInferer(scheduler)

    def sample():
        return inferer.sample(torch.randn(count, 3, 64, 64), network, scheduler, verbose=False)

    return [Contender("MONAI, DDIM", sample, (network,))]


def networks():
    """Return {name: network} to time alone, called as network(x, t)."""
    return {"MONAI": build_network()}


def trainer(image_size, batch_size):
    """Return (step function, parameters in millions, what a step does), after the library's tutorials."""
    images = torch.from_numpy(read_training_images(image_size)).permute(0, 3, 1, 2) / 127.5 - 1
    stream = shuffled_batches(images, batch_size)
    network, scheduler = build_network().train(), DDPMScheduler(**SCHEDULE)
    inferer = DiffusionInferer(scheduler)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)

    def step():
        clean = next(stream)
        optimizer.zero_grad(set_to_none=True)
        noise = torch.randn_like(clean)
        t = torch.randint(0, NUM_TIMESTEPS, (len(clean),))
        prediction = inferer(inputs=clean, diffusion_model=network, noise=noise, timesteps=t)
        loss = F.mse_loss(prediction, scheduler.get_velocity(clean, noise, t))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), GRAD_CLIP)
        optimizer.step()
        return loss.item()

    return step, count_parameters(network), "AdamW, clipping, no EMA (the library has none)"
