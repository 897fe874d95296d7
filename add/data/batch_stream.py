"""The endless, resumable stream of batches that training draws from a set of images.

It is a function of (seed, position): image number `position` of the stream belongs to epoch
position // n, and each epoch has an order and random numbers of its own, drawn from (seed, epoch). So a
resumed run goes on bit for bit, and it does not matter how a batch is shared out among processes.
"""
import functools
from typing import Self

import numpy as np
import torch

from add.data import transforms
from add.data.dataset import ImageSet, check_crop
from add.errors import UserError
from add.interfaces import Row


class BatchStream:
    """An endless iterator over (x, labels): x float32 [b, 3, S, S] in [-1, 1], labels int64 [b] or None.

    Every image is seen once per epoch, and a batch runs on into the next epoch where one ends, so a batch
    larger than the set repeats images. The processes' batches together are those of one process with
    batch_size * world_size, augmentation included.

    Args:
        image_set: an ImageSet with at least one image.
        batch_size: images per process and batch, b.
        seed: int >= 0, the same in all processes.
        rank, world_size: number of this process, and how many there are.
        augment: "none", "mirror", "flips" or "dihedral"; see transforms.ORIENTATIONS.
        crop: "center" or "random"; the set's own when left out. "random" needs a set read with crop="random".
    """

    def __init__(self, image_set: ImageSet, batch_size: int, seed: int = 0, rank: int = 0, world_size: int = 1,
                 augment: str = "none", crop: str | None = None) -> None:
        if len(image_set) == 0:
            raise UserError("the image set is empty: expected at least one image; check the folder")
        if batch_size < 1:
            raise UserError(f"batch size {batch_size} is too small: expected at least 1; raise --batch_size")
        if seed < 0:
            raise UserError(f"seed {seed} is negative: expected 0 or more; give another --seed")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} lies outside the group: expected 0 <= rank < {world_size}")
        self.crop = crop or image_set.crop
        check_crop(self.crop)
        if self.crop == "random" and image_set.crop != "random":
            raise ValueError("the images were cropped when they were read: expected a set read with "
                             "crop='random'; pass it to ImageSet.from_folder as well")
        self.image_set = image_set
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.orientations = np.array(transforms.orientations_of(augment))
        self.position = 0  # images that all processes have drawn together

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        pixels, labels = self.pixels_at(self.position)
        self.position += self.stride
        return transforms.to_model_input(pixels), None if labels is None else torch.from_numpy(labels)

    @property
    def stride(self) -> int:
        """Images that all processes draw for a step."""
        return self.batch_size * self.world_size

    def pixels_at(self, position: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return (uint8 [b, S, S, 3], labels int64 [b] or None) of this process at a position of the stream."""
        indices, uniforms = draw_order(self.seed, position + self.rank * self.batch_size, self.batch_size,
                                       len(self.image_set))
        pixels = self.image_set.batch(indices, self.crop, uniforms[:, 1:])
        chosen = (uniforms[:, 0] * len(self.orientations)).astype(np.int64)
        turned = transforms.orient(pixels.transpose(0, 3, 1, 2), self.orientations[chosen]).transpose(0, 2, 3, 1)
        return turned, None if self.image_set.labels is None else self.image_set.labels[indices]

    def close(self) -> None:
        """Nothing is open; see `PrefetchedStream`."""

    def state_dict(self) -> Row:
        """Return the stream's position for a resumed run, the same in all processes, whatever their number."""
        return {"position": self.position, "seed": self.seed, "num_images": len(self.image_set)}

    def load_state_dict(self, state: Row) -> None:
        """Continue after the last batch of the stream that gave `state`; its seed is taken over."""
        if state["num_images"] != len(self.image_set):
            raise UserError(f"the run was started on {state['num_images']} images and the folder now gives "
                            f"{len(self.image_set)}: expected the same images; restore them, or start a new "
                            f"run folder from the weights with --init_from")
        self.position = int(state["position"])
        self.seed = int(state["seed"])


def draw_order(seed: int, start: int, count: int, num_images: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (indices int64 [count], uniforms float64 [count, 4]) at positions start, start + 1, ...

    The four numbers in [0, 1) are the position's own: one for orientation, three for a crop.
    """
    epochs, places = np.divmod(np.arange(start, start + count), num_images)
    indices = np.empty(count, dtype=np.int64)
    uniforms = np.empty((count, 4))
    for epoch in np.unique(epochs).tolist():
        here = epochs == epoch
        order, numbers = _draw_epoch(seed, epoch, num_images)
        indices[here] = order[places[here]]
        uniforms[here] = numbers[places[here]]
    return indices, uniforms


@functools.lru_cache(maxsize=2)  # 40 MB each of a million images
def _draw_epoch(seed, epoch, num_images):
    """Return (permutation [n], uniforms [n, 4]) of one epoch; only for reading, they are kept."""
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch])))
    return generator.permutation(num_images), generator.random((num_images, 4))
