"""Respacing: a schedule of T timesteps reduced to fewer (Nichol & Dhariwal 2021, arXiv:2102.09672, Sec. 4)."""
from collections.abc import Iterable, Sequence
from itertools import accumulate, repeat

import numpy as np

from add.errors import UserError


def space_timesteps(num_timesteps: int, section_counts: str | Sequence[int]) -> list[int]:
    """Return the timesteps to keep, ascending ints in [0, num_timesteps).

    Args:
        num_timesteps: T of the original schedule.
        section_counts: how many timesteps to take from each of equally long sections of the schedule, as
            ints or as text "10,15,20"; each section is walked evenly from its first to its last timestep,
            and a section of which one is asked gives its first. Or "ddimN": N timesteps with one integer
            stride from 0 (Song et al. 2021, arXiv:2010.02502); these do not include the last timestep.

    Raises:
        UserError: where the schedule cannot be divided so.
    """
    if isinstance(section_counts, str):
        if section_counts.startswith("ddim"):
            return _strided(num_timesteps, _count(section_counts.removeprefix("ddim"), section_counts))
        section_counts = [_count(part, section_counts) for part in section_counts.split(",")]
    lengths = _section_lengths(num_timesteps, len(section_counts))
    starts = accumulate(lengths, initial=0)
    kept = []
    for start, length, count in zip(starts, lengths, section_counts, strict=False):
        kept += [start + offset for offset in _even_offsets(length, count)]
    if not kept:
        raise UserError(f"respacing {section_counts!r} keeps no timestep: ask for at least 1")
    return kept


def respace_betas(betas: np.ndarray | Sequence[float], use_timesteps: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return (betas, timestep_map) of the schedule that keeps only `use_timesteps`, at the same noise levels.

    A kept timestep stands at the alpha_bar it had, so its beta spans all that was left out before it:
    beta'_i = 1 - alpha_bar[s_i] / alpha_bar[s_(i-1)].

    Args:
        betas: float64 [T] of the original schedule.
        use_timesteps: timesteps in [0, T), in any order; S of them.

    Returns:
        betas: float64 [S].
        timestep_map: int64 [S], the original index of each kept timestep; what the model is told.
    """
    timestep_map = np.array(sorted(set(use_timesteps)), dtype=np.int64)
    if len(timestep_map) == 0 or timestep_map[0] < 0 or timestep_map[-1] >= len(betas):
        raise UserError(f"timesteps to keep must lie in [0, {len(betas)}) and be at least one, "
                        f"got {timestep_map.tolist()}")
    kept = np.cumprod(1 - np.asarray(betas, dtype=np.float64))[timestep_map]
    return 1 - kept / np.append(1.0, kept[:-1]), timestep_map


def _strided(num_timesteps, count):
    """Return the `count` multiples of one integer stride that fit below num_timesteps."""
    for stride in range(1, num_timesteps):
        kept = range(0, num_timesteps, stride)
        if len(kept) == count:
            return list(kept)
    raise UserError(f"no integer stride takes exactly {count} of {num_timesteps} timesteps: "
                    f"choose another N for ddimN, or respace with {count} without 'ddim'")


def _section_lengths(num_timesteps, num_sections):
    """Return section lengths that differ by one at most, the longer ones first."""
    length, longer = divmod(num_timesteps, num_sections)
    return [length + 1] * longer + [length] * (num_sections - longer)


def _even_offsets(length, count):
    """Return `count` offsets in [0, length), evenly spaced and rounded, both ends included."""
    if not 0 <= count <= length:
        raise UserError(f"cannot take {count} timesteps from a section of {length}: "
                        f"ask for fewer, or raise the number of diffusion steps")
    stride = (length - 1) / (count - 1) if count > 1 else 1
    # Summed, not multiplied: halves then round as in guided-diffusion, whose checkpoints use these steps.
    return [round(offset) for offset in accumulate(repeat(stride, count - 1), initial=0.0)] if count else []


def _count(text, given):
    try:
        return int(text)
    except ValueError:
        raise UserError(f"cannot read timestep respacing {given!r}: "
                        f"expected counts such as '50' or '10,15,20', or 'ddim50'") from None
