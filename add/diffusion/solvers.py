"""Fast solvers of the probability-flow ODE, in both directions, for models of eps, x_start and v alike.

With lambda the half log SNR, rho = spread / signal and phi = arctan(rho) (signal = sqrt(alpha_bar) = cos phi, spread =
sin phi), the ODE reads, by what is held to vary slowly:

    eps:      d(x / signal) = eps d rho           (DDIM, DEIS: Zhang & Chen 2022, arXiv:2204.13902)
    x_start:  d(x / spread) = x_start d(1 / rho)  (DPM-Solver++: Lu et al. 2022, arXiv:2211.01095)
    v:        d x           = v d phi             (Salimans & Ho 2022, arXiv:2202.00512)

A step carries x from one timestep to another by the integral of a polynomial through evaluations of that quantity, in
lambda (or rho). Past evaluations give an Adams-Bashforth predictor; with the one at the step's end, an Adams-Moulton
corrector (Zhao et al. 2023, UniPC, arXiv:2302.04867, without further evaluations). Between steps the polynomial
is a dense output. Timesteps may be fractional; a model is told them as floats.
"""
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch

from add.diffusion import parametrization
from add.diffusion.gaussian import GaussianDiffusion
from add.diffusion.noise_levels import NoiseLevels, signal_factor
from add.diffusion.parametrization import Factor
from add.diffusion.prediction_types import ModelMeanType
from add.errors import UserError
from add.interfaces import Model

Predict: TypeAlias = Callable[[torch.Tensor, np.ndarray], torch.Tensor]  # see predictor_of

QUANTITIES = ("eps", "x_start", "v")
NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(12)


@dataclass(frozen=True)
class Solver:
    """A linear multistep solver.

    quantity: one of QUANTITIES, what the polynomials go through.
    order: evaluations that the predictor uses; the first steps, which have fewer behind them, use those.
    corrector: whether the step is taken again, with the evaluation at its end and `order` earlier ones.
    twice: whether the quantity is evaluated again after the corrector (Heun's method); else one evaluation a step.
    variable: "log_snr" or "rho", what the polynomials are in.
    midpoint: take the polynomial's value in the middle of the step for its mean, as DPM-Solver++ does.
    """

    quantity: str
    order: int
    corrector: bool = False
    twice: bool = False
    variable: str = "log_snr"
    midpoint: bool = False

    def __post_init__(self) -> None:
        if self.quantity not in QUANTITIES or self.order < 1 or self.variable not in ("log_snr", "rho"):
            raise UserError(f"{self}: expected a quantity of {', '.join(QUANTITIES)}, an order of 1 or more, and "
                            f"'log_snr' or 'rho' as variable")

    def weights(self, levels: NoiseLevels, nodes: Sequence[float], start: float,
                end: float) -> tuple[float, np.ndarray]:
        """Return (c, [w]) so that x(end) = c x(start) + sum of w_j times the quantity at timestep nodes[j]."""
        a, b = levels.log_snr(start), levels.log_snr(end)
        at = np.array([0.0]) if self.midpoint else NODES
        share = np.array([2.0]) if self.midpoint else NODE_WEIGHTS
        log_snr = (a + b) / 2 + (b - a) / 2 * at
        basis = _lagrange(self._place(levels.log_snr(np.asarray(nodes))), self._place(log_snr))  # [len(nodes), points]
        if self.midpoint:  # the measure's whole integral at one point
            measure = np.array([_integral(self.quantity, b) - _integral(self.quantity, a)])
        else:
            measure = _density(self.quantity, log_snr) * share * (b - a) / 2
        scale_start, scale_end = _scale(self.quantity, a), _scale(self.quantity, b)
        return scale_end / scale_start, scale_end * basis @ measure

    def _place(self, log_snr):
        return log_snr if self.variable == "log_snr" else np.exp(-log_snr)


