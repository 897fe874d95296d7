"""The results page of output folders: one HTML file that a browser opens from the disk, with no network and no server.

It shows the pictures that lie in the folders by relative URLs, and holds everything else: data as JSON, styles and
scripts of add/results/templates. What stands in files is escaped, also inside the JSON.
"""
import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2

from add import __version__
from add.data.files import write_atomically
from add.data.folders import CONTACT_SHEET
from add.errors import UserError
from add.interfaces import PathLike, Row
from add.results.grades_view import grades_view
from add.results.measured_views import (
    classification_view,
    draws_view,
    evaluation_view,
    labels_view,
    likelihood_view,
    points_view,
    samples_view,
    study_view,
)
from add.results.run_view import training_view
from add.results.translation_series import COLUMNS, DEPTH_RULE, label_path
from add.results.translation_view import relative_url, translation_view
from add.results.used_facts import read_facts

PAGE_NAME = "index.html"
EMPTY: Row = {"reads": "", "blocks": [], "plots": [], "pictures": [], "previews": [], "gallery": [],
              "used": []}
LED = 4  # ways of translations that the head of a page tells one by one
GENERATOR = '<meta name="generator" content="add '  # in the head of every page
MOST_HEADER = 10_000  # bytes of a file that are read to tell its kind
TEMPLATES = Path(__file__).with_name("templates")


@dataclasses.dataclass(frozen=True)
class Part:
    """What a page shows of one output folder: a template of that kind, and what is put into it.

    lead: what it is, in one or two sentences, for the head of the page.
    """

    kind: str
    title: str
    lead: str
    content: Row


class Kind(NamedTuple):
    """A kind of output folder beside translations: patterns of files that it holds, and what gathers its view."""

    name: str
    marks: tuple[str, ...]
    view: Callable[[Path, Path], Row]


KINDS = (Kind("Evaluation", ("evaluation.json",), evaluation_view),
         Kind("Classifiers", ("classification.json",), classification_view),
         Kind("Draws", ("draws.json", "plan.json"), draws_view), Kind("Study", ("study.json",), study_view),
         Kind("Grades", ("grades.json", "grades.csv"), grades_view), Kind("Likelihood", ("nll.json",), likelihood_view),
         Kind("Training", ("config.json", "progress.csv"), training_view),
         Kind("Points", ("run.json", "scatter_*.png"), points_view),
         Kind("Samples", ("run.json", CONTACT_SHEET), samples_view))


def write_page(folders: Sequence[PathLike], out_file: PathLike | None = None) -> Path:
    """Write the page of some output folders, and return its path.

    Args:
        folders: each is shown with the output folders that lie directly in it.
        out_file: left out: index.html in the first folder.

    Raises:
        UserError: a folder that holds no finished output, or a file that can't be written.
    """
    path = Path(out_file) if out_file is not None else Path(folders[0]) / PAGE_NAME
    base = path.resolve().parent
    problems: list[str] = []
    parts = [part for folder in folders for part in find_parts(Path(folder).resolve(), base, problems)]
    text = render(parts, [Path(folder) for folder in folders], problems)
    write_atomically(path, lambda file: file.write(text.encode(errors="replace")))
    return path


def renew_page(folder: PathLike) -> Path:
    """Write the page of an output folder and return its path; a page of the folder around it is written again, too."""
    path, around = write_page([folder]), Path(folder).resolve().parent
    if _is_page(around / PAGE_NAME):
        write_page([around])
    return path


def page_line(folder: PathLike) -> str:
    """Write the page of an output folder as `renew_page`, and return the line that says where to look.

    Where no page can be written the line says why: what the command made is there, and does not fail with its page.
    """
    try:
        return f"to look at: {renew_page(folder)}"
    except UserError as error:
        return f"no page to look at was written: {error}"


