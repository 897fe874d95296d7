"""The options of each network with their defaults, and guided-diffusion's functions that build the networks from them.

Options that cannot work are refused with a UserError before anything is built. `use_fp16` is accepted and
changes no weight: mixed precision is the caller's, who runs forward under torch.autocast (float16 on CUDA).
Inside `with torch.device("meta"):` a network is built without memory for its weights.
"""
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import ClassVar, TypeAlias

from torch import nn

from add.config import MOST_CHANNELS, MOST_CLASSES, MOST_LAYERS, MOST_PIXELS, Checked, HelpGroups, option
from add.errors import UserError
from add.networks.encoder import EncoderUNetModel
from add.networks.point_network import SyntheticModel
from add.networks.unet import SuperResModel, UNetModel
from add.networks.unet_shape import (
    SUPER_RES_CHANNEL_MULT,
    Numbers,
    check_counts,
    check_dropout,
    check_widths,
    choose_attention_rates,
    choose_channel_mult,
    places_of,
)

NUM_CLASSES = 1000
IMAGE_CHANNELS = 3
NUM_POINT_SETS = 6
CLASSIFIER_HEAD_CHANNELS = 64

_FP16_HELP = "run forward under float16 autocast on CUDA; weights stay float32"


@dataclass(frozen=True)
class UNetConfig(Checked):
    """The options that create_model and sr_create_model share, and their defaults."""

    num_channels: int = option(128, "base number of channels, a multiple of 32", least=1, most=MOST_CHANNELS)
    num_res_blocks: int = option(2, "residual blocks per level", least=1, most=MOST_LAYERS)
    num_heads: int = option(4, "attention heads, unless num_head_channels is given", least=-1, most=MOST_CHANNELS)
    num_heads_upsample: int = option(-1, "attention heads on the way up; -1: as num_heads",
                                     least=-1, most=MOST_CHANNELS)
    num_head_channels: int = option(-1, "channels of one attention head, overriding num_heads; -1: unset",
                                    least=-1, most=MOST_CHANNELS)
    attention_resolutions: str = option(
        "16,8", "feature map sizes with attention, in pixels, separated by commas")
    dropout: float = option(0.0, "probability of dropping an activation in training, from 0 to below 1",
                            least=0, below=1)
    class_cond: bool = option(False, "condition on a class label")
    num_classes: int = option(NUM_CLASSES, "number of classes, with class_cond", least=0, most=MOST_CLASSES)
    learn_sigma: bool = option(False, "predict the variance as well: 6 output channels instead of 3")
    use_checkpoint: bool = option(False, "recompute activations in the backward pass, to save memory")
    use_scale_shift_norm: bool = option(True, "the timestep scales and shifts each block's normalisation")
    resblock_updown: bool = option(False, "residual blocks for changing resolution")
    use_fp16: bool = option(False, _FP16_HELP)


@dataclass(frozen=True)
class ModelConfig(UNetConfig):
    """Network of images.

    Its options are those of create_model.
    """

    help_groups: ClassVar[HelpGroups] = {"network of images": (
        "image_size", "class_cond", "num_classes", "class_dropout", "num_channels", "channel_mult", "num_res_blocks",
        "attention_resolutions", "patch_size", "dropout", "learn_sigma")}

    image_size: int = option(64, "height and width of an image, in pixels", least=1, most=MOST_PIXELS)
    channel_mult: str = option(
        "", "channel multipliers per level, finest first, separated by commas; empty: by image size")
    class_dropout: float = option(0.0, "share of training images whose class is hidden, from 0 to below 1; above 0 "
                                       "samples can be guided without a classifier (0.1 is usual)", least=0, below=1)
    use_new_attention_order: bool = option(
        False, "global-priority attention (Q, K, V first, then heads); otherwise local (heads first)")
    patch_size: int = option(1, "pixels along the side of a patch whose pixels the first level takes as channels of "
                                "one place: 2 halves a training step's cost, with the levels' sizes and their "
                                "attention_resolutions those of an image of half the size", least=1, most=MOST_PIXELS)


@dataclass(frozen=True)
class SuperResConfig(UNetConfig):
    """Network that enlarges images.

    Its options are those of sr_create_model.
    """

    help_groups: ClassVar[HelpGroups] = {"network that enlarges images": (
        "large_size", "small_size", "class_cond", "num_classes", "num_channels", "num_res_blocks",
        "attention_resolutions", "dropout", "learn_sigma")}

    large_size: int = option(256, "height and width of the images that are made, in pixels", least=1, most=MOST_PIXELS)
    small_size: int = option(64, "height and width of the images that they are made from, in pixels",
                             least=1, most=MOST_PIXELS)