def _scale(quantity, log_snr):
    """Return the factor that x is divided by in the quantity's form of the ODE."""
    return {"eps": signal_factor(log_snr), "x_start": signal_factor(-log_snr), "v": np.ones_like(log_snr)}[quantity]


def _integral(quantity, log_snr):
    """Return rho, 1 / rho or phi, what the quantity's form of the ODE integrates over."""
    return {"eps": np.exp(-log_snr), "x_start": np.exp(log_snr), "v": np.arctan(np.exp(-log_snr))}[quantity]


def _density(quantity, log_snr):
    """Return the derivative of `_integral` by the log SNR."""
    return {"eps": -np.exp(-log_snr), "x_start": np.exp(log_snr), "v": -0.5 / np.cosh(log_snr)}[quantity]


def _lagrange(nodes, points):
    """Return float64 [len(nodes), len(points)], the Lagrange basis polynomials at the points."""
    basis = np.ones((len(nodes), len(points)))
    for j, node in enumerate(nodes):
        for other in np.delete(nodes, j):
            basis[j] *= (points - other) / (node - other)
    return basis


SOLVERS = {
    "ddim": Solver("eps", 1),
    "dpm++2m": Solver("x_start", 2, midpoint=True),
    "deis": Solver("eps", 3),
    "unipc": Solver("x_start", 3, corrector=True),
    "v_pc": Solver("v", 2, corrector=True),
    "heun": Solver("eps", 1, corrector=True, twice=True, variable="rho"),
}


def predicted_quantity(diffusion: GaussianDiffusion) -> str:
    """Return what a model of the diffusion predicts, one of QUANTITIES.

    Raises:
        UserError: it predicts the previous x.
    """
    kind = {ModelMeanType.EPSILON: "eps", ModelMeanType.START_X: "x_start", ModelMeanType.V: "v"}.get(
        diffusion.model_mean_type)
    if kind is None:
        raise UserError("a model that predicts the previous x can only take the schedule's own steps: expected one of "
                        "eps, x_start or v; use --sampler ddim")
    return kind


def predictor_of(diffusion: GaussianDiffusion, levels: NoiseLevels, model: Model, quantity: str,
                 clip_denoised: bool = False) -> Predict:
    """Return predict(x [B, C, H, W], t float64 [B]) -> the quantity, like x, at fractional original timesteps.

    Raises:
        UserError: a model of the previous x, whose output belongs to whole steps.
    """
    kind = predicted_quantity(diffusion)
    told = diffusion.told_unit

    def predict(x, t):
        output = model(x, torch.as_tensor(t * told, dtype=torch.float32).to(x.device))
        prediction, _ = diffusion.split_output(output, x)
        if kind == quantity and not clip_denoised:
            return prediction
        signal, spread = (beside(factor, x) for factor in levels.factors(t))
        x_start = x_start_from(kind, prediction, x, signal, spread)
        x_start = x_start.clamp(-1, 1) if clip_denoised else x_start
        return quantity_from(quantity, x_start, x, signal, spread)

    return predict


def x_start_from(quantity: str, value: torch.Tensor, x: torch.Tensor, signal: Factor, spread: Factor) -> torch.Tensor:
    """Return the clean images in x, of which `value` is the eps, x_start or v."""
    if quantity == "x_start":
        return value
    if quantity == "v":
        return parametrization.x_start_from_v(x, value, signal, spread)
    return (x - spread * value) / signal


def quantity_from(quantity: str, x_start: torch.Tensor, x: torch.Tensor, signal: Factor,
                  spread: Factor) -> torch.Tensor:
    """Return the eps, x_start or v of x whose clean images are x_start; the inverse of `x_start_from`."""
    if quantity == "x_start":
        return x_start
    eps = parametrization.eps_from_x_start(x, x_start, signal, spread)
    return eps if quantity == "eps" else parametrization.v_from(x_start, eps, signal, spread)


