"""Gaussian diffusion: noise schedules, the forward process q and its reverse p, sampling loops, ODE solvers, losses.

Pure maths on tensors: no files, no options, no printing.
"""
from add.diffusion.diffusion_config import DiffusionConfig, create_gaussian_diffusion, diffusion_from_config
from add.diffusion.gaussian import GaussianDiffusion
from add.diffusion.guidance import ClassifierFree, ClassifierGuided, ForClasses, class_gradient
from add.diffusion.prediction_types import LossType, ModelMeanType, ModelVarType
from add.diffusion.respacing import space_timesteps
from add.diffusion.schedules import named_beta_schedule
from add.diffusion.timestep_samplers import (
    LossSecondMomentResampler,
    StratifiedSampler,
    UniformSampler,
    create_named_schedule_sampler,
)

__all__ = [
    "ClassifierFree", "ClassifierGuided", "DiffusionConfig", "ForClasses", "GaussianDiffusion",
    "LossSecondMomentResampler", "LossType", "ModelMeanType", "ModelVarType", "StratifiedSampler", "UniformSampler",
    "class_gradient", "create_gaussian_diffusion", "create_named_schedule_sampler", "diffusion_from_config",
    "named_beta_schedule", "space_timesteps",
]
