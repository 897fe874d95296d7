"""The methods that the ADD paper compares with, each from its own paper: ProGAN, LoFGAN, MixDL.

IDDPM is not here: it is our own network and training with the options of its paper (configs/iddpm.yaml). Read in this
order: step_draws, class_groups, progan, lofgan, stylegan2, diffaugment, mixdl, baseline_models, adversarial,
baseline_setup.
"""
