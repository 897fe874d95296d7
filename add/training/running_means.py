"""Means of losses, gradient norms and times over the steps between two status lines."""
import time

import torch
import torch.distributed as dist

QUARTERS = ("loss_q0", "loss_q1", "loss_q2", "loss_q3")  # the loss in each quarter of the timesteps


class Window:
    """Losses since the last status line, kept on the device so that steps need not wait for it.

    Args:
        num_timesteps: of the diffusion, whose quarters the loss is told by.
    """

    def __init__(self, num_timesteps):
        self.num_timesteps = num_timesteps
        self.start = time.monotonic()
        self.losses, self.timesteps, self.weights, self.norms = [], [], [], []

    def add(self, losses, t, weights, norm):
        """Take in a step: losses (dict of [B]), timesteps [B], the sampler's weights [B], gradient norm."""
        self.losses.append(losses)
        self.timesteps.append(t)
        self.weights.append(weights)
        self.norms.append(norm)

    def summary(self, world):
        """Return means over the window and all processes: losses, loss by quarter of t, gradient norm, time.

        The sampler's weights undo its preference for some timesteps, so runs with different ones compare.
        """
        t, weights = torch.cat(self.timesteps), torch.cat(self.weights)
        columns = {name: torch.cat([part[name] for part in self.losses]) for name in self.losses[0]}
        shares = dict.fromkeys(columns, weights)
        for q, name in enumerate(QUARTERS):
            here = t * len(QUARTERS) // self.num_timesteps == q
            columns[name], shares[name] = columns["loss"], weights * here
        totals = torch.stack([torch.stack([(columns[name] * shares[name]).sum(), shares[name].sum()])
                              for name in columns])
        if world.size > 1:
            dist.all_reduce(totals)
        means = {name: total / share for name, (total, share) in zip(columns, totals.tolist(), strict=True) if share}
        return means | {"grad_norm": torch.stack(self.norms).mean().item(),
                        "sec_per_step": (time.monotonic() - self.start) / len(self.norms)}