@dataclass(frozen=True)
class ClassifierConfig(Checked):
    """Network that classifies noisy images.

    Its options are those of create_classifier.
    """

    image_size: int = option(64, "height and width of an image, in pixels", least=1, most=MOST_PIXELS)
    classifier_use_fp16: bool = option(False, _FP16_HELP)
    classifier_width: int = option(128, "base number of channels, a multiple of 32", least=1, most=MOST_CHANNELS)
    classifier_depth: int = option(2, "residual blocks per level", least=1, most=MOST_LAYERS)
    classifier_attention_resolutions: str = option(
        "32,16,8", "feature map sizes with attention, in pixels, separated by commas")
    classifier_use_scale_shift_norm: bool = option(
        True, "the timestep scales and shifts each block's normalisation")
    classifier_resblock_updown: bool = option(True, "residual blocks for changing resolution")
    classifier_pool: str = option("attention", "pooling: adaptive, attention, spatial or spatial_v2")
    num_classes: int = option(NUM_CLASSES, "number of classes", least=0, most=MOST_CLASSES)


@dataclass(frozen=True)
class PointConfig(Checked):
    """Network for points in the plane."""

    task: int = option(0, "point set, 0 to 5: moons, checkerboard, concentric rings, concentric squares, olympic "
                          "rings, olympic squares", least=0, most=NUM_POINT_SETS - 1)
    num_channels: int = option(64, "width of the network, a multiple of 32", least=1, most=MOST_CHANNELS)
    num_res_blocks: int = option(3, "residual blocks before the middle, and as many after it",
                                 least=1, most=MOST_LAYERS)
    dropout: float = option(0.0, "probability of dropping an activation in training, from 0 to below 1",
                            least=0, below=1)
    learn_sigma: bool = option(False, "predict the variance as well: 4 outputs instead of 2")


NetworkConfig: TypeAlias = ModelConfig | SuperResConfig | ClassifierConfig | PointConfig

KINDS: dict[str, type[NetworkConfig]] = {
    "image": ModelConfig, "super_res": SuperResConfig, "classifier": ClassifierConfig, "points": PointConfig}


def kind_of(config: NetworkConfig) -> str:
    """Return the kind of network that a config builds, one of KINDS."""
    return next(kind for kind, config_class in KINDS.items() if type(config) is config_class)


def create_network(config: NetworkConfig) -> nn.Module:
    """Return the network of a config of any of the KINDS."""
    builders: dict[str, Callable[..., nn.Module]] = {
        "image": create_model, "super_res": sr_create_model, "classifier": create_classifier,
        "points": create_point_model}
    return builders[kind_of(config)](**asdict(config))


def create_model(image_size: int, num_channels: int, num_res_blocks: int, channel_mult: Numbers = "",
                 learn_sigma: bool = False, class_cond: bool = False, use_checkpoint: bool = False,
                 attention_resolutions: Numbers = "16", num_heads: int = 1, num_head_channels: int = -1,
                 num_heads_upsample: int = -1, use_scale_shift_norm: bool = False, dropout: float = 0,
                 resblock_updown: bool = False, use_fp16: bool = False, use_new_attention_order: bool = False,
                 num_classes: int = NUM_CLASSES, class_dropout: float = 0.0, patch_size: int = 1) -> UNetModel:
    """Return the UNetModel of these options, which ModelConfig explains."""
    _check_class_dropout(class_dropout, class_cond)
    places = places_of(image_size, patch_size)
    multipliers = choose_channel_mult(places, channel_mult)
    rates = choose_attention_rates(places, attention_resolutions, len(multipliers))
    _check_image_model(
        num_channels, num_res_blocks, multipliers, rates, num_heads, num_head_channels, num_heads_upsample,
        dropout, num_classes)
    return UNetModel(
        image_size=image_size, in_channels=IMAGE_CHANNELS, model_channels=num_channels,
        out_channels=_output_channels(learn_sigma), num_res_blocks=num_res_blocks,
        attention_resolutions=rates, dropout=dropout, channel_mult=multipliers,
        num_classes=num_classes if class_cond else None, use_checkpoint=use_checkpoint, num_heads=num_heads,
        num_head_channels=num_head_channels, num_heads_upsample=num_heads_upsample,
        use_scale_shift_norm=use_scale_shift_norm, resblock_updown=resblock_updown,
        use_new_attention_order=use_new_attention_order, knows_no_class=class_dropout > 0, patch_size=patch_size)


