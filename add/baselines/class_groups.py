"""Batches for methods that learn from several images of one class at a time."""
from typing import Any

import numpy as np
import torch

from add.data import ImageSet
from add.data.transforms import orient, orientations_of, to_model_input
from add.errors import UserError


class GroupStream:
    """An endless iterator over (x float32 [b, k, 3, S, S] in [-1, 1], labels int64 [b]): k images of a class in a row.

    Row number `position` of the stream is a function of (seed, position) alone, so that a resumed run goes on bit for
    bit, and the processes' batches together are those of one process with batch_size * world_size.

    Args:
        image_set: with labels, of at least two images in each class.
        batch_size: rows per process and batch, b.
        group: images in a row, k, all different where the class has so many.
        seed: int >= 0. rank, world_size: number of this process, and how many there are.
        augment: see add.data.transforms.ORIENTATIONS; each image is turned on its own.
    """

    def __init__(self, image_set: ImageSet, batch_size: int, group: int, seed: int = 0, rank: int = 0,
                 world_size: int = 1, augment: str = "none") -> None:
        labels, names = image_set.labels, image_set.class_names
        assert labels is not None and names is not None, "groups are of images of one class"
        self.members = {int(label): np.flatnonzero(labels == label) for label in np.unique(labels)}
        small = [names[label] for label, members in self.members.items() if len(members) < 2]
        if small:
            raise UserError(f"the classes {', '.join(small)} have one image each: expected two or more, which can be "
                            f"fused; add images, or leave the classes out")
        self.image_set, self.batch_size, self.group, self.seed = image_set, batch_size, group, seed
        self.rank, self.world_size = rank, world_size
        self.orientations = np.array(orientations_of(augment))
        self.position = 0  # rows that all processes have drawn together

    def __iter__(self) -> "GroupStream":
        return self

    def __next__(self) -> tuple[torch.Tensor, torch.Tensor]:
        start = self.position + self.rank * self.batch_size
        rows = [self._row(position) for position in range(start, start + self.batch_size)]
        labels, chosen, turns = (np.stack(part) for part in zip(*rows, strict=True))
        pixels = self.image_set.batch(chosen.ravel(), crop="center")
        turned = orient(pixels.transpose(0, 3, 1, 2), turns.ravel())
        x = to_model_input(turned.transpose(0, 2, 3, 1)).unflatten(0, (self.batch_size, self.group))
        self.position += self.batch_size * self.world_size
        return x, torch.from_numpy(labels)

    def _row(self, position):
        random = np.random.default_rng([self.seed, position])
        label = random.choice(list(self.members))
        members = self.members[label]
        chosen = random.choice(members, self.group, replace=len(members) < self.group)
        return label, chosen, self.orientations[random.integers(len(self.orientations), size=self.group)]

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs, the same in all processes, whatever their number."""
        return {"position": self.position, "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind the last batch of the stream that gave `state`; its seed is taken over."""
        self.position, self.seed = int(state["position"]), int(state["seed"])
