"""A slice and its tissue, prepared for taking lesions from it or inserting lesions into it."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medvae.intensity import Canvas
from medvae.records import Finding
from medvae.render._contract import Scene

GRAIN = 1 / 128
"""Smallest length, in canvas widths, that matters to the level of the surroundings."""

Window = tuple[slice, slice]
"""Rows and columns of a part of a slice."""

_TISSUE = 0.12
"""Tissue is brighter than this fraction of the window, or of the part that the slice uses."""

_BRIGHTEST, _DARKEST = 0.99, 0.25
"""Quantile of a slice's levels that defines its brightness, and the least brightness assumed: the
noise of a slice that shows no body must not be taken for one."""

# A brain lesion must not cover the skull, which is dark, or the fat on it, which is bright.
_DARK, _BRIGHT = 0.5, 1.6

_AIR, _OUTLINE = -1000.0, -500.0
_ALIKE = 200.0


@dataclass(frozen=True)
class Frame:
    """The locations of a slice's pixels, ``(y, x)`` in widths of its canvas.

    y increases downwards and x to the right in standard orientation, whatever that of the file.

    Attributes:
        canvas: Canvas on which the slice lies.
        width: Width of the canvas in millimetres; None if the spacing is unknown.
    """

    canvas: Canvas
    width: float | None

    @classmethod
    def of(cls, scene: Scene) -> Frame:
        """Create the frame of a slice."""
        canvas = scene.canvas
        sides = scene.spacing or (0.0, 0.0)
        if not all(math.isfinite(side) and side > 0 for side in sides):
            return cls(canvas, None)
        # The extent is a whole number of canvas pixels, so the two axes can differ a little.
        widths = (
            side * native / extent * canvas.size
            for side, native, extent in zip(sides, canvas.native, canvas.extent, strict=True)
        )
        return cls(canvas, math.sqrt(math.prod(widths)))

    @property
    def pixel(self) -> tuple[float, float]:
        """Height and width of a pixel in canvas widths, negative where the axis is reversed."""
        height, width = (
            extent / native / self.canvas.size
            for extent, native in zip(self.canvas.extent, self.canvas.native, strict=True)
        )
        flip_rows, flip_columns = self.canvas.flip_rows, self.canvas.flip_columns
        return -height if flip_rows else height, -width if flip_columns else width

    @property
    def sides(self) -> tuple[float, float]:
        """Height and width of a pixel in canvas widths, both positive."""
        height, width = self.pixel
        return abs(height), abs(width)

    def place(self, row: float, column: float) -> tuple[float, float]:
        """Return the location of the centre of a pixel; fractional indices lie between centres."""
        x, y = column + 0.5, row + 0.5
        ((x, y, _, _),) = self.canvas.boxes(np.array([[x, y, x, y]])) / self.canvas.size
        return float(y), float(x)

    def index(self, y: float, x: float) -> tuple[float, float]:
        """Return the row and the column of the pixel whose centre lies at a location."""
        ((x, y, _, _),) = self.canvas.boxes_back(np.array([[x, y, x, y]]) * self.canvas.size)
        return float(y) - 0.5, float(x) - 0.5


@dataclass(frozen=True)
class Levels:
    """The units in which a lesion is compared with its surroundings.

    Attributes:
        zero, one: Values in the file's units whose levels are 0 and 1.
        absolute: Whether levels are in the file's own units; otherwise the window of the slice is
            0 to 1.
    """

    zero: float
    one: float
    absolute: bool

    @classmethod
    def of(cls, scenes: Sequence[Scene]) -> Levels:
        """Choose common levels for slices of one series, whose values mean the same on each."""
        if scenes[0].absolute:
            return cls(0.0, 1.0, True)
        low = float(np.median([scene.intensity.low for scene in scenes]))
        high = float(np.median([scene.intensity.high for scene in scenes]))
        return cls(low, high - low or 1.0, False)

    @property
    def darkest(self) -> float:
        """The level of empty space."""
        return _AIR if self.absolute else 0.0

    @property
    def least_noise(self) -> float:
        """The least noise that is assumed."""
        return 1.0 if self.absolute else 1e-3

    def of_values(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the levels of values; they are not clipped."""
        levels: NDArray[np.float32] = (values - np.float32(self.zero)) / np.float32(self.one)
        return levels

    def to_values(self, levels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the values that have these levels."""
        values: NDArray[np.float32] = levels * np.float32(self.one) + np.float32(self.zero)
        return values


@dataclass(frozen=True, eq=False)
class Ground:
    """A slice with what must be known about it before a lesion can be inserted.

    Tissue is detected from means over blocks of one grain, so that neither noise nor small vessels
    make holes in it. In relative units, tissue is what is not dark compared with the brightest
    parts of the slice; in absolute units, it is everything within the outline of the body, since
    the level of the lung is close to that of the air outside.

    Attributes:
        scene: The slice.
        frame: Locations of its pixels.
        block: Rows and columns of a block.
        levels: Mean level of each block.
        inside: Blocks that hold tissue, or lie within the body.
    """

    scene: Scene
    frame: Frame
    block: tuple[int, int]
    levels: NDArray[np.float32]
    inside: NDArray[np.bool_]

    @classmethod
    def of(cls, scene: Scene) -> Ground:
        """Prepare a slice."""
        frame, units = Frame.of(scene), Levels.of([scene])
        height, width = (max(1, round(GRAIN / side)) for side in frame.sides)
        pixels = units.of_values(scene.values)
        if scene.padding is not None:
            pixels = np.where(scene.padding, np.float32(units.darkest), pixels)
        levels = block_means(pixels, (height, width))
        if units.absolute:
            inside = _within_outline(levels > _OUTLINE)
        else:
            # With a fixed window, or that of a whole series, some slices are dark.
            bright = np.clip(np.quantile(levels, _BRIGHTEST), _DARKEST, 1)
            inside = levels > _TISSUE * bright
        return cls(scene, frame, (height, width), levels, inside)

    @property
    def midline(self) -> float:
        """The middle of the body, in canvas widths from the left."""
        columns = np.flatnonzero(self.inside) % self.inside.shape[1]
        if not len(columns):
            return 0.5
        return self.frame.place(0, (float(columns.mean()) + 0.5) * self.block[1] - 0.5)[1]

    def tissue(
        self, window: Window, near: NDArray[np.bool_], level: float | None = None
    ) -> NDArray[np.bool_]:
        """Return where there is tissue like that around a lesion.

        Args:
            window: Part of the slice to look at.
            near: Pixels of the window near the lesion; their median level is the reference.
            level: Reference level to use instead where units are absolute.
        """
        levels = self._spread(self.levels, window)
        tissue: NDArray[np.bool_] = self._spread(self.inside, window)
        if self.scene.padding is not None:
            tissue &= ~self.scene.padding[window]
        if level is None or not self.scene.absolute:
            found = levels[near & tissue]
            level = float(np.median(found)) if len(found) else 0.0
        if self.scene.absolute:
            tissue &= np.abs(levels - level) <= _ALIKE
        else:
            tissue &= (levels >= _DARK * level) & (levels <= _BRIGHT * level)
        return tissue

    def _spread(self, blocks: NDArray[Any], window: Window) -> NDArray[Any]:
        """Return the value of its block for each pixel of a part of the slice."""
        rows, columns = (
            np.arange(part.start, part.stop) // size
            for part, size in zip(window, self.block, strict=True)
        )
        return blocks[rows][:, columns]

    def taken(self, window: Window, but: Collection[int] = ()) -> NDArray[np.bool_]:
        """Return where findings lie in a part of the slice, except those indexed by ``but``."""
        taken = np.zeros([w.stop - w.start for w in window], dtype=np.bool_)
        for index, finding in enumerate(self.scene.labels):
            if index not in but:
                taken |= region(finding, window)
        return taken


def region(finding: Finding, window: Window, ellipse: bool = False) -> NDArray[np.bool_]:
    """Return which pixels of a part of a slice a finding covers.

    Args:
        finding: Finding, taken by its mask if it has one and by its box otherwise.
        window: Part of the slice.
        ellipse: Whether to use the ellipse in the box, not the whole box.
    """
    rows, columns = (np.arange(w.start, w.stop) for w in window)
    if finding.mask is not None:
        return _cut(finding.mask.crop, rows - finding.mask.row, columns - finding.mask.column)
    x0, y0, x1, y1 = finding.box
    if ellipse:
        y = (2 * rows + 1 - y0 - y1) / max(y1 - y0, 1e-9)
        x = (2 * columns + 1 - x0 - x1) / max(x1 - x0, 1e-9)
        inscribed: NDArray[np.bool_] = np.hypot(y[:, None], x) <= 1
        return inscribed
    # This includes the pixels that the box covers in part.
    return ((rows < y1) & (rows + 1 > y0))[:, None] & (columns < x1) & (columns + 1 > x0)


def _cut(
    crop: NDArray[np.bool_], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return these rows and columns of ``crop``; nothing is set beyond it."""
    height, width = crop.shape
    part: NDArray[np.bool_] = np.pad(crop, 1)[
        np.ix_(rows.clip(-1, height) + 1, columns.clip(-1, width) + 1)
    ]
    return part


def block_means(values: NDArray[np.float32], block: tuple[int, int]) -> NDArray[np.float32]:
    """Return the mean of each block; the last blocks are filled up with the edge pixels."""
    shape = [math.ceil(n / b) for n, b in zip(values.shape, block, strict=True)]
    filled = [(0, s * b - n) for s, b, n in zip(shape, block, values.shape, strict=True)]
    blocks = np.pad(values, filled, mode="edge").reshape(shape[0], block[0], shape[1], block[1])
    means: NDArray[np.float32] = blocks.mean(axis=(1, 3), dtype=np.float32)
    return means


def _within_outline(bright: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest bright piece, with everything that it encloses."""
    pieces, count = ndimage.label(bright)
    if count > 1:
        bright = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(bright)
    return filled