def sr_create_model(large_size: int, small_size: int, num_channels: int, num_res_blocks: int, learn_sigma: bool,
                    class_cond: bool, use_checkpoint: bool, attention_resolutions: Numbers, num_heads: int,
                    num_head_channels: int, num_heads_upsample: int, use_scale_shift_norm: bool, dropout: float,
                    resblock_updown: bool, use_fp16: bool, num_classes: int = NUM_CLASSES) -> SuperResModel:
    """Return the SuperResModel from `small_size` to `large_size` pixels; ModelConfig explains the rest.

    The network takes a low-resolution image of any size, so `small_size` is only checked for sense.
    """
    check_counts(small_size=small_size)
    multipliers = choose_channel_mult(large_size, defaults=SUPER_RES_CHANNEL_MULT, option="large_size")
    rates = choose_attention_rates(large_size, attention_resolutions, len(multipliers))
    _check_image_model(
        num_channels, num_res_blocks, multipliers, rates, num_heads, num_head_channels, num_heads_upsample,
        dropout, num_classes)
    return SuperResModel(
        image_size=large_size, in_channels=IMAGE_CHANNELS, model_channels=num_channels,
        out_channels=_output_channels(learn_sigma), num_res_blocks=num_res_blocks,
        attention_resolutions=rates, dropout=dropout, channel_mult=multipliers,
        num_classes=num_classes if class_cond else None, use_checkpoint=use_checkpoint, num_heads=num_heads,
        num_head_channels=num_head_channels, num_heads_upsample=num_heads_upsample,
        use_scale_shift_norm=use_scale_shift_norm, resblock_updown=resblock_updown)


def create_classifier(image_size: int, classifier_use_fp16: bool, classifier_width: int, classifier_depth: int,
                      classifier_attention_resolutions: Numbers, classifier_use_scale_shift_norm: bool,
                      classifier_resblock_updown: bool, classifier_pool: str,
                      num_classes: int = NUM_CLASSES) -> EncoderUNetModel:
    """Return the EncoderUNetModel of these options, which ClassifierConfig explains."""
    multipliers = choose_channel_mult(image_size)
    rates = choose_attention_rates(
        image_size, classifier_attention_resolutions, len(multipliers), "classifier_attention_resolutions")
    check_counts(
        classifier_width=classifier_width, classifier_depth=classifier_depth, num_classes=num_classes)
    check_widths(classifier_width, multipliers, rates, num_head_channels=CLASSIFIER_HEAD_CHANNELS)
    return EncoderUNetModel(
        image_size=image_size, in_channels=IMAGE_CHANNELS, model_channels=classifier_width,
        out_channels=num_classes, num_res_blocks=classifier_depth, attention_resolutions=rates,
        channel_mult=multipliers, num_head_channels=CLASSIFIER_HEAD_CHANNELS,
        use_scale_shift_norm=classifier_use_scale_shift_norm, resblock_updown=classifier_resblock_updown,
        pool=classifier_pool)


def create_point_model(task: int, num_channels: int, num_res_blocks: int, dropout: float = 0.0,
                       learn_sigma: bool = False) -> SyntheticModel:
    """Return the SyntheticModel of these options, which PointConfig explains; `task` changes no weight's shape."""
    check_counts(num_channels=num_channels, num_res_blocks=num_res_blocks)
    check_dropout(dropout)
    return SyntheticModel(in_channels=2, model_channels=num_channels, out_channels=4 if learn_sigma else 2,
                          num_res_blocks=num_res_blocks, dropout=dropout)


def _check_class_dropout(class_dropout, class_cond):
    if not 0 <= class_dropout < 1:
        raise UserError(f"class_dropout is {class_dropout}: expected 0 <= class_dropout < 1; change --class_dropout")
    if class_dropout and not class_cond:
        raise UserError(f"class_dropout is {class_dropout} for a model without classes: expected --class_cond with it; "
                        f"add that, or leave out --class_dropout")


def _check_image_model(num_channels, num_res_blocks, multipliers, rates, num_heads, num_head_channels,
                       num_heads_upsample, dropout, num_classes):
    """Raise UserError for options that create_model and sr_create_model cannot build a network from."""
    check_counts(num_channels=num_channels, num_res_blocks=num_res_blocks, num_classes=num_classes)
    check_dropout(dropout)
    check_widths(num_channels, multipliers, rates, num_heads, num_head_channels, num_heads_upsample)


def _output_channels(learn_sigma):
    """Return the channels of the prediction: the mean, and the variance where it is learned."""
    return 2 * IMAGE_CHANNELS if learn_sigma else IMAGE_CHANNELS