@dataclass(frozen=True)
class Step:
    """One step of images on a solver's walk.

    start, end: float64 [B], timesteps. x: [B, C, H, W], the images at `end`. seen, value: [B, C, H, W], the images
        that were evaluated there (x before the corrector, if any) and the solver's quantity found in them.
    at: the dense output, at(t float64 [B]) -> the images [B, C, H, W] at timesteps between start and end.
    history: (row of timesteps, values) of the evaluations that the next step uses, newest first.
    """

    start: np.ndarray
    end: np.ndarray
    x: torch.Tensor
    seen: torch.Tensor
    value: torch.Tensor
    at: Callable[[np.ndarray], torch.Tensor]
    history: list[tuple[int, torch.Tensor]]


def walk(solver: Solver, predict: Predict, levels: NoiseLevels, x: torch.Tensor, timesteps: np.ndarray,
         joins: np.ndarray | Sequence[int] | None = None,
         history: Sequence[tuple[int, torch.Tensor]] = ()) -> Iterator[Step]:
    """Yield the `Step`s of images x [B, C, H, W] along timesteps: n + 1 evaluations for n steps (2 n + 1 with `twice`).

    The last timestep is evaluated, too: it corrects the last step, and tells x_start or eps there.

    Args:
        predict: as from `predictor_of`, for solver.quantity.
        timesteps: float64 [n + 1, B], a column per image, ascending to encode, descending to decode.
        joins: int [B], ascending: the row of its column at which an image stands at first; left out: 0. A step holds
            the images that move by then, the first so many.
        history: of a Step, to go on with images x that stand where it ended; left out: from the first row.
    """
    joins = np.zeros(len(x), dtype=int) if joins is None else np.asarray(joins)
    carry = functools.partial(_carry, solver, levels, timesteps, joins)

    def evaluate(row, x):
        standing = int((joins <= row).sum())
        return row, predict(x[:standing], timesteps[row, :standing])

    history = list(history) or [evaluate(0, x)]  # (row, values of the images that stood there), newest first
    for row in range(history[0][0], len(timesteps) - 1):
        moving = int((joins <= row).sum())
        start, end = timesteps[row:row + 2, :moving]
        behind, before = x, history[:solver.order]
        x = torch.cat([carry(behind[:moving], before, start, end), behind[moving:]])
        seen = x
        new = evaluate(row + 1, x)
        used = [new, *before] if solver.corrector else [new, *before][:max(solver.order, 2)]
        if solver.corrector:
            x = torch.cat([carry(behind[:moving], used, start, end), behind[moving:]])
        if solver.twice:
            seen, new = x, (row + 1, torch.cat([predict(x[:moving], end), new[1][moving:]]))
        history = [new, *history][:solver.order]
        dense = functools.partial(carry, behind[:moving], used, start)
        yield Step(start, end, x[:moving], seen[:moving], new[1][:moving], dense, history)


def _carry(solver, levels, timesteps, joins, x, used, start, end):
    """Return x [A, C, H, W] carried from timesteps `start` to `end` [A] by the (row, values) pairs in `used`."""
    known = {}  # images that share their timesteps share their weights
    factors = np.zeros((len(x), 1 + len(used)))
    for i in range(len(x)):
        here = [j for j, (row, _) in enumerate(used) if row >= joins[i]]  # an image has none from before it joined
        key = (start[i], end[i], *(timesteps[used[j][0], i] for j in here))
        if key not in known:
            known[key] = solver.weights(levels, key[2:], start[i], end[i])
        factors[i, 0], factors[i, [1 + j for j in here]] = known[key]
    result = beside(factors[:, 0], x) * x
    for j, (_, values) in enumerate(used):
        stood = min(len(x), len(values))
        result[:stood] += beside(factors[:stood, 1 + j], x) * values[:stood]
    return result


def beside(numbers: np.ndarray, x: torch.Tensor) -> torch.Tensor:
    """Return numbers [B] beside x [B, C, H, W], in float32, or float64 if x is."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return torch.as_tensor(numbers, dtype=dtype).to(x.device).reshape(-1, *[1] * (x.dim() - 1))
