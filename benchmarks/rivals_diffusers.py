"""diffusers (PyPI) as a contender, used as its documentation shows: a loop over the scheduler's timesteps.

Its UNet2DModel gets the embedded models' own weights (add.networks.foreign.diffusers_keys), so that images can be
compared.
"""
from functools import partial

import torch
from rivals_common import (
    EMA_RATE,
    GRAD_CLIP,
    LEARNING_RATE,
    NUM_TIMESTEPS,
    Contender,
    count_parameters,
    needs,
    shuffled_batches,
)
from rivals_ours import SOURCE, TARGET, model_config, read_training_images
from torch.nn import functional as F

from add.data import embedded
from add.networks import create_model
from add.networks.foreign.diffusers_keys import to_diffusers
from add.training import load_model

with needs("diffusers"):
    import diffusers
    from diffusers.training_utils import EMAModel

NAME = "diffusers"
# The schedule of the embedded models. clip_sample is on unless told otherwise, and an encoder must not clip.
SCHEDULE = {"num_train_timesteps": NUM_TIMESTEPS, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02,
            "prediction_type": "v_prediction"}
DDIM_STEPS, DPM_STEPS = (50, 100), (20, 30, 50)


def load(domain):
    """Return an embedded model as a UNet2DModel."""
    model, _, config = load_model(embedded.model_dir(domain))
    their_config, weights = to_diffusers(model.state_dict(), config.model)
    network = diffusers.UNet2DModel(**their_config).eval()
    network.load_state_dict(weights)
    return network


@torch.no_grad()
def translate(source, target, encoder, decoder, num_steps, x, amount, lag=0):
    """Return images [B, N, 3, H, W]: one encode, then a decode of its own from each of N depths.

    Args:
        encoder, decoder: schedulers on the same levels, so that a latent after k steps decodes in the last k steps.
        lag: subtracted from the timestep that the network is told while encoding (not below 0).
    """
    encoder.set_timesteps(num_steps)
    latents = []
    for t in encoder.timesteps:
        prediction = source(x, (t - lag).clamp(min=0)).sample
        x = encoder.step(prediction, t, x).prev_sample
        latents.append(x)
    images = []
    for i in range(1, amount + 1):
        depth = round(i * num_steps / amount)
        y = latents[depth - 1]
        decoder.set_timesteps(num_steps)
        for t in decoder.timesteps[num_steps - depth:]:
            y = decoder.step(target(y, t).sample, t, y).prev_sample
        images.append(y)
    return torch.stack(images, dim=1)


def ddim_pair():
    """Return (encoder, decoder) on the levels 1000/S - 1, 2000/S - 1, ..., 999, with the clean image before them."""
    options = {**SCHEDULE, "clip_sample": False, "timestep_spacing": "trailing"}
    return diffusers.DDIMInverseScheduler(**options), diffusers.DDIMScheduler(**options)


def dpm_pair():
    """Return (encoder, decoder), both DPM-Solver++ of order 2, on S + 1 levels from 0 to 999."""
    return diffusers.DPMSolverMultistepInverseScheduler(**SCHEDULE), diffusers.DPMSolverMultistepScheduler(**SCHEDULE)


def translations(x, amount):
    """Return the contenders that translate x into `amount` images each."""
    source, target = load(SOURCE), load(TARGET)

    def contender(name, pair, steps, lag=0):
        return Contender(f"diffusers, {name}, {steps} steps",
                         partial(translate, source, target, *pair, steps, x, amount, lag), (source, target))

    return [*[contender("DDIM", ddim_pair(), steps) for steps in DDIM_STEPS],
            *[contender("DDIM with corrected encoding timestep", ddim_pair(), steps, NUM_TIMESTEPS // steps)
              for steps in DDIM_STEPS],
            *[contender("DPM-Solver++ 2M", dpm_pair(), steps) for steps in DPM_STEPS]]


@torch.no_grad()
def sample(network, count, steps):
    """Return `count` images from noise."""
    _, scheduler = ddim_pair()
    scheduler.set_timesteps(steps)
    x = torch.randn(count, 3, 64, 64)
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, t).sample, t, x).prev_sample
    return x


def samplers(count, steps):
    """Return the contender that samples `count` images from noise."""
    network = load(TARGET)
    return [Contender("diffusers, DDIM", partial(sample, network, count, steps), (network,))]


def build_network(image_size=64):
    """Return the shared network as a UNet2DModel, with weights of its own."""
    config = model_config(image_size)
    return diffusers.UNet2DModel(**to_diffusers(create_model(**vars(config)).state_dict(), config)[0])


def networks():
    """Return {name: network} to time alone, called as network(x, t)."""
    return {"diffusers": build_network(), "diffusers, channels-last": build_network().to(
        memory_format=torch.channels_last)}


def trainer(image_size, batch_size):
    """Return (step function, parameters in millions, what a step does), after the library's training tutorial."""
    images = torch.from_numpy(read_training_images(image_size)).permute(0, 3, 1, 2) / 127.5 - 1
    stream = shuffled_batches(images, batch_size)
    network = build_network(image_size).train()
    scheduler = diffusers.DDPMScheduler(**SCHEDULE)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    ema = EMAModel(network.parameters(), decay=EMA_RATE)

    def step():
        clean = next(stream)
        noise = torch.randn_like(clean)
        t = torch.randint(0, NUM_TIMESTEPS, (len(clean),))
        prediction = network(scheduler.add_noise(clean, noise, t), t).sample
        loss = F.mse_loss(prediction, scheduler.get_velocity(clean, noise, t))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), GRAD_CLIP)
        optimizer.step()
        optimizer.zero_grad()
        ema.step(network.parameters())
        return loss.item()

    return step, count_parameters(network), "AdamW, clipping, EMA every step"
