"""Where the pixels of a slice lie in standard orientation, and how large they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from medvae.intensity import Canvas
from medvae.render._contract import Scene

__all__ = ["Frame"]


@dataclass(frozen=True)
class Frame:
    """The places of a slice's pixels, ``(y, x)`` in widths of its canvas.

    y grows downwards and x to the right in standard orientation, however the file has it.

    Attributes:
        canvas: where the slice lies.
        width: of the canvas in millimetres; None where the spacing is unknown.
    """

    canvas: Canvas
    width: float | None

    @classmethod
    def of(cls, scene: Scene) -> Frame:
        """Take the frame of a slice."""
        canvas = scene.canvas
        sides = scene.spacing or (0.0, 0.0)
        if not all(math.isfinite(side) and side > 0 for side in sides):
            return cls(canvas, None)
        # The extent is a whole number of canvas pixels, so that the two axes can differ a little.
        widths = (
            side * native / extent * canvas.size
            for side, native, extent in zip(sides, canvas.native, canvas.extent, strict=True)
        )
        return cls(canvas, math.sqrt(math.prod(widths)))

    @property
    def pixel(self) -> tuple[float, float]:
        """Height and width of a pixel in widths, negative where the axis is reversed."""
        height, width = (
            extent / native / self.canvas.size
            for extent, native in zip(self.canvas.extent, self.canvas.native, strict=True)
        )
        flip_rows, flip_columns = self.canvas.flip_rows, self.canvas.flip_columns
        return -height if flip_rows else height, -width if flip_columns else width

    @property
    def sides(self) -> tuple[float, float]:
        """Height and width of a pixel in widths, both positive."""
        height, width = self.pixel
        return abs(height), abs(width)

    def place(self, row: float, column: float) -> tuple[float, float]:
        """Return where the centre of a pixel lies; between the centres, the places between."""
        x, y = column + 0.5, row + 0.5
        ((x, y, _, _),) = self.canvas.boxes(np.array([[x, y, x, y]])) / self.canvas.size
        return float(y), float(x)

    def index(self, y: float, x: float) -> tuple[float, float]:
        """Return the row and the column whose centre lies there."""
        ((x, y, _, _),) = self.canvas.boxes_back(np.array([[x, y, x, y]]) * self.canvas.size)
        return float(y) - 0.5, float(x) - 0.5
