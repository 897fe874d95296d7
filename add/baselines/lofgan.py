"""LoFGAN: new images of a class from a few of its images, by fusing local features.

Gu, Li, Huo, Wang, Gao, "LoFGAN: Fusing Local Representations for Few-shot Image Generation", ICCV 2021. Losses and
their weights, how base, places and weights of the fusion are drawn, and Adam's settings follow what the authors' code
does (edward3862/LoFGAN-pytorch). What may surprise in it:

- The local reconstruction loss looks at one pixel for each place of the maps, the one in the middle of what the place
  sees, and leaves the others free.
- The gradient penalty takes the mean of the real images' logits of their own class over the batch, and the squared norm
  of its gradient: far weaker than a mean of squared norms with the same weight of 10. What keeps the discriminator
  smooth is spectral normalisation.
- The learning rate stays for the first half of the training and falls evenly to 0 in the second.
- The discriminator sees all k images of a row as real ones, and one made from them.

Here each row has a base of its own, where theirs is the same for a batch. Sizes, depth and normalisation of the
networks: see lofgan_networks.py. The paper trains on many classes and makes images of others. Here both are the same
few classes; with only two of them the discriminator's classification is a weak signal, but still one.
"""
import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from add.baselines.lofgan_fusion import FusionPlan, fuse, make_plan, num_uniforms
from add.baselines.lofgan_networks import NORM_GROUPS, Discriminator, Generator
from add.baselines.step_draws import Draw
from add.config import MOST_CHANNELS, MOST_WEIGHT, Checked, expect, option
from add.errors import UserError

WEIGHT_DECAY = 1e-4
SIZES = (32, 64, 128, 256)  # pixels
MAP_SIZES = (4, 8, 16)


@dataclasses.dataclass(frozen=True)
class LoFGANConfig(Checked):
    """LoFGAN (ICCV 2021)."""

    shots: int = option(3, "images of one class that one image is made from (k)", least=2, most=100)
    fusion_rate: float = option(0.5, "share of the base's local features that are replaced, above 0 to 1",
                                above=0, most=1)
    map_size: int = option(8, "height and width of the feature maps that are fused, in places", MAP_SIZES)
    generator_channels: int = option(32, "width of the generator's first layer, a multiple of 8; the widest is 4 times "
                                         "as wide", least=1, most=MOST_CHANNELS)
    discriminator_channels: int = option(48, "width of the discriminator's first layer, which doubles with each "
                                             "halving of the size", least=1, most=MOST_CHANNELS)
    max_channels: int = option(256, "width beyond which the discriminator's layers do not grow",
                               least=1, most=MOST_CHANNELS)
    classification_weight: float = option(1.0, "weight of the classification losses of both networks",
                                          least=0, most=MOST_WEIGHT)
    local_weight: float = option(0.5, "weight of the generator's local reconstruction loss", least=0, most=MOST_WEIGHT)
    penalty_weight: float = option(10.0, "weight of the gradient penalty on real images; 0: none, which saves time",
                                   least=0, most=MOST_WEIGHT)

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(self.generator_channels % NORM_GROUPS == 0, "generator_channels", self.generator_channels,
               f"a multiple of {NORM_GROUPS}")
        expect(self.max_channels >= self.discriminator_channels, "max_channels", self.max_channels,
               f"no less than discriminator_channels ({self.discriminator_channels})")


def hinge_loss(real_scores: torch.Tensor, fake_scores: torch.Tensor) -> torch.Tensor:
    """Return the discriminator's hinge loss: mean of max(0, 1 - real) plus mean of max(0, 1 + fake)."""
    return F.relu(1 - real_scores).mean() + F.relu(1 + fake_scores).mean()


def local_reconstruction_loss(made: torch.Tensor, images: torch.Tensor, plan: FusionPlan, matches: torch.Tensor,
                              map_size: int) -> torch.Tensor:
    """Return the mean absolute difference of images made [B, 3, S, S] from the images fused as their maps were.

    Both are looked at where the places of the maps lie: every (S / map_size)th pixel of every so many-th row.

    Args:
        images: [B, k, 3, S, S], what `made` was made from; plan, matches: how. map_size: of the fused maps.
    """
    step = made.shape[-1] // map_size
    return F.l1_loss(made[..., ::step, ::step], fuse(images[..., ::step, ::step], plan, matches))


def class_penalty(logits: torch.Tensor, classes: torch.Tensor, images: torch.Tensor, rows: int) -> torch.Tensor:
    """Return the squared norm of the gradient of the mean logit of the images' own classes, divided by `rows`.

    Args:
        logits: [N, num_classes], row i made from images [N, 3, S, S], which require gradients.
        classes: int64 [N]. rows: of the batch, B = N / k.
    """
    own = logits.gather(1, classes[:, None])
    gradient, = torch.autograd.grad(own.mean(), images, create_graph=True)
    return gradient.square().sum() / rows


