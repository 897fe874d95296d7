"""A rival whose training has a known course, for tests of the loop."""
import torch
from torch import nn


class Constant(nn.Module):
    """A generator of images of one colour, its only parameters."""

    def __init__(self, size):
        super().__init__()
        self.size, self.colour = size, nn.Parameter(torch.zeros(3))

    def forward(self, count):
        return self.colour[None, :, None, None].expand(count, 3, self.size, self.size)


class Mean(nn.Module):
    """A critic that is linear in the mean colour."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))

    def forward(self, images):
        return images.mean(dim=(2, 3)) @ self.weight


class MeanMatcher:
    """Learns the mean colour: the critic follows the difference of means, the generator follows the critic."""

    columns = ("distance",)
    needs_classes = False
    lr_factor = 1.0

    def __init__(self, size=16):
        self.generator, self.discriminator = Constant(size), Mean()
        self.progresses, self.draws = [], []

    def optimizers(self, lr):
        return (torch.optim.SGD(self.generator.parameters(), lr=lr),
                torch.optim.SGD(self.discriminator.parameters(), lr=2 * lr))

    def begin_step(self, progress, step):
        self.progresses.append(progress)

    def discriminator_loss(self, real, labels, draw):
        self.draws.append(draw.normal(2))
        fake = self.generator(len(real))
        difference = fake.mean(dim=(0, 2, 3)) - real.mean(dim=(0, 2, 3))
        margin = self.discriminator(fake).mean() - self.discriminator(real).mean()
        loss = margin + self.discriminator.weight.square().sum() / 2
        return loss, {"distance": difference.detach().norm()}

    def generator_loss(self, real, labels, draw):
        self.draws.append(draw.normal(2))
        return -self.discriminator(self.generator(len(real))).mean(), {}

    def sample(self, generator, numbers, seed, references=None):
        return generator(len(numbers))
