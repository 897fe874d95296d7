"""Muon: momentum made orthogonal for matrices and convolution kernels, AdamW for all other parameters.

Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/), with the update's scale of Liu et al. 2025
(arXiv:2502.16982), so that one learning rate serves both. torch.optim.Muon takes matrices only and one after the other.
"""
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.adamw import adamw

MOMENTUM = 0.95
BETAS, EPSILON = (0.9, 0.999), 1e-8  # of AdamW
RMS = 0.2  # of an update's entries at rate 1, as AdamW's come out
ROUNDS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # a, b, c of a X + b (X X^T) X + c (X X^T)^2 X


class Muon(torch.optim.Optimizer):
    """Optimiser of a network's parameters: `matrices` by Muon, `others` by AdamW.

    Args:
        matrices: of two or more dimensions; a convolution's kernel [out, in, ...] is the matrix [out, in * ...].
        lr, weight_decay: of all.
    """

    def __init__(self, matrices: Sequence[nn.Parameter], others: Sequence[nn.Parameter], lr: float,
                 weight_decay: float = 0.0) -> None:
        groups = [{"params": list(parameters), "matrices": flag} for parameters, flag
                  in ((matrices, True), (others, False)) if len(parameters)]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Take a step along the gradients, which are there: no closure; parameters without one stay."""
        assert closure is None, "step() was given a closure"
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            (self._orthogonal_step if group["matrices"] else self._adamw_step)(parameters, group)

    def _orthogonal_step(self, parameters, group):
        by_shape: dict[tuple[int, int], list[torch.Tensor]] = {}
        for p in parameters:
            by_shape.setdefault((len(p), p[0].numel()), []).append(p)
        for (rows, columns), alike in by_shape.items():
            gradients = [p.grad for p in alike if p.grad is not None]
            momenta = [self._state(p, "momentum_buffer") for p in alike]
            torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
            ahead = torch._foreach_lerp(gradients, momenta, MOMENTUM)  # Nesterov's
            updates = orthogonalised(torch.stack([update.reshape(rows, columns) for update in ahead]))
            scale = RMS * math.sqrt(max(rows, columns))
            torch._foreach_mul_(alike, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(alike, [update.view_as(p) for update, p in zip(updates, alike, strict=True)],
                                alpha=-group["lr"] * scale)

    def _adamw_step(self, parameters, group):
        adamw(parameters, [p.grad for p in parameters], [self._state(p, "exp_avg") for p in parameters],
              [self._state(p, "exp_avg_sq") for p in parameters], [], [self._state(p, "step", ()) for p in parameters],
              fused=True, amsgrad=False, beta1=BETAS[0], beta2=BETAS[1], lr=group["lr"],
              weight_decay=group["weight_decay"], eps=EPSILON, maximize=False)

    def _state(self, p, name, shape=None):
        """Return a parameter's moment, zeros at first: like the parameter, or of another shape."""
        state = self.state[p]
        if name not in state:
            state[name] = (torch.zeros_like(p) if shape is None
                           else torch.zeros(shape, dtype=torch.float32, device=p.device))
        return state[name]


def moment_names(group: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of the moments, each like its parameter, that a group of Muon's or AdamW's parameters has."""
    return ("momentum_buffer",) if group.get("matrices") else ("exp_avg", "exp_avg_sq")


def orthogonalised(matrices: torch.Tensor) -> torch.Tensor:
    """Return matrices [N, R, C] with singular values near 1 (0.7 to 1.2) in place of their own.

    The Newton-Schulz iteration of five rounds. What it multiplies a matrix X with is a polynomial of X X^T, so that the
    rounds are done on that small square, and X comes in once, at the end; in bfloat16 on a GPU, in float32 elsewhere.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x.to(torch.bfloat16 if x.is_cuda else torch.promote_types(x.dtype, torch.float32))
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-20)
    square = x @ x.mT
    identity = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    a, b, c = COEFFICIENTS
    factor = identity
    for _ in range(ROUNDS):
        polynomial = a * identity + b * square + c * square @ square
        factor = polynomial @ factor
        square = polynomial @ square @ polynomial
    x = factor @ x
    return (x.mT if tall else x).to(matrices.dtype)


def divide(named: Iterable[tuple[str, nn.Parameter]], aside: re.Pattern[str]
           ) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return (matrices and kernels, others) of named parameters; those whose names `aside` finds are others."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, p in named:
        (matrices if p.ndim > 1 and not aside.search(name) else others).append(p)
    return matrices, others
