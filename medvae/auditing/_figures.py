"""Figures, as SVG that follows the light or dark colours of a page, or as PNG on white."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from numpy.typing import NDArray

Numbers = NDArray[np.floating]

_INK = "#010203"
"""Placeholder in a figure for the colour of the surrounding text."""

_COLOURS = ("#3f8fd2", "#e07f2e", "#2fa57f", "#b678c4", "#b3a12e")
_DASHES: Final = ("-", "--", "-.", ":")
_MARKERS = ("o", "^", "s", "D", "v")
_MOST_POINTS = 4000
_MOST_NAMES = len(_COLOURS)
_LONGEST_NAME = 40
_DPI = 160
_INCHES = (4.4, 3.5)
_SETTINGS: Any = {
    "svg.hashsalt": "medvae",
    "svg.fonttype": "path",
    # Names are plain text: without this, dollar signs would start formulas.
    "text.parse_math": False,
    "text.usetex": False,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK
    ),
}
_NIGHT = (
    "<style>svg{color:#1b1f24}"
    "@media screen and (prefers-color-scheme:dark){svg{color:#e6edf3}}</style>"
)


class Drawing:
    """A figure that is reproducible: the same numbers give the same bytes.

    Args:
        figure: Matplotlib figure.
    """

    def __init__(self, figure: Figure) -> None:
        self._figure = figure

    @property
    def uri(self) -> str:
        """The figure as a data URI of an SVG."""
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        with matplotlib.rc_context(_SETTINGS):
            self._figure.savefig(buffer, format="svg", transparent=True, dpi=_DPI, metadata=nothing)
        text = buffer.getvalue()
        text = text[text.index("<svg") :].replace(_INK, "currentColor")
        text = re.sub(r"(<svg[^>]*>)", rf"\1{_NIGHT}", text, count=1)
        return f"data:image/svg+xml;base64,{base64.b64encode(text.encode()).decode()}"

    @property
    def png(self) -> bytes:
        """The figure as the bytes of a PNG file."""
        buffer = io.BytesIO()
        with matplotlib.rc_context(_SETTINGS):
            self._figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
        return buffer.getvalue()


def densities(edges: Numbers, heights: Mapping[str, Numbers], x: str) -> Drawing:
    """Draw densities ``[B]`` between bin edges ``[B + 1]``, one outline for each name."""
    with _axes(x, "density") as (figure, axes):
        for place, (name, found) in enumerate(heights.items()):
            patch = axes.stairs(
                found, edges, label=drawable(name), linewidth=1.4, edgecolor=_colour(place)
            )
            patch.set_linestyle(_DASHES[place % len(_DASHES)])
    return Drawing(figure)


def clouds(points: Mapping[str, Numbers], x: str, y: str) -> Drawing:
    """Draw points ``[N, 2]`` for each name; many points are thinned, many names get no legend."""
    many = len(points) > _MOST_NAMES
    size = float(np.clip(4000 / sum(map(len, points.values())), 9, 36))
    shades = matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, len(points)))
    with _axes(x, y, legend=not many) as (figure, axes):
        for place, (name, found) in enumerate(points.items()):
            shown = found[:: -(-len(found) // _MOST_POINTS) or 1]
            axes.scatter(
                shown[:, 0],
                shown[:, 1],
                s=size,
                alpha=0.7,
                linewidths=0,
                color=shades[place] if many else _colour(place),
                marker=_MARKERS[place % len(_MARKERS)],
                label=drawable(name),
                rasterized=True,
            )
    return Drawing(figure)


def tiles(pictures: NDArray[np.float32], names: Sequence[str]) -> Drawing:
    """Draw pictures ``[N, side, side]`` in [0, 1] in a row, with their names above them."""
    side = pictures.shape[-1]
    gap = max(1, side // 16)
    # NaN is left blank.
    spaced = np.pad(pictures, ((0, 0), (0, 0), (0, gap)), constant_values=np.nan)
    strip = np.concatenate(list(spaced), axis=1)[:, :-gap]
    with matplotlib.rc_context(_SETTINGS):
        width = 1.1 * len(names)
        figure = Figure(figsize=(width, width * side / strip.shape[1] + 0.25))
        axes = figure.add_axes((0, 0, 1, 1 - 0.25 / figure.get_figheight()))
        axes.imshow(strip, cmap="gray", vmin=0, vmax=1, interpolation="none")
        axes.set_xticks([place * (side + gap) + side / 2 for place in range(len(names))], names)
        axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    return Drawing(figure)


def drawable(name: str) -> str:
    """Return a name in a form that a figure can show.

    Characters that are not printable, or have no glyph in the font, become escapes such as
    ``\\u4e2d``; long names are cut. Legends leave out names that are empty or begin with an
    underscore, so these get a leading space. Dollar signs are kept, as figures parse no formulas.
    """
    font = get_font(findfont(FontProperties()))
    shown = "".join(
        c if c.isprintable() and font.get_char_index(ord(c)) else ascii(c)[1:-1] for c in name
    )
    if len(shown) > _LONGEST_NAME:
        shown = shown[: _LONGEST_NAME - 3] + "..."
    return f" {shown}" if not shown or shown.startswith("_") else shown


def _colour(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]


@contextmanager
def _axes(x: str, y: str, *, legend: bool = True) -> Iterator[tuple[Figure, Axes]]:
    """Yield a new figure and its axes; a legend goes above the axes, where it covers nothing."""
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=_INCHES, layout="constrained")
        axes = figure.subplots()
        yield figure, axes
        axes.set(xlabel=x, ylabel=y)
        if legend:
            axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2)
