"""Divide images into parts for training and testing, without dividing a patient or slide.

Reads a folder with one subfolder per domain, or a table image,class,group. Each part gets about its share of every
domain. Parts are written as tables, which all commands take in place of a folder, or as folders of copies.
"""
import dataclasses
from pathlib import Path
from typing import ClassVar

from add.config import Checked, HelpGroups, group_option, option, path_option, seed_option
from add.data.folders import list_domains
from add.data.groups import hint_at_groups
from add.data.parts import WAYS, divide, parse_shares, write_parts
from add.data.whole_folder import check_new
from add.errors import UserError
from add.runtime.next_steps import command_line, next_steps
from add.runtime.options import Options
from add.runtime.progress import say


@dataclasses.dataclass(frozen=True)
class SplitConfig(Checked):
    """Split."""

    help_groups: ClassVar[HelpGroups] = {"images": ("data_dir", "group_pattern"),
                                         "parts": ("parts", "seed", "write", "out_dir")}

    data_dir: str = path_option("", "images: a folder with one subfolder per domain, or a table image,class,group; "
                                    "required", "images")
    group_pattern: str = group_option()
    parts: str = option("train:0.7,val:0.1,test:0.2", "names and shares of the parts; the first gets what the others "
                                                      "leave")
    seed: int = seed_option("decides which groups go where")
    write: str = option("tables", "tables: PART.csv each, which name the images where they lie; folders: copies", WAYS)
    out_dir: str = path_option("", "new folder to write to; required", "out")

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_shares(self.parts)


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, SplitConfig)


def main(argv: list[str] | None = None) -> None:
    """Divide what the command line names."""
    config = build_options().parse(argv).take(SplitConfig)
    for name in ("data_dir", "out_dir"):
        if not getattr(config, name):
            raise UserError(f"no --{name} was given: expected a folder; give one")
    check_new(config.out_dir, "out_dir")
    found = divide(config.data_dir, parse_shares(config.parts), config.group_pattern, config.seed)
    write_parts(found, config.out_dir, config.write)
    if next(iter(found.values())).groups is None:
        paths = [path for own in list_domains(config.data_dir).values() for path in own]
        hint = hint_at_groups(config.data_dir, paths, depth=2)
        say("no groups are known, so that images of one patient or slide may stand in several parts" + (
            f": {hint}" if hint else "; --group_pattern or a table groups.csv names them"))
    ending = "" if config.write == "folders" else ".csv"
    for name, part in found.items():
        counts = ", ".join(f"{count} {domain}" for domain, count in part.counts().items())
        groups = "" if part.groups is None else f", {len(set(part.groups))} groups"
        say(f"{Path(config.out_dir) / name}{ending}: {counts}{groups}")
    first = Path(config.out_dir) / f"{next(iter(found))}{ending}"
    say(next_steps(command_line("train", data_dir=first, domain="all")))
