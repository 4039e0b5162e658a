"""The location of a varied lesion in a host."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medvae.render._ground import GRAIN, Frame, Ground, Window
from medvae.render._lesion import Lesion
from medvae.render._variation import Variation

_MARGIN = 6.0
_BENDS = 3.0


@dataclass(frozen=True, eq=False)
class Move:
    """The mapping from the pixels of a host to the lesion.

    Attributes:
        frame: Frame of the host.
        shape: Rows and columns of the host.
        centre: Row and column of the host at which the lesion's centre is placed.
        grain: Unit of edges and surroundings, in canvas widths of the host.
        stretch: Canvas widths of the host in one of the donor, before the lesion is varied.
    """

    lesion: Lesion
    variation: Variation
    frame: Frame
    shape: tuple[int, int]
    centre: tuple[float, float]
    grain: float
    stretch: float

    @classmethod
    def of(cls, lesion: Lesion, variation: Variation, host: Ground) -> Move:
        """Place a lesion in a host."""
        y, x = lesion.place
        if variation.across:
            x = 2 * host.midline - x
        down, right = variation.shift
        donor, own = lesion.frame.width, host.frame.width
        stretch = 1.0 if donor is None or own is None else donor / own
        # A lesion of few pixels must not consist of its edge alone.
        grain = min(GRAIN, lesion.radius * stretch * variation.scale / 2)
        centre = host.frame.index(y + down, x + right)
        return cls(lesion, variation, host.frame, host.frame.canvas.native, centre, grain, stretch)

    @property
    def window(self) -> Window | None:
        """The part of the host around the lesion; None if its centre is outside the host."""
        corners = self.lesion.corners @ self.variation.forwards.T * self.stretch
        margin = (_MARGIN + _BENDS * self.variation.bend) * self.grain
        window = []
        for axis, (centre, count) in enumerate(zip(self.centre, self.shape, strict=True)):
            if not 0 <= centre <= count - 1:
                return None
            side = self.frame.sides[axis]
            offsets = corners[:, axis] / self.frame.pixel[axis]
            first = math.floor(centre + offsets.min() - margin / side)
            last = math.ceil(centre + offsets.max() + margin / side)
            window.append(slice(max(0, first), min(count, last + 1)))
        return window[0], window[1]

    @property
    def step(self) -> tuple[float, float]:
        """Donor rows per host row and donor columns per host column, before the variation."""
        height, width = (
            own / donor / self.stretch
            for own, donor in zip(self.frame.sides, self.lesion.frame.sides, strict=True)
        )
        return height, width

    def places(self, window: Window) -> NDArray[np.float64]:
        """Return the row and the column in the donor's sections that each pixel shows."""
        y, x = (
            (np.arange(part.start, part.stop, dtype=np.float64) - centre) * pixel
            for part, centre, pixel in zip(window, self.centre, self.frame.pixel, strict=True)
        )
        bend = self.variation.elastic(y / self.grain, x / self.grain) * self.grain
        down, right = bend[0] + y[:, None], bend[1] + x
        return np.stack(
            [
                (of_down * down + of_right * right) / pixel + centre
                for (of_down, of_right), pixel, centre in zip(
                    self.variation.backwards / self.stretch,
                    self.lesion.frame.pixel,
                    self.lesion.centre,
                    strict=True,
                )
            ]
        )
