"""Report of an evaluation: metrics by name, notes on what could not be measured, and both as a Markdown table."""
import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

from add.errors import UserError
from add.interfaces import Count, Row
from add.results.labels_by_place import place_table

READS = {  # how to read each metric, in the order of the table
    "kid": "smaller is better; about 0, or slightly below, for a perfect generator at any number of images",
    "fid": "smaller is better; only compares at the same number of images",
    "precision": "larger is better: share of generated images that lie among the real ones",
    "recall": "larger is better: share of real images that lie among the generated ones",
    "density": "near 1 is best; above it, images crowd where the real ones are dense",
    "coverage": "larger is better: share of real images with a generated one near",
    "vendi": "effective number of different images; near the real value is best",
    "diversity": "mean perceptual distance of pairs (not LPIPS); near the real value is best",
    "diversity_within": "that of pairs from one source image, over all progressive images",
    "diversity_across": "that of pairs from different source images, over all progressive images",
    "ms_ssim": "mean similarity of pairs, smaller where images differ; near the real value is best",
    "ms_ssim_within": "that of pairs from one source image, over all progressive images",
    "ms_ssim_across": "that of pairs from different source images, over all progressive images",
    "intra_cluster_diversity": "perceptual distance among images with the same nearest real one; 0 for copies",
    "copies_features": "share nearer to a training image than 95 % of unseen real images; more than expected: copies",
    "copies_features_ratio": "median distance to the training images over that of unseen ones; 0 for copies",
    "copies_pixels": "copies_features with distances of pixels, training images in all orientations",
    "copies_pixels_ratio": "copies_features_ratio with distances of pixels",
    "stain_delta_e": "smaller is better: difference of the mean colours in CIE Lab; 2.3 is just noticed",
    "stain_l": "shift in lightness, near 0 is best",
    "stain_a": "shift from green to red, near 0 is best",
    "stain_b": "shift from blue to yellow, near 0 is best",
    "ssim": "similarity of full translations to their source; larger keeps more of it",
    "edge_agreement": "agreement of their edges with their source's; larger keeps more structure",
    "position": "place of full translations between the domain means: 0 at the source, 1 at the target",
    "evenness": "smaller is better: deviation of the steps from even ones; 0 for even steps",
    "monotony_forward": "larger is better: share of steps towards the target",
    "monotony_spearman": "larger is better: rank correlation of m and position",
    "cycle_psnr": "larger is better: PSNR in dB between source images and what the way there and back made of them",
}


class Report:
    """Metrics and notes of an evaluation, collected one by one.

    `metrics` holds a dict for each: "fake"; "real", what real images get in the generated ones' place; "fake_at_count",
    the metric on as many images as "real" was taken on, "count", where the number matters; "reads"; more of its own.
    None stands for what could not be had.

    Args:
        features: name of the features. Published KID and FID stand on Inception's: others are named in the metric.
        count: called with 1 for each metric that was entered.
    """

    def __init__(self, features: str, count: Count = lambda number: None) -> None:
        self.features, self.count = features, count
        self.metrics: dict[str, Row] = {}
        self.notes: list[str] = []

    @contextlib.contextmanager
    def measuring(self, *names: str) -> Iterator[None]:
        """Turn what the user's images do not allow into a note, and leave `names` without values."""
        try:
            yield
        except UserError as error:
            self.leave_out(names, error)

    def leave_out(self, names: Sequence[str], reason: object) -> None:
        """Enter those of `names` that have no entry yet without values, and note why."""
        missing = [name for name in names if self.named(name) not in self.metrics]
        for name in missing:
            self.enter(name, None)
        self.notes.append(f"no {', '.join(map(self.named, missing))}: {reason}")

    def in_order(self) -> dict[str, Row]:
        """Return the metrics in the order of READS."""
        return {self.named(name): self.metrics[self.named(name)] for name in READS if self.named(name) in self.metrics}

    def enter(self, name: str, fake: float | None, real: float | None = None, fake_at_count: float | None = None,
              count: int | None = None, **details: Any) -> None:
        """Enter a metric of READS; values that are not finite become None, with a note."""
        values = {"fake": fake, "real": real, "fake_at_count": fake_at_count} | details
        broken = [key for key, value in values.items() if isinstance(value, float) and not math.isfinite(value)]
        if broken:
            self.notes.append(f"{self.named(name)}: {', '.join(broken)} is not finite")
        values = {key: None if key in broken else value for key, value in values.items()}
        self.metrics[self.named(name)] = values | {"count": count, "reads": READS[name]}
        self.count(1)

    def named(self, name: str) -> str:
        """Return a metric's name in results: KID and FID on other features than Inception's are named after them."""
        return f"{name}_{self.features}" if name in ("kid", "fid") and self.features != "inception" else name


def table(result: Row) -> str:
    """Return the result of `add.commands.evaluate.evaluate` as Markdown."""
    settings, counts = result["settings"], result["counts"]
    used = ", ".join(f"{count['used']} {name}" for name, count in counts.items())
    lines = [f"# {settings['fake_dir']} against {settings['real_dir']}", "",
             f"Images: {used}; {result['image_size']} pixels. Features: {settings['features']}. "
             f"Seed {settings['seed']}.", "",
             "`real` is what real images get in the place of the generated ones. Where the number of images matters, "
             "it is that of `n` against `n` others, and `fake at n` is to be compared with it.", "",
             *_rows(["metric", "fake", "fake at n", "real", "n", "reads as"],
                    ([name, *map(_text, (row["fake"], row["fake_at_count"], row["real"], row["count"])), row["reads"]]
                     for name, row in result["metrics"].items()))]
    if result["by_m"]:
        lines += ["", "Progressive images by their place m, means over source images:", "",
                  *place_table(result["by_m"])]
    if result["notes"]:
        lines += ["", "Notes:", "", *(f"- {note}" for note in result["notes"])]
    return "\n".join(lines) + "\n"


def _rows(head, rows):
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _text(value):
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4g}"
