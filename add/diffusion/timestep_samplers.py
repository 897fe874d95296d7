"""Samplers of the timesteps that a training batch gets, with weights that keep the loss unbiased.

LossSecondMomentResampler is the importance sampling of Nichol & Dhariwal 2021 (arXiv:2102.09672), Eq. 18.
"""
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
import torch.distributed as dist

from add.diffusion.gaussian import GaussianDiffusion
from add.diffusion.losses import timestep_weights
from add.errors import UserError

Rng: TypeAlias = torch.Generator | np.random.Generator | np.random.RandomState


class UniformSampler:
    """A sampler for which every timestep is equally likely.

    Args:
        diffusion: a diffusion, or its number of timesteps.
    """

    def __init__(self, diffusion: GaussianDiffusion | int) -> None:
        self.num_timesteps: int = diffusion.num_timesteps if hasattr(diffusion, "num_timesteps") else diffusion

    def weights(self) -> np.ndarray:
        """Return weights [T], above 0, that the probabilities are proportional to."""
        return np.ones(self.num_timesteps)

    def sample(self, batch_size: int, device: torch.device | str = "cpu",
               rng: Rng | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (timesteps, loss weights): int64 [B], and float32 [B] with mean 1 over the distribution.

        Args:
            rng: None for torch's global generator.
        """
        probabilities = self.weights() / self.weights().sum()
        timesteps = timesteps_at(self._fractions(batch_size, rng), probabilities)
        loss_weights = 1 / (self.num_timesteps * probabilities[timesteps])
        return (torch.from_numpy(timesteps).to(device),
                torch.from_numpy(loss_weights.astype(np.float32)).to(device))

    def _fractions(self, batch_size, rng):
        return uniform_numbers(batch_size, rng)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return what a resumed run needs: tensors by name."""
        return {}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take over a state from `state_dict`."""
        if state:
            raise UserError(f"{type(self).__name__} has no state, got {', '.join(state)}: "
                            f"the run was started with another schedule_sampler")


class StratifiedSampler(UniformSampler):
    """A uniform sampler that takes one timestep from each of B equal parts of the schedule, in random order.

    The loss of a batch varies less than with independent draws, as in Kingma et al. 2021 (arXiv:2107.00630).
    """

    def _fractions(self, batch_size, rng):
        strata = np.argsort(uniform_numbers(batch_size, rng))  # a random order
        return (strata + uniform_numbers(batch_size, rng)) / batch_size


class LossWeightSampler(StratifiedSampler):
    """A stratified sampler that draws timesteps in proportion to the weights of their losses (min-SNR's, say).

    What is drawn often weighs as much less: the expected loss is the uniform sampler's, and its gradient varies less,
    since no draw is spent on a timestep that hardly counts. Without weights, it is the stratified sampler.

    Args:
        diffusion: a diffusion, or its number of timesteps.
    """

    def __init__(self, diffusion: GaussianDiffusion | int) -> None:
        super().__init__(diffusion)
        self.shares = np.ones(self.num_timesteps)
        if isinstance(diffusion, GaussianDiffusion) and not diffusion.loss_type.is_vb():
            self.shares = timestep_weights(diffusion)

    def weights(self) -> np.ndarray:
        """Return the weights [T] of the losses; a timestep whose loss weighs nothing is never drawn."""
        return self.shares


class LossSecondMomentResampler(UniformSampler):
    """A sampler that draws timesteps with large losses more often, in proportion to sqrt(E[loss^2]).

    Uniform until each timestep has seen `history_per_term` losses, all of which are kept.

    Args:
        diffusion: a diffusion, or its number of timesteps.
        uniform_prob: the share of draws that stays uniform.
    """

    def __init__(self, diffusion: GaussianDiffusion | int, history_per_term: int = 10,
                 uniform_prob: float = 0.001) -> None:
        super().__init__(diffusion)
        self.history_per_term = history_per_term
        self.uniform_prob = uniform_prob
        self.loss_history = np.zeros((self.num_timesteps, history_per_term))
        self.loss_counts = np.zeros(self.num_timesteps, dtype=np.int64)

    @property
    def warmed_up(self) -> bool:
        """Whether every timestep's history is full."""
        return bool((self.loss_counts == self.history_per_term).all())

    def weights(self) -> np.ndarray:
        """Return weights [T]: sum 1 once warmed up, all ones before."""
        if not self.warmed_up:
            return np.ones(self.num_timesteps)
        second_moment = np.sqrt((self.loss_history**2).mean(axis=1))
        shares = second_moment / second_moment.sum()
        return (1 - self.uniform_prob) * shares + self.uniform_prob / self.num_timesteps

    def update_with_local_losses(self, ts: torch.Tensor, losses: torch.Tensor) -> None:
        """Record this process's losses and those of all others; every process must call it.

        Args:
            ts: int64 [B], timesteps; B may differ between processes.
            losses: [B].
        """
        losses = losses.detach().float()
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            ts, losses = _gather_pairs(ts, losses)
        self.update_with_all_losses(ts.tolist(), losses.tolist())

    def update_with_all_losses(self, ts: Sequence[int], losses: Sequence[float]) -> None:
        """Record losses of timesteps, lists of equal length; the oldest loss of a full history drops out."""
        for t, loss in zip(ts, losses, strict=True):
            if self.loss_counts[t] < self.history_per_term:
                self.loss_history[t, self.loss_counts[t]] = loss
                self.loss_counts[t] += 1
            else:
                self.loss_history[t] = np.append(self.loss_history[t, 1:], loss)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the recorded losses."""
        return {"loss_history": torch.from_numpy(self.loss_history.copy()),
                "loss_counts": torch.from_numpy(self.loss_counts.copy())}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take over the losses of `state_dict`; the schedule and the history must be as long."""
        expected = {name: tuple(tensor.shape) for name, tensor in self.state_dict().items()}
        given = {name: tuple(tensor.shape) for name, tensor in state.items()}
        if given != expected:
            raise UserError(f"the timestep sampler's state has {given}, expected {expected}: "
                            f"resume with the schedule and sampler the run was started with")
        self.loss_history = state["loss_history"].numpy().copy()
        self.loss_counts = state["loss_counts"].numpy().copy()


SAMPLERS = {
    "uniform": UniformSampler,
    "loss-second-moment": LossSecondMomentResampler,
    "stratified": StratifiedSampler,
    "loss-weight": LossWeightSampler,
}


def create_named_schedule_sampler(name: str, diffusion: GaussianDiffusion | int) -> UniformSampler:
    """Return the sampler called `name`, one of SAMPLERS, for a diffusion or a number of timesteps."""
    if name not in SAMPLERS:
        raise UserError(f"unknown schedule sampler {name!r}: expected one of {', '.join(SAMPLERS)}")
    return SAMPLERS[name](diffusion)


def timesteps_at(fractions: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the timesteps [B] at which the distribution function passes `fractions` [B] in [0, 1)."""
    cumulative = np.cumsum(probabilities)
    return np.searchsorted(cumulative / cumulative[-1], fractions, side="right")


def uniform_numbers(count: int, rng: Rng | None = None) -> np.ndarray:
    """Return float64 numbers [count] in [0, 1); without `rng`, from torch's global generator."""
    if rng is None or isinstance(rng, torch.Generator):
        device = "cpu" if rng is None else rng.device
        return torch.rand(count, generator=rng, device=device, dtype=torch.float64).cpu().numpy()
    return rng.random_sample(count) if isinstance(rng, np.random.RandomState) else rng.random(count)


def _gather_pairs(ts, losses):
    """Return timesteps and losses of all processes, in rank order, the same on every process."""
    world_size = dist.get_world_size()
    count = torch.tensor([len(ts)], device=ts.device)
    gathered = [torch.zeros_like(count) for _ in range(world_size)]
    dist.all_gather(gathered, count)
    counts = [int(c) for c in gathered]

    def gather(values):  # all_gather wants equal sizes: pad, then cut
        padded = torch.nn.functional.pad(values, (0, max(counts) - len(values)))
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:n] for part, n in zip(parts, counts, strict=True)])

    return gather(ts), gather(losses)
