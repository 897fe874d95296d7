"""diffusers (PyPI) as a contender, used as its documentation shows: a loop over the scheduler's timesteps.

Its UNet2DModel gets the same weights as this package's network (add.networks.foreign.diffusers_keys), so that images
can be compared.
"""
from functools import partial

import torch
from plain_models import model_config
from quality_plan import cosine_share
from rivals_common import (
    EMA_RATE,
    GRAD_CLIP,
    LEARNING_RATE,
    NUM_TIMESTEPS,
    Contender,
    count_parameters,
    mirrored,
    needs,
    shuffled_batches,
)
from rivals_ours import read_training_images
from torch.nn import functional as F

from add.diffusion import DiffusionConfig, diffusion_from_config
from add.networks import create_model
from add.networks.foreign.diffusers_keys import to_diffusers

with needs("diffusers"):
    import diffusers
    from diffusers.training_utils import EMAModel

NAME = "diffusers"
# The schedule of plain_models.COMPARED. clip_sample is on unless told otherwise, and an encoder must not clip.
SCHEDULE = {"num_train_timesteps": NUM_TIMESTEPS, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02,
            "prediction_type": "v_prediction"}
DDIM_STEPS, DPM_STEPS = (50, 100), (20, 30, 50)


def as_theirs(model):
    """Return a PlainModel as a UNet2DModel."""
    their_config, weights = to_diffusers(model.network.state_dict(), model.model)
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


def translations(models, x, amount):
    """Return the contenders that translate x into `amount` images each."""
    source, target = map(as_theirs, models)

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


def samplers(models, count, steps):
    """Return the contender that samples `count` images from noise."""
    network = as_theirs(models[1])
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
        return one_step(network, scheduler, optimizer, ema, next(stream), GRAD_CLIP)

    return step, count_parameters(network), "AdamW, clipping, EMA every step"


def one_step(network, scheduler, optimizer, ema, clean, grad_clip):
    """Take the step of the library's training tutorial on images [B, 3, H, W] in [-1, 1]; return the loss."""
    noise = torch.randn_like(clean)
    t = torch.randint(0, NUM_TIMESTEPS, (len(clean),))
    prediction = network(scheduler.add_noise(clean, noise, t), t).sample
    predicts_v = scheduler.config.prediction_type == "v_prediction"
    loss = F.mse_loss(prediction, scheduler.get_velocity(clean, noise, t) if predicts_v else noise)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), grad_clip)
    optimizer.step()
    optimizer.zero_grad()
    ema.step(network.parameters())
    return loss.item()


class OwnRecipe:
    """The recipe of the library's unconditional training example, for time_to_quality.py.

    It has the example's network at every size, DDPM with a linear schedule and epsilon prediction, mirrored images,
    AdamW with a cosine schedule, and an EMA whose rate rises by a power of the steps.

    Args:
        images: [n, 3, S, S] in [-1, 1], the training images. seed: of torch's global generator.
        recipe: numbers, as `quality_recipes.RIVALS` has them.
    """

    finished = False

    def __init__(self, images, seed, recipe):
        torch.manual_seed(seed)
        self.recipe, self.taken = recipe, 0
        self.stream = shuffled_batches(images, recipe["batch_size"])
        ways = {side: tuple(f"{'Attn' if attends else ''}{side}Block2D" for attends in recipe["attends"])
                for side in ("Down", "Up")}
        self.network = diffusers.UNet2DModel(
            sample_size=images.shape[-1], in_channels=3, out_channels=3, layers_per_block=recipe["layers_per_block"],
            block_out_channels=recipe["block_out_channels"], down_block_types=ways["Down"],
            up_block_types=ways["Up"][::-1])
        self.scheduler = diffusers.DDPMScheduler(num_train_timesteps=NUM_TIMESTEPS, beta_schedule="linear")
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=recipe["lr"], betas=recipe["betas"],
                                           weight_decay=recipe["weight_decay"])
        self.ema = EMAModel(self.network.parameters(), decay=recipe["ema_decay"], use_ema_warmup=True,
                            inv_gamma=recipe["ema_inv_gamma"], power=recipe["ema_power"])
        self.parameters = sum(p.numel() for p in self.network.parameters())

    def step(self, core_seconds, budget):
        """Take one step, `core_seconds` of the budget being spent; return the loss."""
        share = cosine_share(self.taken, core_seconds / budget, self.recipe["warm_up_steps"])
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe["lr"] * share
        self.taken += 1
        return one_step(self.network, self.scheduler, self.optimizer, self.ema, mirrored(next(self.stream)),
                        self.recipe["grad_clip"])

    def models(self):
        """Yield (name of the weights, model(x, t), diffusion) to sample from."""
        self.ema.copy_to(self.network.parameters())
        network = self.network.eval()
        yield "ema", lambda x, t: network(x, t).sample, diffusion_from_config(DiffusionConfig(prediction="epsilon"))
