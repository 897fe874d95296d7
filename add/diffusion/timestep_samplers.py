"""Which timesteps a training batch gets: samplers that draw them, with weights that keep the loss unbiased.

LossSecondMomentResampler is the importance sampling of Nichol & Dhariwal 2021 (arXiv:2102.09672), Eq. 18.
"""
import numpy as np
import torch
import torch.distributed as dist

from add.errors import UserError


class UniformSampler:
    """Every timestep is equally likely.

    Args:
        diffusion: a diffusion, or its number of timesteps.
    """

    def __init__(self, diffusion):
        self.num_timesteps = getattr(diffusion, "num_timesteps", diffusion)

    def weights(self):
        """Return weights [T], above 0, that the probabilities are proportional to."""
        return np.ones(self.num_timesteps)

    def sample(self, batch_size, device="cpu", rng=None):
        """Return (timesteps, loss weights): int64 [B], and float32 [B] with mean 1 over the distribution.

        Args:
            rng: a torch.Generator, or a numpy Generator or RandomState; None for torch's global one.
        """
        probabilities = self.weights() / self.weights().sum()
        timesteps = timesteps_at(self._fractions(batch_size, rng), probabilities)
        loss_weights = 1 / (self.num_timesteps * probabilities[timesteps])
        return (torch.from_numpy(timesteps).to(device),
                torch.from_numpy(loss_weights.astype(np.float32)).to(device))

    def _fractions(self, batch_size, rng):
        return uniform_numbers(batch_size, rng)

    def state_dict(self):
        """Return what a resumed run needs: tensors by name."""
        return {}

    def load_state_dict(self, state):
        """Take over a state from `state_dict`."""
        if state:
            raise UserError(f"{type(self).__name__} has no state, got {', '.join(state)}: "
                            f"the run was started with another schedule_sampler")


class StratifiedSampler(UniformSampler):
    """Uniform, with one timestep from each of B equal parts of the schedule, in random order.

    The loss of a batch varies less than with independent draws, as in Kingma et al. 2021 (arXiv:2107.00630).
    """

    def _fractions(self, batch_size, rng):
        strata = np.argsort(uniform_numbers(batch_size, rng))  # a random order
        return (strata + uniform_numbers(batch_size, rng)) / batch_size


class LossSecondMomentResampler(UniformSampler):
    """Timesteps with large losses are drawn more often, in proportion to sqrt(E[loss^2]).

    Uniform until each timestep has seen `history_per_term` losses, all of which are kept.

    Args:
        diffusion: a diffusion, or its number of timesteps.
        uniform_prob: the share of draws that stays uniform.
    """

    def __init__(self, diffusion, history_per_term=10, uniform_prob=0.001):
        super().__init__(diffusion)
        self.history_per_term = history_per_term
        self.uniform_prob = uniform_prob
        self.loss_history = np.zeros((self.num_timesteps, history_per_term))
        self.loss_counts = np.zeros(self.num_timesteps, dtype=np.int64)

    @property
    def warmed_up(self):
        """Whether every timestep's history is full."""
        return bool((self.loss_counts == self.history_per_term).all())

    def weights(self):
        """Return weights [T]: sum 1 once warmed up, all ones before."""
        if not self.warmed_up:
            return np.ones(self.num_timesteps)
        second_moment = np.sqrt((self.loss_history**2).mean(axis=1))
        shares = second_moment / second_moment.sum()
        return (1 - self.uniform_prob) * shares + self.uniform_prob / self.num_timesteps

    def update_with_local_losses(self, ts, losses):
        """Record this process's losses and those of all others; every process must call it.

        Args:
            ts: int64 [B], timesteps; B may differ between processes.
            losses: [B].
        """
        losses = losses.detach().float()
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            ts, losses = _gather_pairs(ts, losses)
        self.update_with_all_losses(ts.tolist(), losses.tolist())

    def update_with_all_losses(self, ts, losses):
        """Record losses of timesteps, lists of equal length; the oldest loss of a full history drops out."""
        for t, loss in zip(ts, losses, strict=True):
            if self.loss_counts[t] < self.history_per_term:
                self.loss_history[t, self.loss_counts[t]] = loss
                self.loss_counts[t] += 1
            else:
                self.loss_history[t] = np.append(self.loss_history[t, 1:], loss)

    def state_dict(self):
        """Return the recorded losses."""
        return {"loss_history": torch.from_numpy(self.loss_history.copy()),
                "loss_counts": torch.from_numpy(self.loss_counts.copy())}

    def load_state_dict(self, state):
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
}


def create_named_schedule_sampler(name, diffusion):
    """Return the sampler called `name`, one of SAMPLERS, for a diffusion or a number of timesteps."""
    if name not in SAMPLERS:
        raise UserError(f"unknown schedule sampler {name!r}: expected one of {', '.join(SAMPLERS)}")
    return SAMPLERS[name](diffusion)


def timesteps_at(fractions, probabilities):
    """Return the timesteps [B] at which the distribution function passes `fractions` [B] in [0, 1)."""
    cumulative = np.cumsum(probabilities)
    return np.searchsorted(cumulative / cumulative[-1], fractions, side="right")


def uniform_numbers(count, rng=None):
    """Return float64 numbers [count] in [0, 1) from a torch or numpy generator."""
    if rng is None or isinstance(rng, torch.Generator):
        device = "cpu" if rng is None else rng.device
        return torch.rand(count, generator=rng, device=device, dtype=torch.float64).cpu().numpy()
    return rng.random(count) if hasattr(rng, "random") else rng.random_sample(count)


def _gather_pairs(ts, losses):
    """Return timesteps and losses of all processes, in rank order, the same on every process."""
    world_size = dist.get_world_size()
    count = torch.tensor([len(ts)], device=ts.device)
    counts = [torch.zeros_like(count) for _ in range(world_size)]
    dist.all_gather(counts, count)
    counts = [int(c) for c in counts]

    def gather(values):  # all_gather wants equal sizes: pad, then cut
        padded = torch.nn.functional.pad(values, (0, max(counts) - len(values)))
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:n] for part, n in zip(parts, counts, strict=True)])

    return gather(ts), gather(losses)
