"""Six sets of points in the plane, on which DDIB is studied, and an endless stream of batches of them.

Su et al. 2023, "Dual Diffusion Implicit Bridges" (DDIB, arXiv:2203.08382). Each set is spread evenly over shapes of
some width, shifted and scaled so that all coordinates, x and y taken together, have mean 0 and standard deviation 1.
DDIB takes both from the points drawn, so that every draw is scaled a little otherwise, and refuses counts that don't
divide evenly; here they are the distribution's own, in closed form, and any count will do.
"""
from typing import Self

import numpy as np
import torch

from add.errors import UserError
from add.interfaces import Row

POINT_SETS = ("MOONS", "CHECKERBOARD", "CONCENTRIC_RINGS", "CONCENTRIC_SQUARES", "OLYMPIC_RINGS", "OLYMPIC_SQUARES")

_NUMBERS = 4  # uniform numbers that a point is made of: one block of the Philox generator
_MOON_NOISE = 0.05  # standard deviation
_WIDTH = 0.5  # of rings and squares: from radius - 0.25 to radius + 0.25
_GROWING, _EQUAL = (1.0, 2.0, 3.0), (1.0, 1.0, 1.0)  # radii


def draw_points(task: int, count: int, generator: np.random.Generator, ordered: bool = False) -> np.ndarray:
    """Return float32 [count, 2], points of the set of a number in POINT_SETS, drawn independently.

    Args:
        ordered: along the shape, one ring or square after the other, so that a colour by number shows where a point
            comes from. The checkerboard's go from right to left.

    Raises:
        UserError: there is no such set, or nothing to draw.
    """
    _check_task(task)
    if count < 1:
        raise UserError(f"{count} points were asked for: expected 1 or more; raise --num_samples")
    uniforms = generator.random((count, _NUMBERS))
    if ordered:
        uniforms[:, 0].sort()
    return _place(task, uniforms)


class PointStream:
    """An endless iterator over (points float32 [b, 2], None), as training wants its batches.

    Point number `position` of the stream is a function of (seed, position) alone: a resumed run goes on bit for bit,
    and the processes' batches together are those of one process with batch_size * world_size.

    Args:
        task: number of the set in POINT_SETS.
        batch_size: points per process and batch, b.
        seed: int >= 0, the same in all processes.
        rank, world_size: number of this process, and how many there are.
    """

    def __init__(self, task: int, batch_size: int, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        _check_task(task)
        if batch_size < 1:
            raise UserError(f"batch size {batch_size} is too small: expected at least 1; raise --batch_size")
        if seed < 0:
            raise UserError(f"seed {seed} is negative: expected 0 or more; give another --seed")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} lies outside the group: expected 0 <= rank < {world_size}")
        self.task, self.batch_size, self.seed = task, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.position = 0  # points that all processes have drawn together

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[torch.Tensor, None]:
        numbers = np.random.Philox(np.random.SeedSequence([self.seed, self.task]))
        numbers.advance(self.position + self.rank * self.batch_size)  # blocks of _NUMBERS
        uniforms = np.random.Generator(numbers).random((self.batch_size, _NUMBERS))
        self.position += self.batch_size * self.world_size
        return torch.from_numpy(_place(self.task, uniforms)), None

    def state_dict(self) -> Row:
        """Return the stream's position for a resumed run, the same in all processes, whatever their number."""
        return {"position": self.position, "seed": self.seed, "task": self.task}

    def load_state_dict(self, state: Row) -> None:
        """Continue after the last batch of the stream that gave `state`; its seed is taken over."""
        if state["task"] != self.task:
            raise UserError(f"the run was started on point set {state['task']} and is now given set {self.task}: "
                            f"expected the same; change --task, or start a new run folder")
        self.position, self.seed = int(state["position"]), int(state["seed"])

    def close(self) -> None:
        """Nothing is open; see `PrefetchedStream`."""


def _check_task(task):
    if not 0 <= task < len(POINT_SETS):
        raise UserError(f"there is no point set {task}: expected 0 to {len(POINT_SETS) - 1} ("
                        f"{', '.join(POINT_SETS)})")
    return task


def _place(task, uniforms):
    """Return float32 [n, 2], points of set `task` made of numbers [n, 4] in [0, 1); the first goes along the shape."""
    points, mean, variance = _SETS[task](*uniforms.T)
    return ((points - mean) / np.sqrt(variance)).astype(np.float32)


# Each returns (points float64 [n, 2], mean, variance), both of all the coordinates of the distribution.

def _moons(along, across, turn, _):
    """The upper half of a circle at (0, 0), then the lower half of one at (1, 0.5), with Gaussian noise."""
    second, angle = _parts(along, 2)
    angle = np.pi * angle
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
    radius, turn = np.sqrt(-2 * np.log1p(-across)), 2 * np.pi * turn  # Box-Muller
    noise = np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)
    mean = 0.375  # of 0 and 2/pi in the first, 1 and 1/2 - 2/pi in the second
    squares = (1 / 2 + 1 / 2 + 3 / 2 + 3 / 4 - 2 / np.pi) / 4
    return (np.where(second[:, None] == 0, upper, lower) + _MOON_NOISE * noise, mean,
            squares + _MOON_NOISE**2 - mean**2)


def _checkerboard(along, across, row, _):
    """Eight unit squares of the sixteen in [-2, 2] x [-2, 2], from right to left."""
    x = 2 - 4 * along
    y = across - 2 * np.floor(2 * row) + np.floor(x) % 2
    return np.stack([x, y], axis=1), 0.0, 4 / 3


def _rings(radii, centres):
    def rings(along, across, *_):
        """Rings, each walked clockwise from its rightmost point."""
        number, place = _parts(along, len(radii))
        angle = -2 * np.pi * place
        return _around(number, np.stack([np.cos(angle), np.sin(angle)], axis=1), across, radii, centres, 1 / 2)
    return rings


def _squares(radii, centres):
    def squares(along, across, *_):
        """Outlines of squares, each walked clockwise from its upper left corner; a radius is half a side."""
        number, place = _parts(along, len(radii))
        edge, place = _parts(place, 4)
        place = 2 * place - 1
        one = np.ones_like(place)
        x = np.choose(edge, [place, one, -place, -one])
        y = np.choose(edge, [one, -place, -one, place])
        return _around(number, np.stack([x, y], axis=1), across, radii, centres, 1 / 2 + 1 / 6)
    return squares


def _around(number, outline, across, radii, centres, square):
    """Return points, mean and variance of outlines [n, 2] whose squared coordinates have the mean `square`."""
    radii, centres = np.array(radii), np.array(centres)
    radius = radii[number] + _WIDTH * (across - 0.5)
    points = radius[:, None] * outline + np.stack([centres[number], np.zeros(len(number))], axis=1)
    mean_square = (radii**2).mean() + _WIDTH**2 / 12
    return points, 0.0, mean_square * square + (centres**2).mean() / 2


def _parts(place, count):
    """Return (number of the part int64 [n], place in it in [0, 1)) of places [n] in [0, 1), in `count` equal parts."""
    number = np.floor(count * place).astype(np.int64)
    return number, count * place - number


_SETS = (_moons, _checkerboard, _rings(_GROWING, (0, 0, 0)), _squares(_GROWING, (0, 0, 0)),
         _rings(_EQUAL, (-2.8, 0, 2.8)), _squares(_EQUAL, (-3.0, 0, 3.0)))
