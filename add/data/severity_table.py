"""Known severities of images in severity.csv: a row `image,severity` each, `image` relative to the table's folder."""
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from add.data.files import save_csv
from add.data.manifest import read_manifest
from add.data.read_back import read_rows
from add.errors import UserError
from add.interfaces import PathLike

TABLE = "severity.csv"
COMPLETE = "remove the table, or complete it"


def write_severity(folder: PathLike, severities: Mapping[str, float]) -> None:
    """Write the table of a folder from {image relative to it: severity}, with 6 decimals."""
    rows = ((image, f"{severity:.6f}") for image, severity in severities.items())
    save_csv(Path(folder) / TABLE, [("image", "severity"), *rows])


def read_severity(folder: PathLike, paths: Iterable[PathLike]) -> np.ndarray | None:
    """Return the severities float64 [n] of `paths`, from the table in the folder or beside it; None without one.

    Of a manifest, those of its own column, where it has all of them.
    """
    if (entries := read_manifest(folder)) is not None:
        found = entries.severities[entries.places(paths)]
        return None if np.isnan(found).any() else found
    table_path = next((path for path in (Path(folder) / TABLE, Path(folder).parent / TABLE)
                       if path.exists()), None)
    if table_path is None:
        return None
    rows = read_rows(table_path, {"image": str, "severity": float}, COMPLETE)
    known = {row["image"]: row["severity"] for row in rows}
    try:
        return np.array([known[Path(path).relative_to(table_path.parent).as_posix()] for path in paths])
    except (KeyError, ValueError) as error:
        raise UserError(f"{table_path} does not serve ({error!r}): expected a row for every image; {COMPLETE}"
                        ) from error
