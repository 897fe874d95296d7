"""Small image classifiers, trained on real and synthetic images with soft labels.

Every method of a comparison is trained by the one loop here: the same network, steps, learning rates and batch size,
so that the training images and the mixing of them are all that differs.
"""
import dataclasses
import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import nn
from torch.nn import functional as F

from add.classification.heads import HEADS, heads_loss, num_outputs, targets_of
from add.classification.labelled_images import Labelled
from add.classification.mixing import MIXINGS, mix
from add.classification.ordinal_losses import Thresholds
from add.config import MOST_BATCH, MOST_STEPS, MOST_WEIGHT, Checked, option
from add.data.transforms import augment
from add.errors import UserError
from add.extras import install_command

Change: TypeAlias = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
NETWORKS = ("small_resnet", "resnet18", "densenet121")
DENSENET_LEAST = 32  # pixels; it halves them five times


@dataclasses.dataclass(frozen=True)
class ClassifierConfig(Checked):
    """Classifier."""

    network: str = option("small_resnet", "small_resnet: 0.08 M parameters, for patches up to 64 pixels; resnet18 and "
                                          "densenet121 are MONAI's", NETWORKS)
    steps: int = option(400, "training steps, the same for every method", least=1, most=MOST_STEPS)
    batch_size: int = option(32, "images per step", least=2, most=MOST_BATCH)
    lr: float = option(2e-3, "highest learning rate of AdamW: a rise over a tenth of the steps, then a cosine to 0",
                       above=0, most=100)
    weight_decay: float = option(1e-2, "weight decay of AdamW", least=0, most=MOST_WEIGHT)
    augment: str = option("dihedral", "flips and quarter turns of the training images, for every method but `plain`",
                          ("none", "mirror", "flips", "dihedral"))
    balance: bool = option(False, "draw the real images of every class equally often, however many there are of each")


