"""Differences between the options of two models, and the options that may differ with the weights still valid.

Weights load under many other options; with another attention order, prediction or schedule they mean nothing all the
same.
"""
import dataclasses
from collections.abc import Container
from typing import Any

from add.diffusion import DiffusionConfig
from add.interfaces import Row
from add.networks import kind_of

EXECUTION = {"use_fp16", "classifier_use_fp16", "use_checkpoint", "dropout"}  # how a network is run
SAMPLING = {"timestep_respacing"}  # training walks every timestep
# What the weights were found by, not what they mean.
LOSS = {"use_kl", "rescale_learned_sigmas", "min_snr_gamma", "even_share"}


def described(model_config: Any, diffusion_config: DiffusionConfig) -> Row:
    """Return the entries of config.json for a network and its diffusion, as JSON values."""
    return {"kind": kind_of(model_config), "model": dataclasses.asdict(model_config),
            "diffusion": dataclasses.asdict(diffusion_config)}


def differences(trained: tuple[Any, DiffusionConfig], given: tuple[Any, DiffusionConfig], ignored: Container[str]
                ) -> dict[str, tuple[Any, Any]]:
    """Return {option: (trained value, given value)} of the options in which two models differ.

    Args:
        trained, given: (config of the network, DiffusionConfig).
        ignored: names of options that may differ.
    """
    old, new = _options(trained), _options(given)
    return {name: (old.get(name), new.get(name)) for name in sorted(old | new)
            if name not in ignored and old.get(name) != new.get(name)}


def _options(configs):
    """Return the options of a model by name; what it doesn't use, or says twice, is left out."""
    model, diffusion = configs
    options = dataclasses.asdict(diffusion) | dataclasses.asdict(model)
    options |= {"kind": kind_of(model), "prediction": diffusion.predicted}
    del options["predict_xstart"]
    if not options.get("class_cond", True):
        options["num_classes"] = None
    return options
