"""MixDL: a GAN for few images whose features keep the distances of mixed latents; Kong et al. 2022 (arXiv:2111.11672).

It is StyleGAN2 (arXiv:1912.04958) with one more term for either network. Latents z_1 .. z_N (what the mapping network
makes of them, unless told otherwise) and coefficients c from the flat Dirichlet distribution make an anchor
z_0 = sum_i c_i z_i. How similar its features are to those of the z_i shall follow the coefficients: the divergence
KL(softmax_i(sim_i) || softmax_i(c_i)) is a loss, for the generator's activations and for a projection of the
discriminator's last hidden layer. Small moves among latents then make small changes of images.

Weights, intervals and rates follow the authors' code (reyllama/mixdl): distances count at every second step, as means
over anchors and points, and compare the layers between the first and the last. What it does otherwise: each anchor is
compared by one of these layers, drawn at random, here by all, which has the same mean; the divergence is the other way
round; a batch is four points and four anchors of all of them, and where distances count, the anchors' images are scored
in place of the points'; some steps score patches instead of images, which needs 256 pixels; penalties take steps of
their own.
"""
import dataclasses
import math
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from add.baselines import diffaugment, stylegan2
from add.baselines.step_draws import Draw
from add.config import MOST_BATCH, MOST_CHANNELS, MOST_LAYERS, MOST_STEPS, MOST_WEIGHT, Checked, option
from add.errors import UserError
from add.training.step_randomness import step_seed

BETAS, ADAM_EPS = (0.0, 0.99), 1e-8  # arXiv:1912.04958 App. B
SMALLEST, LARGEST = 8, 256  # pixels
PATH_MEMORY = 0.99  # of the mean path length, from one penalty to the next
SMALL_CHANNELS, PAPER_CHANNELS = 192, 512


@dataclasses.dataclass(frozen=True)
class MixDLConfig(Checked):
    """MixDL (arXiv:2111.11672)."""

    channels: int = option(32, "channels of both networks at full size; they double with each halving of the image",
                           least=1, most=MOST_CHANNELS)
    max_channels: int = option(0, "most channels of a layer; the paper's is 512; 0: 192 up to 64 pixels, 256 at 128, "
                                  "512 at 256", least=0, most=MOST_CHANNELS)
    latent_dim: int = option(128, "numbers in a latent; 512 in the paper", least=1, most=MOST_CHANNELS)
    mapping_layers: int = option(8, "layers of the mapping network", least=1, most=MOST_LAYERS)
    mapping_lr: float = option(0.01, "learning rate of the mapping network, times that of the generator",
                               above=0, most=100)
    mix_points: int = option(4, "latents mixed into one anchor; a batch has as many anchors as it holds so many images",
                             least=2, most=MOST_BATCH)
    mix_space: str = option("w", "where latents are mixed: w, the mapping network's result, or z, what goes in",
                            ("w", "z"))
    lambda_g: float = option(1000.0, "weight of the generator's distance loss; 0: without it",
                             least=0, most=MOST_WEIGHT)
    lambda_d: float = option(1.0, "weight of the discriminator's distance loss; 0: without it",
                             least=0, most=MOST_WEIGHT)
    mix_interval: int = option(2, "steps between distance losses", least=1, most=MOST_STEPS)
    style_mixing: float = option(0.9, "share of the other steps whose images have two latents, one for coarse layers, "
                                      "one for fine ones", least=0, most=1)
    r1_gamma: float = option(10.0, "weight of the R1 penalty, twice the factor of the squared gradient",
                             least=0, most=MOST_WEIGHT)
    r1_interval: int = option(16, "steps between R1 penalties, each of which then counts so many times",
                              least=1, most=MOST_STEPS)
    path_weight: float = option(2.0, "weight of the penalty on path lengths; 0: without it", least=0, most=MOST_WEIGHT)
    path_interval: int = option(4, "steps between path length penalties, each of which then counts so many times",
                                least=1, most=MOST_STEPS)
    diffaugment: str = option("", "augmentations of DiffAugment (arXiv:2006.10738), such as color,translation,cutout; "
                                  "left out: none")

    def __post_init__(self) -> None:
        super().__post_init__()
        diffaugment.parse(self.diffaugment)

    def widest(self, image_size: int) -> int:
        """Return the most channels of a layer in networks for images of this size in pixels."""
        return self.max_channels or min(max(SMALL_CHANNELS, 2 * image_size), PAPER_CHANNELS)


