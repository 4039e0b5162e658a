"""The locations of a slice's pixels in standard orientation, and their sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from medvae.intensity import Canvas
from medvae.render._contract import Scene

__all__ = ["Frame"]


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
