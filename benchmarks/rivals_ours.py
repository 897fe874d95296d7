"""This package as a contender. A new way to translate needs one line in TRANSLATIONS."""
import copy
import dataclasses
import tempfile
from functools import partial

import torch
from plain_models import model_config
from rivals_common import EMA_RATE, GRAD_CLIP, LEARNING_RATE, Contender, count_parameters

from add.data import ImageSet, embedded, to_model_input
from add.diffusion import DiffusionConfig, diffusion_from_config
from add.networks import create_model
from add.runtime.processes import World
from add.training import TrainConfig, prepare
from add.transition import translate

NAME = "add"
SOURCE = embedded.DOMAINS[0]


def read_sources(count):
    """Return x [count, 3, 64, 64] in [-1, 1] of embedded source patches, none of them trained on."""
    images = ImageSet.from_folder(embedded.source_dir(SOURCE), 64)
    if count > len(images):
        raise SystemExit(f"--images {count}: expected at most {len(images)}, the embedded source patches")
    return to_model_input(images.batch(range(count)))


def read_training_images(image_size):
    """Return uint8 [n, S, S, 3] of the embedded training patches, in memory."""
    images = ImageSet.from_folder(embedded.train_dir(SOURCE), image_size)
    return images.batch(range(len(images)))


def networks_of(models, respacing=""):
    """Return (source network, target network, diffusion) of two PlainModels, channels-last as the command has them."""
    source, target = (copy.deepcopy(model.network).to(memory_format=torch.channels_last) for model in models)
    diffusion = dataclasses.replace(models[0].diffusion, timestep_respacing=respacing)
    return source, target, diffusion_from_config(diffusion)


def translate_ddim(steps, models, x, amount):
    """Return (function without arguments -> images [B, N, 3, H, W], networks): DDIM, depths evenly spaced."""
    source, target, diffusion = networks_of(models, str(steps))
    options = {"sampler": "ddim", "rule": "uniform", "batch_size": len(x)}
    return lambda: translate(source, target, x, amount, diffusion, **options).targets, (source, target)


def translate_fast(sampler, models, x, amount):
    """Return the same for another sampler, at its own numbers of steps."""
    source, target, diffusion = networks_of(models)
    options = {"sampler": sampler, "rule": "uniform", "batch_size": len(x)}
    return lambda: translate(source, target, x, amount, diffusion, **options).targets, (source, target)


# (name, function of (models, x, amount) that returns what translate_ddim does); others are compared with the first.
TRANSLATIONS = [
    ("add, unipc (the default)", partial(translate_fast, "unipc")),
    ("add, DDIM, 50 steps", partial(translate_ddim, 50)),
    ("add, DDIM, 100 steps", partial(translate_ddim, 100)),
]


def translations(models, x, amount):
    """Return the contenders of TRANSLATIONS."""
    return [Contender(name, *make(models, x, amount)) for name, make in TRANSLATIONS]


def reference(models, x, amount):
    """Return the images [B, N, 3, H, W] of the full schedule: DDIM, every timestep, both ways."""
    run, _ = translate_ddim(1000, models, x, amount)
    return run()


def samplers(models, count, steps):
    """Return the contender that samples `count` images from noise."""
    _, target, diffusion = networks_of(models, str(steps))
    shape = (count, 3, 64, 64)
    return [Contender("add, DDIM", lambda: diffusion.ddim_sample_loop(target, shape, clip_denoised=False), (target,))]


def networks():
    """Return {name: network} to time alone, called as network(x, t)."""
    config = vars(model_config())
    return {"add": create_model(**config), "add, channels-last": create_model(**config).to(
        memory_format=torch.channels_last)}


def trainer(image_size, batch_size):
    """Return (step function, parameters in millions, what a step does): the training command's own loop."""
    with tempfile.TemporaryDirectory() as folder:  # steps write nothing to it
        config = TrainConfig(
            data_dir=str(embedded.train_dir(SOURCE)), run_dir=folder, batch_size=batch_size, lr=LEARNING_RATE,
            ema_rate=str(EMA_RATE), grad_clip=GRAD_CLIP, tensorboard=False, num_preview=0, threads=1, device="cpu")
        made = prepare(config, model_config(image_size), DiffusionConfig(prediction="v"), World())
    return made.advance, count_parameters(made.model), "AdamW, clipping, EMA every step"