def draw_coefficients(draw: Draw, count: int, points: int) -> torch.Tensor:
    """Return [count, points] from the flat Dirichlet distribution: rows of numbers in [0, 1] that sum to 1."""
    weights = -torch.log1p(-draw.uniform(count, points)) + 1e-12  # exponential; never all zero
    return weights / weights.sum(1, keepdim=True)


def mix(latents: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    """Return the anchors [A, D], sum_i c_i z_i of each group of latents.

    Args:
        latents: [B, D]; the first `points` make the first group, the next ones the second, and those left over none.
        coefficients: [A, points].
    """
    return torch.einsum("ap,apd->ad", coefficients, grouped(latents, coefficients))


def grouped(rows: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    """Return rows [B, ...] as [A, points, ...], for coefficients [A, points]."""
    count, points = coefficients.shape
    return rows[:count * points].unflatten(0, (count, points))


def distance_loss(anchors: torch.Tensor, points: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    """Return KL(softmax_i(cosine of anchor and point i) || softmax_i(c_i)), averaged over anchors and divided by N.

    arXiv:2111.11672 Sec. 3, the distance term of either network. It is 0 where the cosines are the coefficients plus
    any one number. Cosines lie in [-1, 1], so their softmax can be that of the coefficients, but never the coefficients
    themselves where one of these is small: hence the softmax on both sides.

    Args:
        anchors: features [A, ...]. points: theirs of the points, [A, N, ...]. coefficients: [A, N].
    """
    similarities = F.cosine_similarity(anchors.flatten(1)[:, None], points.flatten(2), dim=2)
    divergences = F.kl_div(coefficients.log_softmax(1), similarities.log_softmax(1), log_target=True, reduction="none")
    return divergences.mean()


def r1_penalty(scores: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Return the mean over images of the squared norm of their score's gradient; arXiv:1801.04406, Eq. 9.

    Args:
        scores: [B], row i made from images [B, C, H, W], which require gradients.
    """
    gradient, = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(dim=1).mean()


def path_lengths(images: torch.Tensor, latents: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Return [B]: how much images change with their latents, |J^T y| of arXiv:1912.04958 Eq. 4, y of variance 1 / S^2.

    Latents of several layers count by the root of the mean of their squared lengths.

    Args:
        images: [B, 3, S, S] made from latents [B, L, D], which require gradients. noise: normal [B, 3, S, S].
    """
    height, width = images.shape[2:]
    projected = torch.linalg.vecdot(images.flatten(1), noise.flatten(1)).sum() / math.sqrt(height * width)
    gradient, = torch.autograd.grad(projected, latents, create_graph=True)
    return torch.linalg.vector_norm(gradient, dim=(1, 2)) / math.sqrt(latents.shape[1])


class Discriminator(stylegan2.Discriminator):
    """StyleGAN2's discriminator with a linear projection of its last hidden layer, where distances are taken."""

    def __init__(self, image_size: int, channels: int, max_channels: int) -> None:
        super().__init__(image_size, channels, max_channels)
        self.projection = stylegan2.EqualLinear(self.features, self.features)

    def compare(self, images: torch.Tensor, coefficients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (scores [B], distance loss) of B images with the anchors' images after them [B + A, 3, S, S].

        An anchor takes the minibatch's standard deviation from its points: only what it shows sets it apart.
        """
        count = len(images) - len(coefficients)
        x = self.trunk(images)
        spread = stylegan2.minibatch_std(x[:count])
        of_anchors = grouped(spread, coefficients).mean(1)
        hidden = self.head(x, torch.cat([spread, of_anchors]))
        projected = self.projection(hidden)
        distance = distance_loss(projected[count:], grouped(projected, coefficients), coefficients)
        return self.score(hidden[:count])[:, 0], distance


class MixDL:
    """MixDL's networks, optimisers, losses and samples, for AdversarialTrainer.

    Args:
        image_size: in pixels, a power of two. num_classes: not used.
    """

    columns = ("d_loss", "g_loss", "real_score", "fake_score", "r1", "d_distance", "g_distance", "path_length")
    needs_classes = False
    lr_factor = 1.0

    def __init__(self, config: MixDLConfig, image_size: int, num_classes: int = 0) -> None:
        if not (SMALLEST <= image_size <= LARGEST and image_size & (image_size - 1) == 0):
            raise UserError(f"image_size is {image_size}: MixDL makes images of a power of two from {SMALLEST} to "
                            f"{LARGEST} pixels; change --image_size")
        self.config, self.image_size = config, image_size
        sizes = image_size, config.channels, config.widest(image_size)
        self.generator = stylegan2.Generator(*sizes, config.latent_dim, config.mapping_layers, config.mapping_lr)
        self.discriminator = (Discriminator if config.lambda_d else stylegan2.Discriminator)(*sizes)
        self.augmentations = diffaugment.parse(config.diffaugment)
        self.step: int | None = None

    def optimizers(self, lr: float) -> tuple[torch.optim.Optimizer, ...]:
        """Return Adam for the generator and for the discriminator; arXiv:1912.04958 App. B, where lr is 0.002.

        Its lower rates for k steps and one of a penalty do not apply: here the penalty is part of a step.
        """
        return tuple(torch.optim.Adam(network.parameters(), lr=lr, betas=BETAS, eps=ADAM_EPS)
                     for network in (self.generator, self.discriminator))

    def begin_step(self, progress: float, step: int) -> None:
        """Note the number of the step, which says which losses are due; `progress` is not used."""
        self.step = step

    def discriminator_loss(self, real: torch.Tensor, labels: torch.Tensor | None, draw: Draw
                           ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return (loss, its terms): the non-saturating logistic loss, the distance loss and, every so many steps, R1.

        With DiffAugment R1 takes the gradient of the augmented image's score with respect to the image before: the
        discriminator never sees a real image as it is. Terms that a step does not compute are not there.

        Args:
            real: [B, 3, S, S] in [-1, 1]. labels: not used. draw: the step's random numbers.
        """
        config = self.config
        penalised = self._due(config.r1_gamma, config.r1_interval)
        mixed = self._due(config.lambda_d, config.mix_interval)
        with torch.no_grad():
            fake, _, coefficients = self._fake(len(real), draw, with_anchors=mixed)
        real = real.detach().requires_grad_(penalised)
        real_scores = self.discriminator(diffaugment.augment(real, self.augmentations, draw))
        fake = diffaugment.augment(fake, self.augmentations, draw)
        terms = {}
        if mixed:
            assert isinstance(self.discriminator, Discriminator), "lambda_d above 0 comes with a projection"
            fake_scores, terms["d_distance"] = self.discriminator.compare(fake, coefficients)
        else:
            fake_scores = self.discriminator(fake)
        loss = F.softplus(fake_scores).mean() + F.softplus(-real_scores).mean()
        if mixed:
            loss = loss + config.lambda_d * terms["d_distance"]
        if penalised:
            terms["r1"] = r1_penalty(real_scores, real)
            loss = loss + config.r1_gamma / 2 * config.r1_interval * terms["r1"]
        terms |= {"d_loss": loss, "real_score": real_scores.mean(), "fake_score": fake_scores.mean()}
        return loss, {name: term.detach() for name, term in terms.items()}

    def generator_loss(self, real: torch.Tensor, labels: torch.Tensor | None, draw: Draw
                       ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return (loss, its terms): the non-saturating logistic loss, the distance loss and the path length penalty.

        The distance loss is a mean over the layers but the first and the last; it and the penalty come at some steps.

        Args:
            real: [B, 3, S, S], of which only the number counts. labels: not used. draw: the step's random numbers.
        """
        config, count = self.config, len(real)
        mixed = self._due(config.lambda_g, config.mix_interval)
        fake, features, coefficients = self._fake(count, draw, with_anchors=mixed)
        scores = self.discriminator(diffaugment.augment(fake[:count], self.augmentations, draw))
        loss, terms = F.softplus(-scores).mean(), {}
        if mixed:
            terms["g_distance"] = torch.stack([
                distance_loss(layer[count:], grouped(layer, coefficients), coefficients)
                for layer in features[1:-1]]).mean()
            loss = loss + config.lambda_g * terms["g_distance"]
        if self._due(config.path_weight, config.path_interval):
            penalty, terms["path_length"] = self._path_penalty(max(1, count // 2), draw)
            loss = loss + config.path_weight * config.path_interval * penalty
        terms["g_loss"] = loss
        return loss, {name: term.detach() for name, term in terms.items()}

    @torch.no_grad()
    def sample(self, generator: stylegan2.Generator, numbers: Sequence[int], seed: int,
               references: torch.Tensor | None = None) -> torch.Tensor:
        """Return images [n, 3, S, S] in about [-1, 1]; image i depends on the generator, seed and numbers[i] alone.

        Args:
            generator: a generator as this one's, such as its EMA. numbers: n ints. references: not used.
        """
        random = torch.Generator()
        rows = []
        for number in numbers:
            random.manual_seed(step_seed(seed, 0, int(number)))
            rows.append(torch.randn(generator.latent_dim + generator.noise_dim, generator=random))
        normal = torch.stack(rows).to(generator.constant.device)
        return generator(*normal.split([generator.latent_dim, generator.noise_dim], dim=1))

    def _due(self, weight, interval):
        """Return whether a loss of this weight, taken every so many steps, is part of this step."""
        assert self.step is not None, "begin_step comes before the losses"
        return weight > 0 and self.step % interval == 0

    def _path_penalty(self, count, draw):
        """Return (mean squared difference of path lengths from their running mean, their mean); arXiv:1912.04958 Eq. 4.

        The running mean is the generator's, with which it is saved; it begins as the first mean and moves with every
        call. (From 0, as the authors have it, it would hold lengths down for the first thousand steps.)
        """
        generator = self.generator
        w = generator.map(draw.normal(count, self.config.latent_dim))
        w = w[:, None].repeat(1, generator.num_styles, 1)
        made, _ = generator.synthesise(w, draw.normal(count, generator.noise_dim))
        lengths = path_lengths(made, w, draw.normal(*made.shape))
        mean = lengths.detach().mean()
        before = generator.mean_path_length
        running = torch.where(before > 0, before.lerp(mean, 1 - PATH_MEMORY), mean)
        generator.mean_path_length.copy_(running)
        return (lengths - running).square().mean(), mean

    def _fake(self, count, draw, with_anchors):
        """Return (images, features per layer, coefficients): of `count` points and then of their anchors, if wanted.

        Every image has its own noise, as without anchors; where no anchors are wanted, most batches mix styles.
        """
        config = self.config
        z = draw.normal(count, config.latent_dim)
        points = min(config.mix_points, count)
        if with_anchors and points < 2:
            raise UserError("a batch of 1 image has nothing to mix; MixDL needs a batch_size of 2 or more, or "
                            "lambda_g and lambda_d of 0")
        coefficients = draw_coefficients(draw, count // points, points) if with_anchors else z.new_zeros(0, points)
        if not with_anchors:
            w = self._mix_styles(self.generator.map(z), draw)
        elif config.mix_space == "z":
            w = self.generator.map(torch.cat([z, mix(z, coefficients)]))
        else:
            w = self.generator.map(z)
            w = torch.cat([w, mix(w, coefficients)])
        return *self.generator.synthesise(w, draw.normal(len(w), self.generator.noise_dim)), coefficients

    def _mix_styles(self, w, draw):
        """Return w [B, D] as [B, num_styles, D]; a batch in so many has other latents from a layer on.

        arXiv:1912.04958 keeps this from arXiv:1812.04948 Sec. 3.1.
        """
        layers = self.generator.num_styles
        w = w[:, None].expand(-1, layers, -1)
        if draw.uniform(1).item() >= self.config.style_mixing:
            return w
        start = 1 + draw.integers(layers - 1, 1).item()
        other = self.generator.map(draw.normal(len(w), self.config.latent_dim))
        return torch.cat([w[:, :start], other[:, None].expand(-1, layers - start, -1)], dim=1)
