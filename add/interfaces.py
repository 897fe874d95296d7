"""What parts of the package hand to each other, for annotations: models, callbacks, paths, the processes of a run."""
import os
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import torch

PathLike: TypeAlias = str | os.PathLike[str]
Model: TypeAlias = Callable[..., torch.Tensor]  # model(x_t, t, **told) -> what its diffusion predicts, [B, K, H, W]
Gradient: TypeAlias = Callable[..., torch.Tensor]  # gradient(x_t, t) -> like x_t: guidance
Note: TypeAlias = Callable[[str], None]  # called with a sentence that the user should read
Count: TypeAlias = Callable[[int], None]  # count(number) of things that were done since the last call
OnStep: TypeAlias = Callable[[int, int, torch.Tensor], None]  # on_step(i, t, x) after step i of a walk
Scorer: TypeAlias = Callable[[torch.Tensor], float]  # scorer(images [N, 3, H, W] in [-1, 1]) -> a measure of the set
Row: TypeAlias = dict[str, Any]  # a row of a table, or a JSON object


class Processes(Protocol):
    """The processes of a run as one of them sees it; `add.runtime.world.World` is one."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def is_main(self) -> bool: ...

    def barrier(self) -> None:
        """Wait until all processes are here."""

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in the order of their ranks."""

    def any(self, flag: bool) -> bool:
        """Return whether any process raised the flag."""

    def agree(self, what: str, value: Any) -> None:
        """Raise UserError, in all processes, unless all of them hold the same JSON value."""