def _is_page(path):
    """Return whether a file is a page of this program's, which it may write again."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return GENERATOR.encode() in file.read(MOST_HEADER)


def find_parts(folder: Path, base: Path, problems: list[str]) -> list[Part]:
    """Return what a page in `base` shows of a folder and of those directly in it.

    Args:
        problems: gets a sentence for each folder that can't be shown while others can.

    Raises:
        UserError: there is nothing to show.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: expected an output folder of a command; check the path")
    candidates = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    mine: list[str] = []
    parts = _translations_part([path for path in candidates if _is_translation(path)], base, mine)
    parts += [part for kind in KINDS for path in candidates if (part := _measured_part(kind, path, base, mine))]
    if not parts and mine:
        raise UserError(mine[0])
    if not parts:
        raise UserError(f"{folder} holds nothing that a page could show: expected the finished output of a command in "
                        f"it, or in folders directly in it; give such a folder, as results/mine")
    problems += mine
    return parts


def render(parts: Sequence[Part], folders: Sequence[Path], problems: Sequence[str] = ()) -> str:
    """Return the HTML text of a page; `problems` are sentences on what it does not show."""
    return _environment().get_template("report.html").render(
        parts=parts, problems=problems, title=", ".join(_name(folder) for folder in folders), version=__version__,
        style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        script=(TEMPLATES / "viewer.js").read_text(encoding="utf-8"))


@functools.cache
def _environment():
    """Return the templates, which are compiled once in a process."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":"), "allow_nan": False}
    return environment


def _name(folder):
    return folder.resolve().name or str(folder)


def _is_translation(path):
    """Return whether a folder holds a finished translation: folders of samples have a labels.csv of other columns."""
    table = label_path(path, DEPTH_RULE)
    if not table.is_file():
        return False
    with open(table, "rb") as file:
        return file.readline(MOST_HEADER).decode(errors="replace").lstrip("\ufeff").startswith(",".join(COLUMNS))


def _measured_part(kind: "Kind", folder: Path, base: Path, problems: list[str]) -> Part | None:
    """Return the part of a folder of one kind, or None for another one, or where its files can't be read."""
    if not all(any(folder.glob(name)) for name in kind.marks):
        return None
    try:
        view = EMPTY | kind.view(folder, base)
    except OSError as error:
        problems.append(f"{folder} lacks a file, or it can't be read ({error}): expected what its command wrote; run "
                        f"the command again")
        return None
    except UserError as error:
        problems.append(str(error))
        return None
    return Part("measured", f"{kind.name}: {folder.name}", view.pop("lead"), view)


def _translations_part(folders: Iterable[Path], base: Path, problems: list[str]) -> list[Part]:
    """Return the one part that shows all translations among the folders, or []."""
    views: dict[Path, Row] = {}
    labels = []
    for folder in folders:
        try:
            views[folder] = translation_view(folder, base)
            labels.append(labels_view(folder, views[folder]["title"]))
        except UserError as error:
            problems.append(str(error))
    content = {"views": list(views.values()),
               "labels": [EMPTY | own for own in labels if own],
               "used": [{"title": view["title"], **read_facts(folder / "run.json")}
                                                       for folder, view in views.items()],
               "overviews": [{"title": view["title"], "url": relative_url(folder / "overview.png", base)}
                             for folder, view in views.items() if (folder / "overview.png").is_file()]}
    return [Part("translations", "Step by step", _translations_lead(content["views"]), content)] if views else []


def _translations_lead(views):
    counts = [len(view["names"]["rest"]) for view in views]
    images = sum(counts)
    ways = [f"{count} from {view['title']} in {_counted(view['amount'], 'mixture' if view['mixture'] else 'step')}"
            for count, view in zip(counts[:LED], views[:LED], strict=True)]
    further = [f"and {len(views) - LED} more ways"] if len(views) > LED else []
    return f"{_counted(images, 'source image')}: {'; '.join(ways + further)}."


def _counted(number, thing):
    return f"{number} {thing}{'s' * (number != 1)}"
