"""Write progressive images with soft labels in a format that other training code reads.

imagefolder-csv is a subfolder for each domain and labels.csv; webdataset tar shards; hf an ImageFolder of Hugging
Face's datasets; npz arrays of numpy. With --data_dir the real images are in it, too, with hard labels. Images made from
one source image share a group: split by it.
"""
import dataclasses
from contextlib import closing
from pathlib import Path
from typing import ClassVar

from add.config import (
    MOST_IMAGES,
    Checked,
    HelpGroups,
    domains_option,
    max_pixels_option,
    option,
    path_option,
    split_names,
)
from add.data.whole_folder import check_new
from add.errors import UserError
from add.results.dataset_export import FORMATS, SHARD_SIZE, export, gather
from add.runtime.options import Options
from add.runtime.progress import EvaluationBar, say


@dataclasses.dataclass(frozen=True)
class ExportConfig(Checked):
    """Export."""

    help_groups: ClassVar[HelpGroups] = {
        "what is written": ("translations", "label_rule", "data_dir", "domains", "max_pixels"),
        "how": ("format", "shard_size", "out_dir")}

    translations: str = path_option("", "translation folders with commas", many=True)
    label_rule: str = option("depth", "depth: the soft labels of labels.csv; else those of labels_RULE.csv, as from "
                                      "`add soft_labels`")
    data_dir: str = path_option("", "real images, one subfolder per domain, to be written as well", "images")
    domains: str = domains_option("that of the translations, else sorted by name")
    max_pixels: int = max_pixels_option()
    format: str = option("imagefolder-csv", "format", tuple(FORMATS))
    shard_size: int = option(SHARD_SIZE, "samples of a tar file of webdataset", least=1, most=MOST_IMAGES)
    out_dir: str = path_option("results/dataset", "new folder to write to", "out")


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, ExportConfig)


def main(argv: list[str] | None = None) -> None:
    """Write what the command line asks for."""
    config = build_options().parse(argv).take(ExportConfig)
    if not config.translations:
        raise UserError("no translations were named: expected --translations FOLDER, or several with commas")
    check_new(config.out_dir, "out_dir")
    samples = gather(config.translations.split(","), config.label_rule, config.data_dir,
                     split_names(config.domains) if config.domains else None)
    with closing(EvaluationBar("writing", samples.number, "image", silent=False)) as bar:
        export(samples, config.format, config.out_dir, config.shard_size, bar.add)
    say(f"done: {samples.number} images of {', '.join(samples.names)} in {Path(config.out_dir).resolve()}")
