"""A slide's grades as a picture: severity in colors over its thumbnail, with a color bar and a scale bar."""
import numpy as np

from add.interfaces import PathLike
from add.results.figures import new_figure, save_figure

COLOURS, OPACITY = "viridis", 0.6
INCHES = 10.0  # of the longer side
BAR_SHARE = 0.25  # of the width that a scale bar takes at most


def draw_heat_map(path: PathLike, thumbnail: np.ndarray, size: tuple[int, int], corners: np.ndarray, side: int,
                  severity: np.ndarray, unfamiliar: np.ndarray, mpp: float, ends: tuple[str, str]) -> None:
    """Write the picture of graded tiles as PNG.

    Args:
        thumbnail: uint8 [h, w, 3]. size: (width, height) of the slide in pixels of level 0.
        corners: ints [n, 2], (x, y) of each tile there. side: of a tile there. mpp: micrometres per pixel there.
        severity: float [n] in [0, 1]. unfamiliar: bool [n]; such tiles are hatched with a red cross.
        ends: names of the classes at 0 and 1.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import LineCollection, PolyCollection
    from matplotlib.colors import Normalize

    scale = INCHES / max(size)
    figure, ((axis,),) = new_figure(1, 1, (max(4.0, size[0] * scale + 1.5), max(2.5, size[1] * scale + 1.0)))
    figure.set_layout_engine("constrained")
    axis.imshow(thumbnail, extent=(0, size[0], size[1], 0))
    x, y = corners[:, 0], corners[:, 1]
    squares = np.stack([np.stack([x, y], 1), np.stack([x + side, y], 1), np.stack([x + side, y + side], 1),
                        np.stack([x, y + side], 1)], axis=1)
    shown = ScalarMappable(Normalize(0, 1), COLOURS)
    axis.add_collection(PolyCollection(list(squares), facecolors=shown.to_rgba(severity, alpha=OPACITY),
                                       edgecolors="none"))
    crossed = squares[unfamiliar]
    axis.add_collection(LineCollection([*crossed[:, [0, 2]], *crossed[:, [1, 3]]], colors="#d62728", linewidths=0.8))
    length = bar_length(size[0] * mpp)
    left, bottom = 0.03 * size[0], 0.95 * size[1]
    axis.plot([left, left + length / mpp], [bottom, bottom], color="black", linewidth=3, solid_capstyle="butt")
    axis.text(left, bottom - 0.02 * size[1], f"{length:g} µm" if length < 1000 else f"{length / 1000:g} mm",
              va="bottom", fontsize=9)
    axis.set(xlim=(0, size[0]), ylim=(size[1], 0), xticks=[], yticks=[])
    bar = figure.colorbar(shown, ax=axis, fraction=0.04, pad=0.02)
    bar.set_label(f"severity, 0 = {ends[0]}, 1 = {ends[1]}")
    if unfamiliar.any():
        axis.set_xlabel(f"crossed in red: {int(unfamiliar.sum())} of {len(severity)} tiles unlike all known ones",
                        fontsize=9)
    save_figure(path, figure)


def bar_length(width: float) -> float:
    """Return the length of a scale bar in micrometres: 1, 2 or 5 times a power of 10, BAR_SHARE of a width at most."""
    most = BAR_SHARE * width
    power = 10.0 ** np.floor(np.log10(most))
    return float(max(factor * power for factor in (1, 2, 5) if factor * power <= most))
