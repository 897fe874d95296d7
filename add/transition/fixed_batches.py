"""Network evaluations in batches of one fixed size, or of one at most, for any number of images."""
from collections.abc import Callable

import torch

from add.interfaces import Model


class InBatches:
    """A model whose every evaluation works on exactly `rows` images; the last ones of a call are padded.

    A network's rounding depends on the size of its batch, so this is what makes an image independent of its company.
    Without it, an image comes out the same up to rounding.

    Args:
        model: model(x [rows, C, H, W], t [rows]) -> tensor with `rows` first.
        pad: False to evaluate the last ones as they are.
        on_step: called after each evaluation with the number of images in it, without the padding.

    Attributes:
        evaluations: images evaluated so far, without the padding.
    """

    def __init__(self, model: Model, rows: int, on_step: Callable[[int], None] | None = None,
                 pad: bool = True) -> None:
        self.model, self.rows, self.on_step, self.pad = model, rows, on_step, pad
        self.evaluations = 0

    def __call__(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return the model's output for x [B, C, H, W] at t [B]."""
        outputs = []
        for first in range(0, len(x), self.rows):
            part, t_part = x[first:first + self.rows], t[first:first + self.rows]
            count = len(part)
            if self.pad and count < self.rows:
                part = torch.cat([part, part[:1].expand(self.rows - count, *part.shape[1:])])
                t_part = torch.cat([t_part, t_part[:1].expand(self.rows - count)])
            outputs.append(self.model(part, t_part)[:count])
            self.evaluations += count
            if self.on_step is not None:
                self.on_step(count)
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)
