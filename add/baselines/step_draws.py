"""Random numbers of an adversarial step, which depend on (seed, step, process, loss) alone."""
import torch

from add.training.step_randomness import step_seed

FIRST_INDEX = 2**35  # of the seeds of a `Draw`, apart from those of data, noise and dropout


class Draw:
    """Random numbers for one loss of one step, or for samples.

    Args:
        seed, step: of the run. index: tells apart the losses of a step, and the processes.
        device: of the tensors that are drawn.
    """

    def __init__(self, seed: int, step: int, index: int, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.generator = torch.Generator().manual_seed(step_seed(seed, step, FIRST_INDEX + index))

    def normal(self, *shape: int) -> torch.Tensor:
        """Return standard normal numbers, float32 of `shape`."""
        return torch.randn(shape, generator=self.generator).to(self.device)

    def uniform(self, *shape: int) -> torch.Tensor:
        """Return numbers in [0, 1), float32 of `shape`."""
        return torch.rand(shape, generator=self.generator).to(self.device)

    def integers(self, high: int, *shape: int) -> torch.Tensor:
        """Return whole numbers from 0 to high - 1, int64 of `shape`."""
        return torch.randint(high, shape, generator=self.generator).to(self.device)
