"""Parts of a set of images, such as for training and testing, that divide no group; written as tables or folders."""
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from add.data.files import read_bytes, relative_name, save_csv
from add.data.folders import list_domains
from add.data.groups import hold_out, read_groups, write_groups
from add.data.manifest import mpp_of
from add.data.severity_table import read_severity, write_severity
from add.data.whole_folder import whole_folder
from add.errors import UserError
from add.interfaces import PathLike

WAYS = ("tables", "folders")


class Part(NamedTuple):
    """Images of one part: paths, and of each its name, its domain, its group or None, its severity or None.

    mpp: micrometres per pixel of all of them, or None where unknown.
    """

    paths: list[str]
    names: list[str]
    domains: list[str]
    groups: list[str] | None
    severities: np.ndarray | None
    mpp: float | None = None

    def counts(self) -> dict[str, int]:
        """Return {domain: images}."""
        return dict(Counter(self.domains))


def parse_shares(text: str) -> dict[str, float]:
    """Return {part: share} of a list such as train:0.7,val:0.1,test:0.2.

    Raises:
        UserError: another text, fewer than two parts, or shares that don't sum to 1.
    """
    try:
        pairs = [entry.split(":") for entry in text.split(",")]
        shares = {name.strip(): float(share) for name, share in pairs}
        if len(shares) < max(2, len(pairs)) or not all(shares) or min(shares.values()) <= 0:
            raise ValueError("two different names or more, each with a share above 0")
        if abs(sum(shares.values()) - 1) > 1e-6:
            raise ValueError(f"they sum to {sum(shares.values()):g}")
    except ValueError as error:
        raise UserError(f"--parts {text!r} is not understood ({error}): expected names with shares that sum to 1, such "
                        f"as train:0.7,val:0.1,test:0.2") from error
    return shares


def divide(data_dir: PathLike, shares: dict[str, float], group_pattern: str = "", seed: int = 0) -> dict[str, Part]:
    """Return {part: Part} of a folder of domains or a manifest: of each domain about that share, groups undivided.

    Args:
        shares: as from `parse_shares`; the first part gets what the others leave.
        group_pattern: see `read_groups`. seed: decides which groups go where.

    Raises:
        UserError: too few images or groups in a domain for so many parts.
    """
    domains = list_domains(data_dir)
    paths = [path for own in domains.values() for path in own]
    labels = np.repeat(np.arange(len(domains)), [len(own) for own in domains.values()])
    groups, severities = read_groups(data_dir, paths, group_pattern), read_severity(data_dir, paths)
    mpp = mpp_of(data_dir)
    rest = np.random.default_rng(seed).permutation(len(paths))
    first, *others = shares
    chosen = {}
    for name in reversed(others):
        left = sum(share for other, share in shares.items() if other not in chosen)
        held_out = rest[hold_out(labels[rest], shares[name] / left, np.arange(len(rest)),
                                 None if groups is None else [groups[i] for i in rest])]
        chosen[name] = np.sort(held_out)
        rest = rest[~np.isin(rest, held_out)]
    chosen[first] = np.sort(rest)
    names = np.array(list(domains))
    for name, own in chosen.items():
        if lacking := set(domains) - set(names[labels[own]]):
            raise UserError(f"{data_dir} has too few images, or groups, of {', '.join(sorted(lacking))} for "
                            f"{len(shares)} parts: {name} would get none; give more, or fewer parts")

    def part_of(own):
        return Part([paths[i] for i in own], [relative_name(data_dir, paths[i]) for i in own],
                    names[labels[own]].tolist(), None if groups is None else [groups[i] for i in own],
                    None if severities is None else severities[own], mpp)

    return {name: part_of(chosen[name]) for name in shares}


def write_parts(parts: dict[str, Part], out_dir: PathLike, way: str = "tables") -> None:
    """Write parts to a new folder.

    Args:
        way: "tables", a manifest PART.csv each, which names the images where they lie; or "folders", PART/DOMAIN/NAME
            with copies, and their groups.csv and severity.csv.
    """
    with whole_folder(out_dir) as folder:
        for name, part in parts.items():
            if way == "folders":
                _copy(part, folder / name)
            else:
                _write_table(part, folder / f"{name}.csv", Path(out_dir).resolve())


def _write_table(part, path, place):
    """Write a manifest that will lie in the folder `place`."""
    columns = ["image", "class", *(["group"] if part.groups else []),
               *([] if part.severities is None else ["severity"]), *([] if part.mpp is None else ["mpp"])]
    cells = [[os.path.relpath(path, place).replace(os.sep, "/") for path in part.paths], part.domains,
             *([part.groups] if part.groups else []),
             *([] if part.severities is None else [[f"{value:.6f}" for value in part.severities]]),
             *([] if part.mpp is None else [[part.mpp] * len(part.paths)])]
    save_csv(path, [columns, *zip(*cells, strict=True)])


def _copy(part, folder):
    """Copy the images of a part to a subfolder for each domain."""
    names = [name if name.startswith(f"{domain}/") else f"{domain}/{name}"
             for name, domain in zip(part.names, part.domains, strict=True)]
    for path, name in zip(part.paths, names, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(read_bytes(path))
    if part.groups:
        write_groups(folder, dict(zip(names, part.groups, strict=True)))
    if part.severities is not None:
        write_severity(folder, dict(zip(names, part.severities.tolist(), strict=True)))
