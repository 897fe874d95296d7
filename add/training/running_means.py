"""Means of losses, gradient norms and times over the steps between two status lines."""
import time

import torch
import torch.distributed as dist

from add.interfaces import Processes, Row

QUARTERS = ("loss_q0", "loss_q1", "loss_q2", "loss_q3")  # the loss in each quarter of the timesteps


class Window:
    """Losses since the last status line, kept on the device so that steps need not wait for it.

    Args:
        num_timesteps: length of the diffusion's schedule; the loss is also given for each quarter of it.
    """

    def __init__(self, num_timesteps: int) -> None:
        self.num_timesteps = num_timesteps
        self.start = time.monotonic()
        self.losses: list[dict[str, torch.Tensor]] = []
        self.timesteps: list[torch.Tensor] = []
        self.weights: list[torch.Tensor] = []
        self.norms: list[torch.Tensor] = []

    def add(self, losses: dict[str, torch.Tensor], t: torch.Tensor, weights: torch.Tensor, norm: torch.Tensor) -> None:
        """Take in a step: losses {name: [B]}, timesteps [B], the sampler's weights [B], gradient norm (0-d)."""
        self.losses.append(losses)
        self.timesteps.append(t)
        self.weights.append(weights)
        self.norms.append(norm)

    def state_dict(self) -> Row:
        """Return what was added and the seconds it took, on the CPU, for a run that is resumed between two rows."""
        return {"seconds": time.monotonic() - self.start, "norms": [norm.cpu() for norm in self.norms],
                "losses": [{name: value.cpu() for name, value in part.items()} for part in self.losses],
                "timesteps": [part.cpu() for part in self.timesteps], "weights": [part.cpu() for part in self.weights]}

    def load_state_dict(self, state: Row, device: torch.device) -> None:
        """Go on with what gave `state`, of this process."""
        self.start = time.monotonic() - state["seconds"]
        self.losses = [{name: value.to(device) for name, value in part.items()} for part in state["losses"]]
        self.timesteps, self.weights, self.norms = (
            [part.to(device) for part in state[name]] for name in ("timesteps", "weights", "norms"))

    def summary(self, world: Processes) -> dict[str, float]:
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
