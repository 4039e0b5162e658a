"""The location of a moved lesion on one slice of a host, before any pixel is changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medvae.records import Finding, Mask
from medvae.render._ground import Ground, Levels, Window, block_means
from medvae.render._lesion import RING, TOUCHING
from medvae.render._move import Move

_LEAST_IN_TISSUE = 0.97
_LEAST_ON_A_SLICE = 0.8
_EDGE_REACH = 3.0
_LOCAL = 3.0
_FAR = 0.05


@dataclass(frozen=True, eq=False)
class Site:
    """The site of the lesion on a slice; every array has the shape of the window.

    Attributes:
        move: Mapping from the pixels of the slice to the lesion.
        host: Slice that receives the lesion.
        position: Position along the normal of the donor.
        window: Part of the slice that shows the lesion and its surroundings.
        places: Donor row and column of each pixel, ``[2, rows, columns]``.
        distance: Distance from the outline in grains, negative inside.
        tissue: Pixels where the host has tissue like that around the lesion.
        taken: Pixels where the host has other findings.
    """

    move: Move
    host: Ground
    position: float
    window: Window
    places: NDArray[np.float64]
    distance: NDArray[np.float32]
    tissue: NDArray[np.bool_]
    taken: NDArray[np.bool_]

    @classmethod
    def of(
        cls, move: Move, host: Ground, position: float, window: Window, places: NDArray[np.float64]
    ) -> Site:
        """Create the site of a moved lesion."""
        size = move.stretch * move.variation.scale / move.grain
        distance = move.lesion.distance(position, places) * np.float32(size)
        tissue = host.tissue(window, distance <= RING[1], move.lesion.around.level)
        return cls(move, host, position, window, places, distance, tissue, host.taken(window))

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """The pixels of the lesion."""
        return self.distance < 0

    @property
    def at_the_border(self) -> bool:
        """Whether the border of the slice may cut the lesion."""
        shown = self.mask
        for lines, part, count in zip((shown, shown.T), self.window, self.move.shape, strict=True):
            if (part.start == 0 and lines[0].any()) or (part.stop == count and lines[-1].any()):
                return True
        return False

    @property
    def on_padding(self) -> bool:
        """Whether part of the lesion lies where there is no image."""
        padding = self.host.scene.padding
        return padding is not None and bool((self.mask & padding[self.window]).any())

    @property
    def falls_apart(self) -> bool:
        """Whether the lesion has more pieces than on the donor."""
        pieces = max(section.pieces for section, _ in self.move.lesion.near(self.position))
        return bool(ndimage.label(self.mask, TOUCHING)[1] > pieces)

    @cached_property
    def edge(self) -> NDArray[np.float32]:
        """The donor's share of each pixel: 1 inside, exactly 0 beyond the edge."""
        sigma = [self.move.grain / side for side in self.move.frame.sides]
        # Half of the ramp of a smoothed mask lies within the mask. If the lesion faded there, it
        # would look smaller than its box; around it, the donor blends into the lesion anyway.
        share: NDArray[np.float32] = 2 * ndimage.gaussian_filter(
            self.mask.astype(np.float32), sigma, truncate=_EDGE_REACH, mode="constant"
        )
        if self.host.scene.padding is not None:
            share[self.host.scene.padding[self.window]] = 0
        return share.clip(max=1)

    @property
    def around(self) -> NDArray[np.bool_]:
        """The surroundings that the lesion must fit into."""
        return self._free & (self.distance <= RING[1])

    @property
    def _free(self) -> NDArray[np.bool_]:
        return self.tissue & ~self.mask & ~self.taken

    def levels(self, units: Levels) -> NDArray[np.float32]:
        """Return the host's own levels in the window."""
        return units.of_values(self.host.scene.values[self.window])

    def local_level(self, units: Levels, level: float) -> NDArray[np.float32]:
        """Return the mean level of the host near each pixel, or ``level`` far inside the lesion."""
        sides = self.move.frame.sides
        height, width = (max(1, round(self.move.grain / side)) for side in sides)
        sigma = [
            _LOCAL * self.move.grain / side / size
            for side, size in zip(sides, (height, width), strict=True)
        ]
        weights = self._free.astype(np.float32)
        total, weight = (
            ndimage.gaussian_filter(block_means(part, (height, width)), sigma)
            for part in ((self.levels(units) - np.float32(level)) * weights, weights)
        )
        fine = ndimage.zoom(
            total / (weight + np.float32(_FAR)),
            (height, width),
            order=1,
            mode="nearest",
            grid_mode=True,
        )
        rows, columns = weights.shape
        local: NDArray[np.float32] = fine[:rows, :columns] + np.float32(level)
        return local

    @property
    def findings(self) -> list[Finding]:
        """The labels of the lesion here: one finding, or one per piece if the donor has several."""
        lesion, mask = self.move.lesion, self.mask
        if max(section.findings for section, _ in lesion.near(self.position)) == 1:
            pieces = [mask]
        else:
            numbered, count = ndimage.label(mask, TOUCHING)
            pieces = [numbered == number for number in range(1, count + 1)]
        found = []
        for cut in filter(None, map(Mask.of, pieces)):
            row, column = cut.row + self.window[0].start, cut.column + self.window[1].start
            moved = Mask(row, column, cut.crop)
            found.append(Finding(lesion.category, moved.box, moved if lesion.masked else None))
        return found


def objection(sites: Sequence[Site]) -> str | None:
    """Return why the lesion cannot be placed at these sites, or None if it can."""
    if not sites:
        return "too small"
    if any(site.at_the_border for site in sites):
        return "at the border"
    least = min(share_in_tissue([site]) for site in sites)
    if share_in_tissue(sites) < _LEAST_IN_TISSUE or least < _LEAST_ON_A_SLICE:
        return "not in tissue"
    if any(site.on_padding for site in sites):
        return "not in tissue"
    if any(site.falls_apart for site in sites):
        return "in pieces"
    if any((site.taken & (site.edge > 0)).any() for site in sites):
        return "on another finding"
    return None


def share_in_tissue(sites: Sequence[Site]) -> float:
    """Return the fraction of the whole lesion that lies in tissue."""
    inside = sum(int((site.mask & site.tissue).sum()) for site in sites)
    return inside / sum(int(site.mask.sum()) for site in sites)