class SmallResNet(nn.Module):
    """A residual network (He et al. 2016, arXiv:1512.03385) of three stages with one block each.

    Args:
        num_classes: K.
        width: channels of the first stage; they double from stage to stage.
    """

    def __init__(self, num_classes: int, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.blocks = nn.Sequential(ResidualBlock(width, width, 1), ResidualBlock(width, 2 * width, 2),
                                    ResidualBlock(2 * width, 4 * width, 2))
        self.head = nn.Linear(4 * width, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits [B, K] of x [B, 3, H, W]."""
        return self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))


class ResidualBlock(nn.Module):
    """Residual block: two 3 x 3 convolutions with batch normalisation, added to the input.

    Args:
        stride: of the first convolution; above 1, or where the channels change, a 1 x 1 convolution fits the input.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False), nn.BatchNorm2d(channels_out))
        same = channels_in == channels_out and stride == 1
        self.skip = nn.Identity() if same else nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [B, channels_out, H / stride, W / stride] of x [B, channels_in, H, W]."""
        return F.relu(self.body(x) + self.skip(x))


def build_for_heads(name: str, heads: str, num_classes: int) -> nn.Module:
    """Return an untrained network of a name in NETWORKS with the outputs of its heads, one of HEADS."""
    if heads == "coral":
        return nn.Sequential(build_network(name, 1), Thresholds(num_classes - 1))
    return build_network(name, num_outputs(heads, num_classes))


def build_network(name: str, num_classes: int) -> nn.Module:
    """Return an untrained network, x [B, 3, H, W] -> logits [B, K], of a name in NETWORKS."""
    if name == "small_resnet":
        return SmallResNet(num_classes)
    if name not in NETWORKS:
        raise UserError(f"network {name!r} is unknown: expected one of {', '.join(NETWORKS)}")
    try:
        from monai.networks import nets
    except ImportError as error:
        raise UserError(f"network {name} comes from MONAI, which is not installed: expected it to import; run "
                        f"`{install_command('eval', 'monai')}`, or take --network small_resnet") from error
    if name == "resnet18":
        return nets.resnet18(spatial_dims=2, n_input_channels=3, num_classes=num_classes, conv1_t_stride=1)
    return nets.DenseNet121(spatial_dims=2, in_channels=3, out_channels=num_classes)


def train_classifier(real: Labelled, config: ClassifierConfig, seed: int, synthetic: Labelled | None = None,
                     share: float = 0.0, mixing: str = "none",
                     on_step: Callable[[int, float], None] | None = None, heads: str = "class",
                     change: Change | None = None) -> nn.Module:
    """Return a network trained by the loss of its heads, in evaluation mode; of `class`, soft cross-entropy.

    Args:
        real: training images.
        seed: decides the initial weights, the batches, and their augmentation.
        synthetic: generated images that batches are completed with.
        share: of every batch that is drawn from `synthetic`, in [0, 1).
        mixing: "none", "mixup" or "cutmix" of each batch.
        on_step: called as on_step(step, loss).
        heads: what the network says, one of HEADS; see `add.classification.heads`.
        change: change(images, generator) -> images, random, of each batch behind its flips and turns; labels stay.

    Raises:
        UserError: a share without synthetic images, or an unknown name.
    """
    num_synthetic = _synthetic_per_batch(config.batch_size, synthetic, share)
    if config.network == "densenet121" and min(real.images.shape[2:]) < DENSENET_LEAST:
        raise UserError(f"network densenet121 was given images of {min(real.images.shape[2:])} pixels: expected "
                        f"{DENSENET_LEAST} or more; take --network small_resnet, or larger images")
    if mixing not in MIXINGS:
        raise UserError(f"mixing {mixing!r} is unknown: expected one of {', '.join(MIXINGS)}")
    if heads not in HEADS:
        raise UserError(f"heads {heads!r} are unknown: expected one of {'; '.join(HEADS)}")
    num_classes = real.labels.shape[1]
    shares = _balanced(real.labels) if config.balance else None
    real = Labelled(real.images, targets_of(real.labels, heads))
    if synthetic is not None:
        synthetic = Labelled(synthetic.images, targets_of(synthetic.labels, heads, generated=True))
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_for_heads(config.network, heads, num_classes)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch leaves it out
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _lr_factor(step, config.steps))
    network.train()
    for step in range(config.steps):
        images, targets = _draw(real, config.batch_size - num_synthetic, generator, shares)
        if num_synthetic:
            more_images, more_targets = _draw(synthetic, num_synthetic, generator)
            images, targets = torch.cat([images, more_images]), torch.cat([targets, more_targets])
        images = augment(images, generator, config.augment)
        images, targets = mix(images if change is None else change(images, generator), targets, mixing, generator)
        with torch.enable_grad():
            loss = heads_loss(network(images.contiguous(memory_format=torch.channels_last)), targets, heads)
            optimizer.zero_grad()
            loss.backward()
        if not math.isfinite(loss.item()):
            raise UserError(f"the classifier's loss is {loss.item()} at step {step}: lower --lr, or look at the images")
        optimizer.step()
        scheduler.step()
        if on_step is not None:
            on_step(step, loss.item())
    return network.eval()


@torch.no_grad()
def predict_logits(network: nn.Module, images: torch.Tensor, batch_size: int = 256) -> torch.Tensor:
    """Return the outputs float32 [n, K] of images [n, 3, H, W]; batch_size does not change them.

    Logits, where the network has the head `class`; else see `add.classification.heads.read_outputs`.
    """
    parts = (part.contiguous(memory_format=torch.channels_last) for part in images.split(batch_size))
    return torch.cat([network(part) for part in parts])


def _synthetic_per_batch(batch_size, synthetic, share):
    if not 0 <= share < 1:
        raise UserError(f"a synthetic share of {share} leaves no real images: expected 0 <= share < 1; lower "
                        f"--synthetic_share")
    if share > 0 and not synthetic:
        raise UserError(f"a synthetic share of {share} was asked for without synthetic images: expected some; give a "
                        f"folder of them, or a share of 0")
    return min(max(round(share * batch_size), int(share > 0)), batch_size - 1)


def _lr_factor(step, steps):
    """Return the learning rate at `step` as a share of the highest."""
    warmup = max(1, steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _balanced(labels):
    """Return how often to draw each image, float32 [n], so that every class is drawn equally often."""
    classes = labels.argmax(dim=1)
    return 1 / torch.bincount(classes)[classes]


def _draw(data, count, generator, shares=None):
    if shares is None:
        chosen = torch.randint(len(data), (count,), generator=generator)
    else:
        chosen = torch.multinomial(shares, count, replacement=True, generator=generator)
    return data.images[chosen], data.labels[chosen]
