"""The networks: guided-diffusion's UNet, its classifier and super-resolution variants, and one for points in the plane.

Read in this order: norm_activation, blocks, attention, stages, precision, unet, encoder, point_network, unet_shape,
network_configs, head_start; then `foreign`, the key layouts of other programs.
"""
from add.networks.attention import permute_attention_order
from add.networks.blocks import timestep_embedding
from add.networks.encoder import EncoderUNetModel
from add.networks.head_start import GaussianHeadStart, create_denoiser
from add.networks.network_configs import (
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
from add.networks.point_network import SyntheticModel
from add.networks.unet import SuperResModel, UNetModel

__all__ = [
    "KINDS",
    "ClassifierConfig",
    "EncoderUNetModel",
    "GaussianHeadStart",
    "ModelConfig",
    "PointConfig",
    "SuperResConfig",
    "SuperResModel",
    "SyntheticModel",
    "UNetModel",
    "create_classifier",
    "create_denoiser",
    "create_model",
    "create_network",
    "kind_of",
    "permute_attention_order",
    "sr_create_model",
    "timestep_embedding",
]
