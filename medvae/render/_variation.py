"""Random variation of a lesion that is inserted into another slice."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ROTATION = 0.6
_SHRINK, _GROW = 0.4, 0.35
_ASPECT = 0.2
_CONTRAST = 0.25
_SHIFT = 6 / 128
_BEND = 0.65
_KNOTS = np.arange(-8.0, 9.0)
_KNOT_GRAINS = 8.0


@dataclass(frozen=True, eq=False)
class Variation:
    """A variation of a lesion about its centre, and of its location.

    Attributes:
        rotation: Rotation in radians.
        mirror: Whether the lesion is mirrored, left to right.
        scale: Factor of its size.
        aspect: Factor of its height, and divisor of its width.
        bend: Root mean square displacement of the elastic field, in grains.
        knots: Coefficients of the elastic field, ``[2, 17, 17]``.
        contrast: Factor of its difference from its surroundings.
        across: Whether it is placed at the mirror image of its own location.
        shift: Shift from there, down and to the right, in canvas widths.
    """

    rotation: float
    mirror: bool
    scale: float
    aspect: float
    bend: float
    knots: NDArray[np.float64]
    contrast: float
    across: bool
    shift: tuple[float, float]

    @classmethod
    def draw(cls, random: np.random.Generator, strength: float) -> Variation:
        """Draw a variation; at strength 0 there is none, and at 1 it has the recipe's strength."""
        uniform = random.uniform
        often = 0.5 * min(strength, 1.0)
        rotation = uniform(-_ROTATION, _ROTATION) * strength
        scale = math.exp(uniform(-_SHRINK, _GROW) * strength)
        aspect = math.exp(uniform(-_ASPECT, _ASPECT) * strength)
        contrast = math.exp(uniform(-_CONTRAST, _CONTRAST) * strength)
        bend = uniform(0, _BEND) * strength
        mirror, across = (bool(random.random() < often) for _ in range(2))
        down, right = (float(step) for step in random.normal(0, _SHIFT, 2) * strength)
        knots = random.standard_normal((2, len(_KNOTS), len(_KNOTS)))
        return cls(rotation, mirror, scale, aspect, bend, knots, contrast, across, (down, right))

    @property
    def forwards(self) -> NDArray[np.float64]:
        """The matrix ``[2, 2]`` that maps (y, x) on the donor to the host."""
        side = -1.0 if self.mirror else 1.0
        stretch = np.diag([self.scale * self.aspect, side * self.scale / self.aspect])
        matrix: NDArray[np.float64] = stretch @ _turn(-self.rotation)
        return matrix

    @property
    def backwards(self) -> NDArray[np.float64]:
        """The matrix ``[2, 2]`` that maps (y, x) on the host to the donor."""
        side = -1.0 if self.mirror else 1.0
        shrink = np.diag([1 / (self.scale * self.aspect), side * self.aspect / self.scale])
        matrix: NDArray[np.float64] = _turn(self.rotation) @ shrink
        return matrix

    def elastic(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the elastic field, ``[2, rows, columns]`` in grains.

        It is smooth over 8 grains and depends on the location, not on the pixels that are sampled.

        Args:
            y, x: Locations of the rows and the columns, in grains from the centre of the lesion.
        """
        down, right = (
            np.exp(-0.5 * (places[:, None] / _KNOT_GRAINS - _KNOTS) ** 2) for places in (y, x)
        )
        # Not a matrix product, whose rounding may depend on the number of threads.
        field: NDArray[np.float64] = np.einsum(
            "ri,kic->krc", down, np.einsum("kij,cj->kic", self.knots, right)
        )
        return field * (self.bend / math.sqrt(math.pi))

    @property
    def numbers(self) -> dict[str, float]:
        """The parameters of the variation, for the manifest."""
        return {
            "rotation": self.rotation,
            "mirror": float(self.mirror),
            "scale": self.scale,
            "aspect": self.aspect,
            "bend": self.bend,
            "contrast": self.contrast,
            "across": float(self.across),
            "shift_down": self.shift[0],
            "shift_right": self.shift[1],
        }


def _turn(angle: float) -> NDArray[np.float64]:
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]])
