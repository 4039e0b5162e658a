"""The choice of hosts for a lesion: slices of other patients that look similar around its site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medvae.randomness import generator
from medvae.records import Slice
from medvae.render._contract import Scene, is_absolute

Thumbnail = NDArray[np.uint8]
"""Small picture of a slice on its canvas, ``[64, 64]``; 255 is the model's 1."""

MOST_HOSTS = 24
"""Number of hosts that are considered before a lesion is refused: large lesions fit into few."""

THUMBNAIL_SIDE = 64
"""Side of a thumbnail in pixels."""

_SHARE = 0.1
_CANDIDATES = 4096
"""Number of slices that are compared with the site of a lesion, at most."""

_AROUND, _LEAST_SIDE = 2.0, 3 / 16
"""Size of the site as a multiple of the lesion's box, and its minimum in canvas widths."""

_DARKEST = 13.0
"""Least level, in values of a thumbnail, by which levels are divided."""


class Thumbnails(Protocol):
    """Thumbnails of slices, which may lie in memory or in a file."""

    def __getitem__(self, rows: NDArray[np.intp], /) -> NDArray[np.uint8]: ...


def thumbnail(picture: NDArray[np.float32]) -> Thumbnail:
    """Return the thumbnail of a slice as the model sees it."""
    small = np.asarray(
        Image.fromarray(picture).resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
    )
    result: Thumbnail = np.rint(small.clip(0, 1) * 255).astype(np.uint8)
    return result


@dataclass(frozen=True, eq=False)
class Vicinity:
    """A slice around the site of a lesion.

    Attributes:
        key, group: Pseudonyms of the slice and its patient.
        absolute: Whether the units of the slice are absolute, as in CT.
        thumbnail: Thumbnail of the slice.
        box: Left, top, right and bottom of the lesion in canvas widths, ``[4]``.
    """

    key: str
    group: str
    absolute: bool
    thumbnail: Thumbnail
    box: NDArray[np.float64]

    @classmethod
    def of(cls, scene: Scene, finding: int, small: Thumbnail | None = None) -> Vicinity:
        """Return the vicinity of a finding, given by its index; pass the thumbnail if known."""
        native, small = scene.slice, thumbnail(scene.picture()) if small is None else small
        box = scene.canvas.boxes(scene.labels.boxes)[finding] / scene.canvas.size
        return cls(native.key, native.group, scene.absolute, small, box)


class Hosts:
    """Slices among which hosts are chosen.

    Args:
        slices: The slices, which are free of findings.
        thumbnails: Thumbnails of these and other slices.
        places: Index of the thumbnail of each slice.
    """

    def __init__(
        self, slices: Sequence[Slice], thumbnails: Thumbnails, places: Sequence[int]
    ) -> None:
        self._thumbnails, self._places = thumbnails, np.array(places, np.intp)
        self._groups = np.array([native.group for native in slices], dtype=np.str_)
        self._absolute = np.array([is_absolute(native) for native in slices], dtype=np.bool_)
        self._patients = set(zip(self._groups.tolist(), self._absolute.tolist(), strict=True))

    def have_other(self, donor: Slice) -> bool:
        """Return whether there is a slice for the lesions of a donor."""
        absolute = is_absolute(donor)
        return any(group != donor.group and same == absolute for group, same in self._patients)

    def similar(self, lesion: Vicinity) -> NDArray[np.intp]:
        """Return the rows of the tenth of the slices that differ least from a lesion's site.

        Slices of the same patient are left out. If there are many others, they are represented by
        some of them, drawn at random for each slice with lesions.
        """
        # The intensities of a lesion from CT cannot be matched to those of MR.
        others = (self._groups != lesion.group) & (self._absolute == lesion.absolute)
        rows = np.flatnonzero(others)
        if len(rows) > _CANDIDATES:
            random = generator(0, "hosts", lesion.key)
            rows = np.sort(random.choice(rows, _CANDIDATES, replace=False))
        return rows[most_similar(self.differences(lesion, rows), MOST_HOSTS)]

    def differences(
        self, lesion: Vicinity, rows: Sequence[int] | NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """Return how much slices differ from that of a lesion around its site.

        A transplant is matched to the level of its surroundings, so their levels do not count.
        """
        left, top, right, bottom = lesion.box * THUMBNAIL_SIDE
        middle = np.array([left + right, top + bottom]) / 2
        sides = np.array([right - left, bottom - top])
        reach = np.maximum(_AROUND * sides, _LEAST_SIDE * THUMBNAIL_SIDE) / 2
        first = np.floor(middle - reach).clip(0, THUMBNAIL_SIDE - 1).astype(int)
        last = np.ceil(middle + reach).clip(1, THUMBNAIL_SIDE).astype(int)
        y, x = np.mgrid[first[1] : last[1], first[0] : last[0]] + 0.5
        outside = (x < left) | (x > right) | (y < top) | (y > bottom)
        outside |= not outside.any()  # a box that covers the canvas
        window = slice(first[1], last[1]), slice(first[0], last[0])
        own = lesion.thumbnail[window][outside].astype(np.float32)
        thumbnails = self._thumbnails[self._places[rows]]
        theirs = thumbnails[:, *window][:, outside].astype(np.float32)
        level, levels = np.median(own), np.median(theirs, axis=1, keepdims=True)
        if lesion.absolute:
            theirs += level - levels
        else:
            theirs *= max(level, _DARKEST) / np.maximum(levels, _DARKEST)
        found: NDArray[np.float32] = np.abs(theirs - own).mean(axis=1)
        return found


def most_similar(differences: NDArray[np.float32], least: int) -> NDArray[np.intp]:
    """Return the indices of the tenth with the least differences, of at least ``least``."""
    return np.argsort(differences, kind="stable")[: max(least, round(_SHARE * len(differences)))]
