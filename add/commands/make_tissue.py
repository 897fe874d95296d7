"""Cut patches of stroma and of gland from scikit-image's stained tissue section."""
import contextlib
import dataclasses
from pathlib import Path

from add.config import MOST_IMAGES, Checked, option, path_option
from add.data import files, tissue
from add.errors import UserError
from add.runtime.next_steps import command_line, next_steps
from add.runtime.options import Options
from add.runtime.progress import EvaluationBar


@dataclasses.dataclass(frozen=True)
class TissueConfig(Checked):
    """What is cut."""

    out_dir: str = path_option("", "folder to write train/, test/ and sources/ to, each with stroma/ and gland/; "
                                   "required", "out")
    num_train: int = option(450, "most training patches of each domain", least=0, most=MOST_IMAGES)
    num_test: int = option(64, "most held-out patches of each domain", least=0, most=MOST_IMAGES)
    num_sources: int = option(8, "held-out patches of each domain that sources/ repeats, to translate from",
                              least=0, most=MOST_IMAGES)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.out_dir:
            raise UserError("no --out_dir was given: expected a folder for the patches")


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, TissueConfig)


def main(argv: list[str] | None = None) -> None:
    """Cut and write the patches as the command line asks."""
    config = build_options().parse(argv).take(TissueConfig)
    with contextlib.closing(EvaluationBar("cutting", unit="image")) as bar:
        image = tissue.load_micrograph()
        chosen = tissue.choose_patches(image, config.num_train, config.num_test, config.num_sources)
        bar.total = sum(map(len, chosen.values()))
        for folder, corners in chosen.items():
            for corner in corners:
                path = files.join(config.out_dir, folder, tissue.patch_name(corner))
                files.save_png(path, tissue.cut_patch(image, corner))
                bar.add()
    for folder, corners in chosen.items():
        print(f"{folder}: {len(corners)} patches")
    place = config.out_dir if files.is_url(config.out_dir) else Path(config.out_dir).resolve()
    print(f"done: train/, test/ and sources/ in {place}")
    print(next_steps(command_line("train", data_dir=files.join(config.out_dir, "train"), domain="all")))
