"""The networks: guided-diffusion's UNet, its classifier and super-resolution variants, one for points.

Read in this order: norm_activation, blocks, attention, stages, precision, unet, encoder, super_resolution, synthetic,
layout, factory, diffusers_keys, architecture, published, recognise.
"""
from add.networks.attention import permute_attention_order
from add.networks.blocks import timestep_embedding
from add.networks.encoder import EncoderUNetModel
from add.networks.factory import (
    KINDS,
    ClassifierConfig,
    ModelConfig,
    PointConfig,
    SuperResConfig,
    create_classifier,
    create_model,
    create_network,
    kind_of,
    sr_create_model,
)
from add.networks.super_resolution import SuperResModel
from add.networks.synthetic import SyntheticModel
from add.networks.unet import UNetModel

__all__ = [
    "KINDS",
    "ClassifierConfig",
    "EncoderUNetModel",
    "ModelConfig",
    "PointConfig",
    "SuperResConfig",
    "SuperResModel",
    "SyntheticModel",
    "UNetModel",
    "create_classifier",
    "create_model",
    "create_network",
    "kind_of",
    "permute_attention_order",
    "sr_create_model",
    "timestep_embedding",
]
