"""Progressive images with soft labels as a PyTorch dataset, for training loops of your own."""
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset

from add.data.dataset import ImageSet
from add.data.image_file import read_header
from add.data.transforms import to_model_input
from add.errors import UserError
from add.interfaces import Row
from add.results.translation_series import DEPTH_RULE, read_series


class TranslationDataset(Dataset[tuple[Any, ...]]):
    """The images of finished translations: item i is (image, soft label, metadata).

    The image is float32 [3, S, S] in [-1, 1], or what `transform` makes of it; the soft label float32 [K], class
    probabilities that sum to 1; the metadata a dict with "image" (path), "source_image" (file name), "source" and
    "target" (domain numbers), "m" and "amount" (place in the series, and N), "depth" (training timesteps) and "series"
    (a number that the images of one source image share, for splits that keep them together; source images translated
    into two folders have two).

    Training loops that unpack batches as `images, labels` (timm's, MONAI's, those of torchvision's datasets) take
    with_metadata=False: item i is then (image, soft label).

    Args:
        folders: translation folders, such as results/translation_0_1, or one of them.
        rule: whose soft labels: "depth" for labels.csv, else labels_RULE.csv, which `add soft_labels` writes.
        image_size: side in pixels that images are brought to, S; left out, they must all be of one size already.
        transform: called with each image, such as an augmentation.
        as_pil: the image, also the one that `transform` is called with, is an RGB PIL image, which torchvision's and
            timm's transforms begin with.
        with_metadata: whether the items have metadata.

    Attributes:
        soft_labels: float32 [n, K], of all items. series: int64 [n], their metadata's "series".
        metadata: the metadata of all items, also where these have none.

    Raises:
        UserError: a folder without a finished translation or such labels, or folders that don't fit together.
    """

    def __init__(self, folders: str | PathLike[str] | Sequence[str | PathLike[str]], rule: str = DEPTH_RULE,
                 image_size: int | None = None, transform: Callable[[Any], Any] | None = None, as_pil: bool = False,
                 with_metadata: bool = True) -> None:
        self.transform, self.as_pil, self.with_metadata = transform, as_pil, with_metadata
        found = [read_series(folder, rule) for folder in
                 ([folders] if isinstance(folders, (str, PathLike)) else folders)]
        if not found:
            raise UserError("no translation folders were given: expected one or more, such as results/translation_0_1")
        numbers = {series.labels.shape[1] for series in found}
        if len(numbers) > 1:
            raise UserError(f"the translation folders have soft labels of {' and '.join(map(str, sorted(numbers)))} "
                            f"domains: expected as many in each; translate with the same --num_domains")
        self.image_size = image_size or _common_size(found)
        self.soft_labels = torch.cat([torch.from_numpy(series.labels).float() for series in found])
        self.metadata: list[Row] = []
        first_series = 0
        for series in found:
            self.metadata += [
                {"image": str(series.folder / image), "source_image": source_image, "source": series.source,
                 "target": series.target, "m": int(m), "amount": series.amount, "depth": int(depth),
                 "series": first_series + int(group)}
                for image, source_image, m, depth, group in zip(
                    series.images, series.source_images, series.m, series.depths, series.groups, strict=True)]
            first_series += int(series.groups.max()) + 1
        self.series = torch.tensor([row["series"] for row in self.metadata])
        self.images = ImageSet.from_paths([row["image"] for row in self.metadata], self.image_size)

    def __len__(self) -> int:
        return len(self.metadata)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        pixels = self.images.batch([index])  # uint8 [1, S, S, 3]
        image = Image.fromarray(pixels[0]) if self.as_pil else to_model_input(pixels)[0]
        if self.transform is not None:
            image = self.transform(image)
        item = image, self.soft_labels[index]
        return (*item, self.metadata[index]) if self.with_metadata else item


def _common_size(found):
    """Return the side in pixels of the first image of each Series, which must be the same."""
    sizes = {min(read_header(str(series.folder / series.images[0]))) for series in found}
    if len(sizes) > 1:
        raise UserError(f"the translation folders hold images of {' and '.join(map(str, sorted(sizes)))} pixels: "
                        f"expected one size; give image_size")
    return sizes.pop()
