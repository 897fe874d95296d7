"""Noise levels between the timesteps of a schedule, and grids of timesteps for ODE solvers to walk on."""
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from add.errors import UserError

Numbers = TypeVar("Numbers", float, np.ndarray)  # an array in gives an array of its shape

FINE = 20001  # points on which a grid's coordinate is tabulated


class NoiseLevels:
    """The noise levels of a schedule at fractional timesteps t, by linear interpolation of half the log SNR.

    Args:
        alphas_cumprod: [S], the levels alpha_bar, falling.
        timesteps: [S], the original timesteps they belong to, ascending; left out: 0, 1, ...

    Attributes:
        last: the last timestep that is not pure noise; t runs from timesteps[0] to it.
    """

    def __init__(self, alphas_cumprod: np.ndarray, timesteps: np.ndarray | Sequence[int] | None = None) -> None:
        alpha_bar = np.asarray(alphas_cumprod, dtype=np.float64)
        timesteps = np.arange(len(alpha_bar)) if timesteps is None else np.asarray(timesteps)
        informed = alpha_bar > 0
        self._timesteps = timesteps[informed].astype(np.float64)
        self._log_snr = 0.5 * (np.log(alpha_bar[informed]) - np.log1p(-alpha_bar[informed]))
        self.first, self.last = float(self._timesteps[0]), float(self._timesteps[-1])

    def log_snr(self, t: Numbers) -> Numbers:
        """Return half the log signal-to-noise ratio, lambda = log(sqrt(alpha_bar) / sqrt(1 - alpha_bar)), at t."""
        return np.interp(t, self._timesteps, self._log_snr)

    def factors(self, t: Numbers) -> tuple[Numbers, Numbers]:
        """Return the factors of image and noise at t, sqrt(alpha_bar) and sqrt(1 - alpha_bar)."""
        log_snr = self.log_snr(t)
        return signal_factor(log_snr), signal_factor(-log_snr)


def signal_factor(log_snr: Numbers) -> Numbers:
    """Return sqrt(alpha_bar) at half log SNR `log_snr`; at minus that, sqrt(1 - alpha_bar)."""
    return 1 / np.sqrt(1 + np.exp(-2 * log_snr))


@dataclass(frozen=True)
class Grid:
    """The spacing of a solver's steps, which is even in a coordinate c(t) between the timestep and the log SNR.

    c(t) = share * lambda' + (1 - share) * (t / last)^(1 / power), where lambda' is the log SNR scaled to run from 0 at
    the image to 1 at noise. (share, power) = (0, 1) is uniform in t, (0, p) the grid t^p, (1, any) uniform in log SNR;
    in between, mixed.
    """

    share: float
    power: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.share <= 1 and self.power > 0):
            raise UserError(f"grid with share {self.share} and power {self.power}: expected a share of log SNR from 0 "
                            f"to 1 and a power above 0")

    def timesteps(self, levels: NoiseLevels, start: float, end: float, steps: int) -> np.ndarray:
        """Return float64 [steps + 1] timesteps from `start` to `end`, in either direction, ends included."""
        fine, c = self._coordinate(levels)
        first, last = np.interp([start, end], fine, c)
        grid = np.interp(np.linspace(first, last, steps + 1), c, fine)
        grid[0], grid[-1] = start, end
        return grid

    def way(self, levels: NoiseLevels, t: Numbers) -> Numbers:
        """Return c(t), from 0 at the first timestep to 1 at the last."""
        fine, c = self._coordinate(levels)
        return np.interp(t, fine, c)

    def _coordinate(self, levels: NoiseLevels) -> tuple[np.ndarray, np.ndarray]:
        # Denser towards the image, where a power or the log SNR changes fast.
        u = np.linspace(0, 1, FINE) ** max(2.0, self.power)
        fine = levels.first + (levels.last - levels.first) * u
        log_snr = levels.log_snr(fine)
        noisiness = (log_snr[0] - log_snr) / (log_snr[0] - log_snr[-1])
        return fine, self.share * noisiness + (1 - self.share) * u ** (1 / self.power)


GRIDS = {"uniform": Grid(0), "quadratic": Grid(0, 2), "cubic": Grid(0, 3), "log_snr": Grid(1), "mixed": Grid(0.5)}