class LoFGAN:
    """LoFGAN's networks, optimisers, losses and samples, for AdversarialTrainer.

    Args:
        image_size: in pixels. num_classes: of the labels, at least 1.

    Attributes:
        group: k, how many images of one class a row of a batch holds.
        lr_factor: what the learning rate is multiplied with at this step.
    """

    columns = ("d_loss", "g_loss", "real_score", "fake_score", "d_class_loss", "g_class_loss", "local_loss",
               "gradient_penalty")
    needs_classes = True

    def __init__(self, config: LoFGANConfig, image_size: int, num_classes: int = 0) -> None:
        if image_size not in SIZES:
            raise UserError(f"image_size is {image_size}: LoFGAN makes images of {', '.join(map(str, SIZES))} pixels; "
                            f"change --image_size")
        if num_classes < 1:
            raise UserError("LoFGAN makes images from images of the same class, but these have no classes: give images "
                            "whose classes are known")
        self.config, self.group, self.lr_factor = config, config.shots, 1.0
        self.generator = Generator(image_size, config.map_size, config.generator_channels)
        self.discriminator = Discriminator(image_size, config.discriminator_channels, config.max_channels, num_classes)

    def optimizers(self, lr: float) -> tuple[torch.optim.Optimizer, ...]:
        """Return Adam for the generator and for the discriminator."""
        return tuple(torch.optim.Adam(network.parameters(), lr=lr, weight_decay=WEIGHT_DECAY)
                     for network in (self.generator, self.discriminator))

    def begin_step(self, progress: float, step: int) -> None:
        """Let the learning rate fall evenly over the second half; progress in [0, 1] is the share that is done."""
        self.lr_factor = min(1.0, 2 * (1 - progress))

    def discriminator_loss(self, real: torch.Tensor, labels: torch.Tensor | None, draw: Draw
                           ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return (loss, its terms): hinge loss, classification of real images, the gradient penalty.

        Args:
            real: [B, k, 3, S, S] in [-1, 1], k images of one class in each row. labels: int64 [B].
            draw: the step's random numbers.
        """
        assert labels is not None, "LoFGAN is trained with labels"
        with torch.no_grad():
            fake, _ = self.generator(real, self._plan(real, draw))
        penalised = self.config.penalty_weight > 0
        images = real.detach().flatten(0, 1).requires_grad_(penalised)
        real_scores, logits = self.discriminator(images)
        fake_scores, _ = self.discriminator(fake)
        classes = labels.repeat_interleave(real.shape[1])
        class_loss = F.cross_entropy(logits, classes)
        penalty = class_penalty(logits, classes, images, len(real)) if penalised else logits.new_zeros(())
        loss = (hinge_loss(real_scores, fake_scores) + self.config.classification_weight * class_loss
                + self.config.penalty_weight * penalty)
        terms = {"d_loss": loss, "real_score": real_scores.mean(), "fake_score": fake_scores.mean(),
                 "d_class_loss": class_loss, "gradient_penalty": penalty}
        return loss, {name: term.detach() for name, term in terms.items()}

    def generator_loss(self, real: torch.Tensor, labels: torch.Tensor | None, draw: Draw
                       ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return (loss, its terms): minus the mean score, classification and local reconstruction of images made.

        Takes what `discriminator_loss` takes.
        """
        assert labels is not None, "LoFGAN is trained with labels"
        plan = self._plan(real, draw)
        made, matches = self.generator(real, plan)
        scores, logits = self.discriminator(made)
        class_loss = F.cross_entropy(logits, labels)
        local_loss = local_reconstruction_loss(made, real, plan, matches, self.config.map_size)
        loss = (-scores.mean() + self.config.classification_weight * class_loss
                + self.config.local_weight * local_loss)
        terms = {"g_loss": loss, "g_class_loss": class_loss, "local_loss": local_loss}
        return loss, {name: term.detach() for name, term in terms.items()}

    @torch.no_grad()
    def sample(self, generator: Generator, numbers: Sequence[int], seed: int, references: torch.Tensor | None = None
               ) -> torch.Tensor:
        """Return images [n, 3, S, S] in (-1, 1); image i depends on seed, numbers[i] and references[i] alone.

        Args:
            references: [n, k, 3, S, S] in [-1, 1], k images of one class for each; k may differ from training's.
        """
        assert references is not None and len(references) == len(numbers), "one row of references for each number"
        references = references.to(generator.device)
        num_images = references.shape[1]
        count = num_uniforms(num_images, generator.map_size)
        uniforms = np.stack([np.random.default_rng([seed, number]).random(count, np.float32) for number in numbers])
        plan = make_plan(torch.from_numpy(uniforms).to(references.device), num_images, self.config.fusion_rate)
        return generator(references, plan)[0]

    def _plan(self, real, draw):
        uniforms = draw.uniform(len(real), num_uniforms(real.shape[1], self.config.map_size))
        return make_plan(uniforms, real.shape[1], self.config.fusion_rate)
