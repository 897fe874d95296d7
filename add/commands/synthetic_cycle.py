"""Translate one point set into another and back, after DDIB's 2-D experiments.

The same command again continues.
"""
from add.commands.synthetic_translation import PointTranslationConfig, translate_points
from add.diffusion import DiffusionConfig
from add.networks import PointConfig
from add.runtime.options import Options
from add.runtime.progress import processes_and_bar


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, PointTranslationConfig, PointConfig, DiffusionConfig)


def main(argv: list[str] | None = None) -> None:
    """Translate the points that the command line asks for, there and back."""
    parsed = build_options().parse(argv)
    with processes_and_bar(parsed, "translating") as (world, bar):
        translate_points(parsed, world, bar, cycle=True)
