"""denoising-diffusion-pytorch (PyPI) as a contender: its Unet, GaussianDiffusion and EMA.

It has no way from an image to its latent, so it can sample and train but not translate. Its network has two residual
blocks on every level and linear attention where others have none; its parameters are reported.
"""
import importlib
import sys
import types

import torch
from rivals_common import (
    ATTENDS,
    CHANNEL_MULT,
    CHANNELS,
    EMA_RATE,
    GRAD_CLIP,
    HEAD_CHANNELS,
    LEARNING_RATE,
    NUM_TIMESTEPS,
    Contender,
    count_parameters,
    mirrored,
    needs,
    shuffled_batches,
)
from rivals_ours import read_training_images

from add.diffusion import GaussianDiffusion, LossType, ModelMeanType, ModelVarType

NAME = "denoising-diffusion-pytorch"


def torchvision_works():
    """Return whether torchvision is there and fits this build of torch; it raises a RuntimeError where it does not."""
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):
        return False
    return True


def import_library():
    """Return the library, whose import needs torchvision.

    torchvision exists for some builds of torch only. The library uses it to read folders and to save grids, which is
    not done here, so an empty stand-in is enough; it is taken away again, because other libraries look for it.
    """
    if torchvision_works():
        return importlib.import_module("denoising_diffusion_pytorch")
    names = ("torchvision", "torchvision.transforms", "torchvision.utils")
    stand_in = types.ModuleType(names[0])
    for name in names[1:]:
        sys.modules[name] = types.ModuleType(name)
        setattr(stand_in, name.removeprefix("torchvision."), sys.modules[name])
    sys.modules[names[0]] = stand_in
    try:
        return importlib.import_module("denoising_diffusion_pytorch")
    finally:
        for name in names:
            del sys.modules[name]


with needs("denoising-diffusion-pytorch"):
    library = import_library()
    from ema_pytorch import EMA


def build_network():
    """Return the nearest network that the library has."""
    return library.Unet(dim=CHANNELS, dim_mults=CHANNEL_MULT, full_attn=ATTENDS, attn_dim_head=HEAD_CHANNELS,
                        attn_heads=CHANNELS * max(CHANNEL_MULT) // HEAD_CHANNELS)


def build_diffusion(network, image_size=64, steps=None):
    """Return the diffusion of plain_models.COMPARED's schedule; `steps` are those of DDIM sampling."""
    return library.GaussianDiffusion(network, image_size=image_size, timesteps=NUM_TIMESTEPS, beta_schedule="linear",
                                     objective="pred_v", sampling_timesteps=steps)


def samplers(models, count, steps):
    """Return the contender that samples `count` images from noise, with random weights; `models` are left alone."""
    network = build_network().eval()
    diffusion = build_diffusion(network, steps=steps)
    return [Contender("denoising-diffusion-pytorch, DDIM", lambda: diffusion.sample(batch_size=count), (network,))]


def networks():
    """Return {name: network} to time alone, called as network(x, t)."""
    return {"denoising-diffusion-pytorch": build_network()}


def trainer(image_size, batch_size):
    """Return (step function, parameters in millions, what a step does), after the steps of the library's Trainer."""
    images = torch.from_numpy(read_training_images(image_size)).permute(0, 3, 1, 2) / 255
    stream = shuffled_batches(images, batch_size)
    network = build_network().train()
    diffusion = build_diffusion(network, image_size)
    optimizer = torch.optim.AdamW(diffusion.parameters(), lr=LEARNING_RATE)
    ema = EMA(diffusion, beta=EMA_RATE, update_every=10)

    def step():
        return one_step(diffusion, optimizer, ema, next(stream), GRAD_CLIP)

    return step, count_parameters(network), "AdamW, clipping, EMA every 10th step"


def one_step(diffusion, optimizer, ema, clean, grad_clip):
    """Take a step of the library's Trainer on images [B, 3, H, W] in [0, 1]; return the loss."""
    loss = diffusion(clean)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(diffusion.parameters(), grad_clip)
    optimizer.step()
    optimizer.zero_grad()
    ema.update()
    return loss.item()


class OwnRecipe:
    """The recipe of the library's README and Trainer, for time_to_quality.py.

    It predicts v on the library's default schedule, a sigmoid, with Adam at a constant rate, mirrored images, and an
    EMA every few steps.

    Args:
        images: [n, 3, S, S] in [-1, 1], the training images. seed: of torch's global generator.
        recipe: numbers, as `quality_recipes.RIVALS` has them.
    """

    finished = False

    def __init__(self, images, seed, recipe):
        torch.manual_seed(seed)
        self.stream = shuffled_batches((images + 1) / 2, recipe["batch_size"])
        network = library.Unet(dim=recipe["dim"], dim_mults=recipe["dim_mults"], flash_attn=recipe["flash_attn"])
        self.diffusion = library.GaussianDiffusion(network, image_size=images.shape[-1])
        self.optimizer = torch.optim.Adam(self.diffusion.parameters(), lr=recipe["lr"], betas=recipe["betas"])
        self.ema = EMA(self.diffusion, beta=recipe["ema_decay"], update_every=recipe["ema_every"])
        self.grad_clip = recipe["grad_clip"]
        self.parameters = sum(p.numel() for p in network.parameters())

    def step(self, core_seconds, budget):
        """Take one step; return the loss. The rate is constant, so that nothing depends on the budget."""
        return one_step(self.diffusion, self.optimizer, self.ema, mirrored(next(self.stream)), self.grad_clip)

    def models(self):
        """Yield (name of the weights, model(x, t), diffusion) to sample from."""
        averaged = self.ema.ema_model.eval()
        yield "ema", averaged.model, GaussianDiffusion(
            betas=averaged.betas.double().numpy(), model_mean_type=ModelMeanType.V,
            model_var_type=ModelVarType.FIXED_LARGE, loss_type=LossType.MSE)
