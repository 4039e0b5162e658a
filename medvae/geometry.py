"""Boxes on slices.

Coordinates on a slice are (x, y) in pixel edges: x increases with the column, y with the row,
and the pixel at row 0, column 0 covers the square from (0, 0) to (1, 1).
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Box"]


class Box(NamedTuple):
    """A box on a slice, in pixel edges."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        """The extent along x."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """The extent along y."""
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        """The area in pixels."""
        return self.width * self.height

    def iou(self, other: Box) -> float:
        """Return the intersection over union with another box, or 0 if both are empty."""
        width = max(0.0, min(self.x1, other.x1) - max(self.x0, other.x0))
        height = max(0.0, min(self.y1, other.y1) - max(self.y0, other.y0))
        common = width * height
        union = self.area + other.area - common
        return common / union if union > 0 else 0.0
