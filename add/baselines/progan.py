"""ProGAN: a GAN whose networks grow from small images to large ones; Karras et al. 2018 (arXiv:1710.10196).

The paper's phases are 600,000 images long each, and its runs 12 million: to 32 pixels that grows in the first 0.3.
Adam goes on as it is when the networks grow, where the authors' code starts it anew, and the minibatch standard
deviation is that of the whole batch, not of groups of four.
"""
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from add.baselines.progan_networks import Discriminator, Generator, enlarge, pixel_norm, shrink, sizes_between
from add.baselines.step_draws import Draw
from add.config import MOST_CHANNELS, MOST_WEIGHT, Checked, expect, option
from add.errors import UserError

BETAS, ADAM_EPS = (0.0, 0.99), 1e-8  # Appendix A.1
LARGEST = 256  # pixels


@dataclasses.dataclass(frozen=True)
class ProGANConfig(Checked):
    """ProGAN (arXiv:1710.10196)."""

    channels: int = option(32, "width of the layers at the full size; each half of the size has twice as many",
                           least=1, most=MOST_CHANNELS)
    max_channels: int = option(0, "width at most, the paper's is 512; 0: 192 up to 64 pixels, 512 beyond",
                               least=0, most=MOST_CHANNELS)
    first_size: int = option(4, "pixels of the images at which growing starts", (4, 8))
    growth_share: float = option(0.3, "share of the run, by steps or by time, at whose end the last layers are faded "
                                      "in; before it, all training and fading phases are equally long; 0: full-grown "
                                      "from the start", least=0, below=1)
    penalty_weight: float = option(10.0, "weight of the gradient penalty", least=0, most=MOST_WEIGHT)
    drift_weight: float = option(0.001, "weight of the drift term", least=0, most=MOST_WEIGHT)

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(self.max_channels >= self.channels or self.max_channels == 0, "max_channels", self.max_channels,
               f"channels ({self.channels}) or more, or 0")

    def width_limit(self, image_size: int) -> int:
        """Return the largest width of a layer in networks for images of this size in pixels."""
        return self.max_channels or max(self.channels, 192 if image_size <= 64 else 512)


