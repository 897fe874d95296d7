"""What a results page shows of graded images: them in the order of their grades, scores, groups, and maps of slides."""
from pathlib import Path

from add.data.read_back import read_json, read_rows
from add.interfaces import Row
from add.results.graded_folder import BINS, GROUPS, SUMMARY
from add.results.markdown_blocks import read_blocks, table_block
from add.results.page_plots import line_plot
from add.results.translation_view import relative_url
from add.results.used_facts import as_text, read_facts

HEAT_MAP = "_heatmap.png"  # ends the names of maps
NUMBER = (None, float)
SHOWN = {"file": str, "name": str, "class": str, "severity": float, "low": float, "high": float, "unfamiliar": bool}
GRADED = {"domains": [str], "num_images": int, "num_unfamiliar": int, "mean_severity": float, "histogram": [int],
          "shown": [SHOWN], "scores?": {str: {"value": float, "low": NUMBER, "high": NUMBER}}}
MOST_GROUPS = 100  # rows of their table


def grades_view(folder: Path, base: Path) -> Row:
    """Return the view of a folder that `grade` wrote; see `add.results.measured_views`."""
    found = read_json(folder / SUMMARY, GRADED)
    first, last, count = found["domains"][0], found["domains"][-1], found["num_images"]
    maps = [{"url": relative_url(path, base), "caption": f"{path.name.removesuffix(HEAT_MAP)}: severity over the "
             f"slide; tiles crossed in red are unlike all known ones."} for path in sorted(folder.glob(f"*{HEAT_MAP}"))]
    plots = [line_plot("images by severity", "severity", {"images": [
        ((k + 0.5) / BINS, number) for k, number in enumerate(found["histogram"])]},
        f"How many images have which severity, in steps of {1 / BINS:g}.")]
    blocks = read_blocks("Not for diagnosis.")
    if scores := found.get("scores"):
        blocks.append(table_block(["score", "value", "95 % interval over groups"], [
            [name, as_text(own["value"]), "-" if own["low"] is None else
             f"{as_text(own['low'])} to {as_text(own['high'])}"] for name, own in scores.items()]))
    if (folder / GROUPS).is_file():
        rows = read_rows(folder / GROUPS)[:MOST_GROUPS]
        blocks.append(table_block(list(rows[0]), [list(row.values()) for row in rows]))
    return {"lead": f"{count} images graded from {first}, 0, to {last}, 1: mean severity "
                    f"{found['mean_severity']:.2f}, {found['num_unfamiliar']} unlike all that the grader knows.",
            "reads": "Images in the order of their severity; of many, some at even distances. The mark below an image "
                     "is its severity, the bar the interval. Look whether the order is what you see, and at those "
                     "outlined in red, which are unlike all known ones: their grades mean nothing.",
            "gallery": [_shown(own, relative_url(folder / own["file"], base)) for own in found["shown"]],
            "pictures": maps, "plots": [plot for plot in plots if plot], "blocks": blocks,
            "used": [{"title": "How it was graded", **read_facts(folder / SUMMARY, shown=(
                "histogram", "shown", "scores", "domains"))}]}


def _shown(own, url):
    """Return an image of the gallery, places in percent."""
    low, high = own["low"], own["high"]
    told = f"{own['name']}: {own['class']}, severity {own['severity']:.2f} ({low:.2f} to {high:.2f})"
    return {"url": url, "title": told + (", unlike all known images" if own["unfamiliar"] else ""),
            "caption": f"{own['severity']:.2f} {own['class']}", "marked": own["unfamiliar"],
            "low": f"{100 * low:.1f}", "width": f"{100 * (high - low):.1f}", "at": f"{100 * own['severity']:.1f}"}
