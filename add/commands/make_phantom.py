"""Make domains of procedural cytology images whose severity is known."""
import contextlib
import dataclasses
from pathlib import Path

from add.config import MOST_IMAGES, MOST_PIXELS, Checked, option, path_option, seed_option
from add.data import phantom
from add.data.files import is_url, join
from add.errors import UserError
from add.runtime.next_steps import command_line, next_steps
from add.runtime.options import Options
from add.runtime.progress import EvaluationBar


@dataclasses.dataclass(frozen=True)
class PhantomConfig(Checked):
    """What is drawn."""

    out_dir: str = path_option("", "new or empty folder to write train/, test/ and severity.csv to; required", "out")
    size: int = option(64, "side of the images in pixels, for instance 32 or 64", least=16, most=MOST_PIXELS)
    num_train: int = option(500, "training images of each domain", least=0, most=MOST_IMAGES)
    num_test: int = option(100, "held-out images of each domain", least=0, most=MOST_IMAGES)
    seed: int = seed_option("the same seed gives the same images")
    bands: str = option("mild:0:0.3,severe:0.7:1", "domains as NAME:LOW:HIGH, joined by commas: bands of severity from "
                                                   "0 to 1")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.out_dir:
            raise UserError("no --out_dir was given: expected a new or empty folder for the images")


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, PhantomConfig)


def main(argv: list[str] | None = None) -> None:
    """Draw and write the images as the command line asks."""
    config = build_options().parse(argv).take(PhantomConfig)
    bands = phantom.parse_bands(config.bands)
    total = len(bands) * (config.num_train + config.num_test)
    with contextlib.closing(EvaluationBar("drawing", total, "image")) as bar:
        phantom.make_phantom_set(config.out_dir, bands, config.num_train, config.num_test, config.size, config.seed,
                                 on_image=bar.add)
    for name, (low, high) in bands.items():
        print(f"{name}: severity {low:g} to {high:g}, {config.num_train} training and {config.num_test} held-out "
              f"images")
    place = config.out_dir if is_url(config.out_dir) else Path(config.out_dir).resolve()
    print(f"done: train/, test/ and severity.csv in {place}")
    print(next_steps(command_line("train", data_dir=join(config.out_dir, "train"), domain="all")))
