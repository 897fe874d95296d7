"""Table of the published checkpoints and the options that they were made with, for what their keys do not tell.

The options are those that the READMEs of guided-diffusion and improved-diffusion (OpenAI) and the code of ADD
(Liu et al. 2024, arXiv:2311.12316) give for each file, with the defaults of that project for the rest.
"""
from typing import Any

from add.diffusion import DiffusionConfig
from add.networks.network_configs import ClassifierConfig, ModelConfig, NetworkConfig, SuperResConfig

_ADM: dict[str, Any] = {"attention_resolutions": "32,16,8", "learn_sigma": True, "resblock_updown": True}
_ADM_256 = _ADM | {"image_size": 256, "num_channels": 256, "num_head_channels": 64}
_ADM_DIFFUSION = DiffusionConfig(learn_sigma=True)

_IDDPM_64: dict[str, Any] = {"image_size": 64, "num_res_blocks": 3, "learn_sigma": True}
_IDDPM_LSUN: dict[str, Any] = {"image_size": 256, "num_heads": 1, "attention_resolutions": "16", "learn_sigma": True,
                               "use_scale_shift_norm": False}
_IDDPM_COSINE = DiffusionConfig(diffusion_steps=4000, noise_schedule="cosine", learn_sigma=True,
                                rescale_timesteps=True, rescale_learned_sigmas=True)

PUBLISHED: dict[str, tuple[NetworkConfig, DiffusionConfig]] = {
    "guided-diffusion's 64x64_diffusion.pt": (
        ModelConfig(image_size=64, num_channels=192, num_res_blocks=3, num_head_channels=64, dropout=0.1,
                    class_cond=True, use_new_attention_order=True, **_ADM),
        DiffusionConfig(noise_schedule="cosine", learn_sigma=True)),
    "guided-diffusion's 128x128_diffusion.pt": (
        ModelConfig(image_size=128, num_channels=256, class_cond=True, **_ADM), _ADM_DIFFUSION),
    "guided-diffusion's 256x256_diffusion.pt": (ModelConfig(class_cond=True, **_ADM_256), _ADM_DIFFUSION),
    "guided-diffusion's 256x256_diffusion_uncond.pt": (ModelConfig(**_ADM_256), _ADM_DIFFUSION),
    "guided-diffusion's lsun_horse_nodropout.pt": (ModelConfig(**_ADM_256), _ADM_DIFFUSION),
    "guided-diffusion's lsun_bedroom.pt, lsun_cat.pt, lsun_horse.pt": (
        ModelConfig(dropout=0.1, **_ADM_256), _ADM_DIFFUSION),
    "ADD's target model": (ModelConfig(**_ADM_256), _ADM_DIFFUSION),
    "ADD's source model": (ModelConfig(use_new_attention_order=True, **_ADM_256), _ADM_DIFFUSION),
    "guided-diffusion's 512x512_diffusion.pt": (
        ModelConfig(image_size=512, num_channels=256, num_head_channels=64, class_cond=True, **_ADM), _ADM_DIFFUSION),
    "guided-diffusion's 64_256_upsampler.pt": (
        SuperResConfig(large_size=256, small_size=64, num_channels=192, class_cond=True, **_ADM), _ADM_DIFFUSION),
    "guided-diffusion's 128_512_upsampler.pt": (
        SuperResConfig(large_size=512, small_size=128, num_channels=192, num_head_channels=64, class_cond=True,
                       **_ADM | {"attention_resolutions": "32,16"}), _ADM_DIFFUSION),
    "guided-diffusion's 64x64_classifier.pt": (
        ClassifierConfig(image_size=64, classifier_depth=4), DiffusionConfig(noise_schedule="cosine")),
    "guided-diffusion's 128x128_classifier.pt": (ClassifierConfig(image_size=128), DiffusionConfig()),
    "guided-diffusion's 256x256_classifier.pt": (ClassifierConfig(image_size=256), DiffusionConfig()),
    "guided-diffusion's 512x512_classifier.pt": (ClassifierConfig(image_size=512), DiffusionConfig()),
    "improved-diffusion's imagenet64_uncond_100M_1500K.pt": (
        ModelConfig(num_channels=128, **_IDDPM_64), _IDDPM_COSINE),
    "improved-diffusion's imagenet64_uncond_vlb_100M_1500K.pt": (
        ModelConfig(num_channels=128, **_IDDPM_64), _IDDPM_COSINE),
    "improved-diffusion's cifar10_uncond_50M_500K.pt, cifar10_uncond_vlb_50M_500K.pt": (
        ModelConfig(image_size=32, num_res_blocks=3, learn_sigma=True, dropout=0.3), _IDDPM_COSINE),
    "improved-diffusion's imagenet64_cond_270M_250K.pt": (
        ModelConfig(num_channels=192, class_cond=True, **_IDDPM_64),
        DiffusionConfig(diffusion_steps=4000, noise_schedule="cosine", learn_sigma=True)),
    "improved-diffusion's upsample_cond_500K.pt": (
        SuperResConfig(large_size=256, small_size=64, num_channels=192, class_cond=True, learn_sigma=True),
        DiffusionConfig(diffusion_steps=4000, learn_sigma=True)),
    "improved-diffusion's lsun_uncond_100M_1200K_bs128.pt, lsun_uncond_100M_2400K_bs64.pt": (
        ModelConfig(**_IDDPM_LSUN), _ADM_DIFFUSION),
}
