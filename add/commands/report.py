"""Make a page to look at of output folders.

FOLDER is what a command wrote, or a folder of such folders: translations, evaluations, classifications, studies,
training runs, samples, points. Several become one page. It opens in a browser, without network.
"""
from dataclasses import dataclass

from add.config import Checked, path_option
from add.data.files import is_url
from add.errors import UserError
from add.results.report_page import write_page
from add.runtime.options import Options
from add.runtime.progress import say


@dataclass(frozen=True)
class ReportConfig(Checked):
    """Page."""

    folders: str = path_option("", "output folders with commas; the command's words", "folder", many=True)
    out_file: str = path_option("", "HTML file to write; left out: index.html in the first folder", "out")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.folders:
            raise UserError("an output folder is needed: give one or more, as in add report results/mine")
        if is_url(self.out_file):
            raise UserError(f"--out_file {self.out_file} is a URL, expected a local file: copy the page afterwards")


def build_options() -> Options:
    """Return the options of this command."""
    return Options(__doc__, ReportConfig, positionals={"folders": "FOLDER..."})


def main(argv: list[str] | None = None) -> None:
    """Write the page of the folders that the command line names."""
    config = build_options().parse(argv).take(ReportConfig)
    path = write_page(config.folders.split(","), config.out_file or None)
    say(f"to look at: {path}")
