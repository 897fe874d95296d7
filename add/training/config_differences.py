"""Which options make a model what it is, and which only say how it runs, samples or is trained.

The weights fit any of them; with another attention order, prediction or schedule they mean nothing all the same.
"""
import dataclasses

from add.networks import kind_of

EXECUTION = {"use_fp16", "classifier_use_fp16", "use_checkpoint", "dropout"}  # how a network is run
SAMPLING = {"timestep_respacing"}  # training walks every timestep
LOSS = {"use_kl", "rescale_learned_sigmas", "min_snr_gamma"}  # what the weights were found by, not what they mean


def described(model_config, diffusion_config):
    """Return what config.json says of a network and its diffusion, as JSON values."""
    return {"kind": kind_of(model_config), "model": dataclasses.asdict(model_config),
            "diffusion": dataclasses.asdict(diffusion_config)}


def differences(trained, given, ignored):
    """Return {option: (trained value, given value)} where two lists of configs differ in identity.

    Args:
        trained, given: (config of the network, DiffusionConfig).
        ignored: names of options that may differ.
    """
    trained, given = _options(trained), _options(given)
    return {name: (trained.get(name), given.get(name)) for name in sorted(trained | given)
            if name not in ignored and trained.get(name) != given.get(name)}


def _options(configs):
    """Return the options of a model by name; what it doesn't use, or says twice, is left out."""
    model, diffusion = configs
    options = dataclasses.asdict(diffusion) | dataclasses.asdict(model)
    options |= {"kind": kind_of(model), "prediction": diffusion.predicted}
    del options["predict_xstart"]
    if not options.get("class_cond", True):
        options["num_classes"] = None
    return options
