"""Random numbers of an adversarial step, which depend on (seed, step, process, which loss) alone."""
import torch

from add.training.draws import step_seed

FIRST_INDEX = 2**35  # apart from those of data, noise and dropout


class Draw:
    """Draws for one loss of one step, or for samples.

    Args:
        seed, step: of the run. index: tells apart the losses of a step, and the processes.
        device: torch.device of what is drawn.
    """

    def __init__(self, seed, step, index, device="cpu"):
        self.device = torch.device(device)
        self.generator = torch.Generator().manual_seed(step_seed(seed, step, FIRST_INDEX + index))

    def normal(self, *shape):
        """Return standard normal numbers, float32 of `shape`."""
        return torch.randn(shape, generator=self.generator).to(self.device)

    def uniform(self, *shape):
        """Return numbers in [0, 1), float32 of `shape`."""
        return torch.rand(shape, generator=self.generator).to(self.device)

    def integers(self, high, *shape):
        """Return whole numbers from 0 to high - 1, int64 of `shape`."""
        return torch.randint(high, shape, generator=self.generator).to(self.device)