def growth(progress: float, sizes: Sequence[int], growth_share: float) -> tuple[int, float]:
    """Return (size in pixels, alpha): how far the networks have grown after the share `progress` of the run.

    The first size is trained for one phase, every later one faded in for one (alpha from 0 to 1) and trained for one
    (alpha 1); all phases are equally long but the last, which is the rest of the run (Appendix A.1).
    """
    num_phases = 2 * len(sizes) - 2  # before the last
    if progress >= growth_share or not num_phases:
        return sizes[-1], 1.0
    phase, share = divmod(progress / growth_share * num_phases, 1)
    return sizes[(int(phase) + 1) // 2], share if phase % 2 else 1.0


def real_at(images: torch.Tensor, size: int, alpha: float) -> torch.Tensor:
    """Return images [B, 3, S, S] at `size` pixels, as the generator makes them while it grows; Sec. 2, Fig. 2.

    alpha: from 0, the image of half the size enlarged, to 1, the plain one; between them, their weighted sum.
    """
    images = F.avg_pool2d(images, images.shape[-1] // size)
    return images if alpha == 1 else torch.lerp(enlarge(shrink(images)), images, alpha)


def gradient_penalty(critic: Callable[[torch.Tensor], torch.Tensor], real: torch.Tensor, fake: torch.Tensor,
                     shares: torch.Tensor) -> torch.Tensor:
    """Return the mean of (|gradient of the critic| - 1)^2 between real and fake images; arXiv:1704.00028, Eq. 3.

    Args:
        critic: critic(images [B, 3, S, S]) -> scores [B].
        real, fake: [B, 3, S, S].
        shares: [B, 1, 1, 1] in [0, 1], where on the line from fake (0) to real (1) the gradient is taken.
    """
    between = torch.lerp(fake.detach(), real, shares).requires_grad_()
    gradient, = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


class ProGAN:
    """ProGAN's networks, optimisers, losses and samples, for AdversarialTrainer.

    What has grown is not part of the weights: `begin_step` sets it from the share of the run that is done, also before
    samples are drawn from a saved generator.

    Args:
        image_size: of the full-grown networks, in pixels. num_classes: not used.
    """

    columns = ("d_loss", "g_loss", "wasserstein", "gradient_penalty", "drift", "size", "alpha")
    needs_classes = False
    lr_factor = 1.0

    def __init__(self, config: ProGANConfig, image_size: int, num_classes: int = 0) -> None:
        sizes = sizes_between(config.first_size, LARGEST)
        if image_size not in sizes:
            raise UserError(f"image_size is {image_size}: ProGAN makes images of {', '.join(map(str, sizes))} pixels; "
                            f"change --image_size")
        self.config, self.image_size = config, image_size
        self.sizes = sizes_between(config.first_size, image_size)
        shape = image_size, config.first_size, config.channels, config.width_limit(image_size)
        self.generator, self.discriminator = Generator(*shape), Discriminator(*shape)
        self.size, self.alpha = 0, 0.0  # nothing yet

    def optimizers(self, lr: float) -> tuple[torch.optim.Optimizer, ...]:
        """Return Adam for the generator and for the discriminator; Appendix A.1, where lr is 0.001."""
        return tuple(torch.optim.Adam(network.parameters(), lr=lr, betas=BETAS, eps=ADAM_EPS)
                     for network in (self.generator, self.discriminator))

    def begin_step(self, progress: float, step: int) -> None:
        """Set how far the networks have grown; `progress` is the share of the run that is done, 0 to 1."""
        self.size, self.alpha = growth(progress, self.sizes, self.config.growth_share)

    def discriminator_loss(self, real: torch.Tensor, labels: torch.Tensor | None, draw: Draw
                           ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return (loss, its terms): WGAN-GP (arXiv:1704.00028, Eq. 3) and the drift term of Appendix A.1.

        Args:
            real: [B, 3, S, S] in [-1, 1], of the full size. labels: not used. draw: the step's random numbers.
        """
        self._check_begun()
        real = real_at(real, self.size, self.alpha)
        with torch.no_grad():
            fake = self._fake(len(real), draw)
        scores = self._critic(real)
        wasserstein = scores.mean() - self._critic(fake).mean()
        penalty = gradient_penalty(self._critic, real, fake, draw.uniform(len(real), 1, 1, 1))
        drift = scores.square().mean()
        loss = -wasserstein + self.config.penalty_weight * penalty + self.config.drift_weight * drift
        terms = {"d_loss": loss, "wasserstein": wasserstein, "gradient_penalty": penalty, "drift": drift,
                 "size": loss.new_tensor(self.size), "alpha": loss.new_tensor(self.alpha)}
        return loss, {name: term.detach() for name, term in terms.items()}

    def generator_loss(self, real: torch.Tensor, labels: torch.Tensor | None, draw: Draw
                       ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return (loss, its terms): minus the mean score of as many images as `real` has."""
        self._check_begun()
        loss = -self._critic(self._fake(len(real), draw)).mean()
        return loss, {"g_loss": loss.detach()}

    @torch.no_grad()
    def sample(self, generator: Generator, numbers: Sequence[int], seed: int, references: torch.Tensor | None = None
               ) -> torch.Tensor:
        """Return images [n, 3, S, S] of the full size, about [-1, 1]; image i depends on seed and numbers[i] alone.

        Before the networks are full-grown, the images of the present size are enlarged by nearest neighbour.
        """
        self._check_begun()
        latents = [np.random.default_rng([seed, number]).standard_normal(generator.latent_dim, np.float32)
                   for number in numbers]
        z = torch.from_numpy(np.stack(latents)).to(generator.first.weight.device)
        images = generator(pixel_norm(z), self.size, self.alpha)
        return F.interpolate(images, size=(self.image_size, self.image_size), mode="nearest")

    def _fake(self, count, draw):
        """Return images of random points on the hypersphere of radius sqrt(Z)."""
        return self.generator(pixel_norm(draw.normal(count, self.generator.latent_dim)), self.size, self.alpha)

    def _critic(self, images):
        return self.discriminator(images, self.alpha)

    def _check_begun(self):
        assert self.size > 0, "begin_step comes before losses and samples"
