"""Figures of matplotlib, drawn into files without pyplot and its global state; matplotlib is imported when needed."""
import io
from typing import Any, TypeAlias

from add.data.files import write_atomically
from add.interfaces import PathLike

Figure: TypeAlias = Any  # matplotlib.figure.Figure
Axes: TypeAlias = Any  # matplotlib.axes.Axes
DOTS_PER_INCH = 110


def new_figure(rows: int, columns: int, size: tuple[float, float], **options: Any) -> "tuple[Figure, Any]":
    """Return (figure, axes [rows, columns]); size: (width, height) of the whole in inches.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def set_margins(figure: Figure, left: float, right: float, bottom: float, top: float, between: tuple[float, float]
                ) -> None:
    """Set the margins of a figure's axes, and the gaps between its (columns, rows), in inches.

    In place of tight_layout, which draws all labels once more to measure them and takes as long as the picture.
    """
    width, height = figure.get_size_inches()
    rows, columns = figure.axes[0].get_gridspec().get_geometry()
    across, down = ((whole - margins - (count - 1) * gap) / count for whole, margins, count, gap in (
        (width, left + right, columns, between[0]), (height, bottom + top, rows, between[1])))
    figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height, between[0] / across,
                           between[1] / down)


def save_figure(path: PathLike, figure: Figure) -> None:
    """Write a figure as PNG, whole or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    write_atomically(path, lambda file: file.write(buffer.getvalue()))


def label_plainly(axis: Axes, least_span: float = 0.0) -> None:
    """Let the y axis say its numbers in full, with three decimals, over a span of at least `least_span`.

    Without it, values that nearly agree get an axis such as `1e-5+9.999e-1`, and chance fills the picture.
    """
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    low, high = axis.get_ylim()
    if high - low < least_span:
        axis.set_ylim((low + high - least_span) / 2, (low + high + least_span) / 2)
    axis.yaxis.set_major_locator(MaxNLocator(6))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:.3f}"))


def scale_by_factors(axis: Axes) -> None:
    """Let the y axis be logarithmic, with plain numbers such as 0.06 beside it."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
