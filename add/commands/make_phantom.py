"""Make domains of procedural cytology images whose severity is known.

With --fields whole slides instead: pyramidal TIFF files whose severity varies from place to place, QuPath annotations
of the bands, and the truth, to try the way from slides to grades.
"""
import contextlib
import dataclasses
import re
from pathlib import Path

from add.config import MOST_IMAGES, MOST_PIXELS, Checked, option, path_option, seed_option
from add.data import phantom
from add.data.files import is_url, join
from add.data.slides.drawn_slides import draw_slides
from add.errors import UserError
from add.runtime.next_steps import command_line, next_steps
from add.runtime.options import Options
from add.runtime.progress import EvaluationBar

MOST_FIELD = 100_000  # pixels of a slide's side


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
    fields: int = option(0, "whole slides to draw in place of single images", least=0, most=1000)
    field_size: str = option("1024x768", "width and height of a slide in pixels, rounded up to whole squares of --size")
    mpp: float = option(0.5, "micrometres per pixel that the slides tell", above=0, most=1000)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.out_dir:
            raise UserError("no --out_dir was given: expected a new or empty folder for the images")
        self.squares()

    def squares(self) -> tuple[int, int]:
        """Return (rows, columns) of the squares of a slide."""
        found = re.fullmatch(r"(\d{1,6})x(\d{1,6})", self.field_size)
        width, height = map(int, found.groups()) if found else (0, 0)
        if not (0 < width <= MOST_FIELD and 0 < height <= MOST_FIELD):
            raise UserError(f"--field_size {self.field_size} is not understood: expected WIDTHxHEIGHT in pixels, each "
                            f"from 1 to {MOST_FIELD}, such as 1024x768")
        return -(-height // self.size), -(-width // self.size)


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, PhantomConfig)


def main(argv: list[str] | None = None) -> None:
    """Draw and write the images as the command line asks."""
    config = build_options().parse(argv).take(PhantomConfig)
    bands = phantom.parse_bands(config.bands)
    if config.fields:
        _draw_fields(config, bands)
        return
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


def _draw_fields(config, bands):
    phantom.check_out_dir(config.out_dir)
    rows, columns = config.squares()
    with contextlib.closing(EvaluationBar("drawing", config.fields * rows, "strip")) as bar:
        draw_slides(config.out_dir, config.fields, (rows, columns), config.size, config.mpp, bands, config.seed,
                    on_strip=bar.add)
    place = Path(config.out_dir).resolve()
    print(f"done: {config.fields} slides of {columns * config.size} x {rows * config.size} pixels with annotations in "
          f"{place / 'slides'}, their truth in {place / 'truth'}")
    print(next_steps(command_line("tiles", slides_dir=join(config.out_dir, "slides"), mpp=config.mpp,
                                  tile_size=config.size, out_dir=f"{config.out_dir}_tiles")))
