"""Random draws of a training step that depend on (seed, step, image) only.

Nothing is carried from step to step, so a resumed run draws what the unbroken one would have drawn, and images
draw the same whether one process holds the batch or several share it.
"""
from collections.abc import Sequence

import numpy as np
import torch

from add.diffusion import UniformSampler
from add.interfaces import Processes


def step_seed(seed: int, step: int, index: int = 0) -> int:
    """Return a 63-bit seed for item `index` of training step `step`."""
    words = np.random.SeedSequence([seed, step, index]).generate_state(2, np.uint64)
    return int(words[0] >> np.uint64(1))


def draw_noise(shape: Sequence[int], seed: int, step: int, first_index: int, device: torch.device) -> torch.Tensor:
    """Return standard normal noise of `shape` [B, ...]; row i depends on seed, step and first_index + i alone."""
    generator = torch.Generator(device=device)
    rows = []
    for i in range(shape[0]):
        generator.manual_seed(step_seed(seed, step, first_index + i))
        rows.append(torch.randn(shape[1:], generator=generator, device=device))
    return torch.stack(rows)


def draw_joint_noise(shape: Sequence[int], seed: int, step: int, first_index: int, device: torch.device
                     ) -> torch.Tensor:
    """Return noise as `draw_noise` does, for batches of very many small rows: drawn at once, not row by row.

    All processes draw the rows of those before them as well.
    """
    generator = torch.Generator(device=device).manual_seed(step_seed(seed, step))
    return torch.randn(first_index + shape[0], *shape[1:], generator=generator, device=device)[first_index:]


def draw_uniforms(batch_size: int, world: Processes, seed: int, step: int) -> torch.Tensor:
    """Return float64 [batch_size] in [0, 1), this process's slice of the whole batch's."""
    random = np.random.RandomState(step_seed(seed, step, 2**34) % 2**32)
    return torch.from_numpy(random.random_sample(batch_size * world.size))[_slice_of(batch_size, world)]


def draw_timesteps(sampler: UniformSampler, batch_size: int, world: Processes, seed: int, step: int
                   ) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (timesteps int64 [batch_size], weights float32 [batch_size]) of this process's slice of the batch."""
    random = np.random.RandomState(step_seed(seed, step) % 2**32)
    t, weights = sampler.sample(batch_size * world.size, world.device, random)
    mine = _slice_of(batch_size, world)
    return t[mine], weights[mine]


def _slice_of(batch_size, world):
    """Return where this process's images lie in the whole batch."""
    return slice(world.rank * batch_size, (world.rank + 1) * batch_size)
