"""The recipes that time_to_quality.py compares, and the sets that it trains them on: numbers alone.

A recipe of this package is a dict {"train", "model", "diffusion"} of options of TrainConfig, ModelConfig and
DiffusionConfig; those of other libraries are the numbers that their modules rivals_NAME.py take.
"""
import copy

# set: (side of its images in pixels, domain of the embedded tissue; none: the phantom)
SETS = {"phantom": (32, ""), "tissue": (64, "gland"), "stroma": (64, "stroma")}
PHANTOM = {"bands": {"mild": (0.0, 0.3)}, "num_train": 50, "num_test": 500, "seed": 0}


def merged(*parts):
    """Return {"train", "model", "diffusion"} of several such dicts; what a later one says counts."""
    return {name: {key: value for part in parts for key, value in part.get(name, {}).items()}
            for name in ("train", "model", "diffusion")}


_BEFORE = {
    "train": {"optimizer": "adamw", "batch_size": 16, "lr": 1e-3, "lr_warmup_steps": 200, "grad_clip": 1.0,
              "ema_rate": "0.999", "ema_warmup": True, "schedule_sampler": "stratified", "augment": "dihedral"},
    "model": {"num_channels": 32, "num_res_blocks": 1, "attention_resolutions": "16,8", "num_heads": 4,
              "patch_size": 1},
    "diffusion": {"prediction": "v", "head_start": "none", "even_share": 0.0},
}
# By the side of the images: what configs/phantom.yaml and configs/tissue_gland.yaml said before the levers came.
BEFORE = {
    32: merged(_BEFORE, {"model": {"image_size": 32, "channel_mult": "1,2,2"}, "diffusion": {"min_snr_gamma": 5.0}}),
    64: merged(_BEFORE, {"model": {"image_size": 64, "channel_mult": "1,1,2,2"}, "diffusion": {"min_snr_gamma": 0.0}}),
}
LEVERS = {
    "head_start": dict.fromkeys((32, 64), {"diffusion": {"head_start": "gaussian"}}),
    "patch": {32: {"model": {"patch_size": 2, "channel_mult": "1,2"}},
              64: {"model": {"patch_size": 2, "channel_mult": "1,2,2"}}},
    "less_attention": dict.fromkeys((32, 64), {"model": {"attention_resolutions": ""}}),
    "muon": dict.fromkeys((32, 64), {"train": {"optimizer": "muon", "lr": 2e-3}}),
    "small_batch": dict.fromkeys((32, 64), {"train": {"batch_size": 8}}),
    "timesteps": dict.fromkeys((32, 64), {"train": {"schedule_sampler": "loss-weight"},
                                          "diffusion": {"min_snr_gamma": 100.0, "even_share": 0.1}}),
}
LEFT_OUT = {32: ("patch",), 64: ()}  # of `all`: a cell of 32 pixels needs the finest level
# guided-diffusion's defaults; its network follows from the size of the images.
GUIDED_DIFFUSION = {
    "train": {"optimizer": "adamw", "batch_size": 16, "lr": 1e-4, "ema_rate": "0.9999", "ema_warmup": False,
              "schedule_sampler": "uniform", "augment": "none", "grad_clip": 0.0},
    "model": {"num_channels": 128, "num_res_blocks": 2, "attention_resolutions": "16,8", "num_heads": 4,
              "patch_size": 1},
    "diffusion": {"prediction": "epsilon", "noise_schedule": "linear", "head_start": "none"},
}
RIVALS = {
    # The unconditional training example of diffusers, whose network is the same for all sizes.
    "diffusers": {
        "block_out_channels": (128, 128, 256, 256, 512, 512), "attends": (False, False, False, False, True, False),
        "layers_per_block": 2, "batch_size": 16, "lr": 1e-4, "betas": (0.95, 0.999), "weight_decay": 1e-6,
        "warm_up_steps": 500, "grad_clip": 1.0, "ema_decay": 0.9999, "ema_inv_gamma": 1.0, "ema_power": 0.75},
    # The example in the README of denoising-diffusion-pytorch, with its Trainer's own values.
    "ddpm_pytorch": {
        "dim": 64, "dim_mults": (1, 2, 4, 8), "flash_attn": True, "batch_size": 16, "lr": 8e-5, "betas": (0.9, 0.99),
        "grad_clip": 1.0, "ema_decay": 0.995, "ema_every": 10},
}
OURS = ("before", *LEVERS, "all", *(f"all_but_{lever}" for lever in LEVERS))
TRAINED = ("gd", *OURS, *RIVALS)
REFERENCES = ("embedded", "real")  # measured once for each set: the published model, and the training images themselves
RECIPES = (*TRAINED, *REFERENCES)
SLOW = ("gd", *RIVALS)  # so large that fewer samples are drawn


def options_of(recipe, image_size):
    """Return {"train", "model", "diffusion"} of one of this package's recipes, or a rival's numbers."""
    if recipe in RIVALS:
        return copy.deepcopy(RIVALS[recipe])
    if recipe == "gd":
        return merged(GUIDED_DIFFUSION, {"model": {"image_size": image_size}})
    return merged(BEFORE[image_size], *(LEVERS[lever][image_size] for lever in levers_of(recipe, image_size)))


def levers_of(recipe, image_size):
    """Return the levers that a recipe on top of `before` has at a size of images."""
    if recipe == "before":
        return ()
    if recipe in LEVERS:
        return (recipe,)
    left_out = recipe.removeprefix("all").removeprefix("_but_")
    return tuple(lever for lever in LEVERS if lever not in (left_out, *LEFT_OUT[image_size]))


def runs_on(recipe, name):
    """Return whether a recipe has a row on a set: the embedded models are of the tissue, and `all` is not all alike."""
    size, domain = SETS[name]
    if recipe == "embedded":
        return bool(domain)
    return recipe.removeprefix("all_but_") not in LEFT_OUT[size] or recipe in LEVERS
