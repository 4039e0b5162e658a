"""Conversion of the boxes and label maps of an image to findings that renders move, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.utils.type_conversion import convert_to_dst_type
from numpy.typing import NDArray
from scipy import ndimage

from medvae.errors import UsageProblem
from medvae.geometry import Box
from medvae.records import Category, Finding, Labels, Mask

_UNNAMED = Category("")

_TOUCHING = np.ones((3, 3), dtype=np.int8)
"""Pixels that touch at a corner belong to one piece, as when masks are read."""

_SLACK = 1.0
"""Largest difference, in pixels, between a box and the box of the piece of a map that fills it."""


class _Region(NamedTuple):
    """The region in which one channel of one label map has one value."""

    place: tuple[int, int]
    value: Any
    mask: Mask


@dataclass(frozen=True, eq=False)
class Marks:
    """The label maps and boxes of a slice.

    Attributes:
        maps: Label maps, each ``[C, rows, columns]`` of whole numbers; 0 is background.
        boxes: Sets of boxes ``(x0, y0, x1, y1)``, each ``[N, 4]``.
    """

    maps: tuple[NDArray[Any], ...]
    boxes: tuple[NDArray[np.float64], ...]

    def __post_init__(self) -> None:
        for labels in self.maps:
            if not np.array_equal(labels, np.rint(labels)):
                raise UsageProblem("a mask must hold whole numbers: give it as a label map")

    @cached_property
    def labels(self) -> Labels:
        """One finding for each value in each channel of each map, then one for each box.

        A box that is filled by a piece of a map, or by all pixels of one value, gets these as its
        mask, and is measured again on the moved mask.
        """
        regions = [Finding(_UNNAMED, region.mask.box, region.mask) for region in self._regions]
        boxes = [Box(*box) for own in self.boxes for box in own.tolist()]
        return Labels((*regions, *(Finding(_UNNAMED, box, self._filling(box)) for box in boxes)))

    def moved(self, labels: Labels) -> Marks | None:
        """Return the marks that moved findings correspond to, or None if one of them is lost."""
        if len(labels) < len(self.labels):
            return None
        maps = [np.zeros_like(old) for old in self.maps]
        count = len(self._regions)
        regions, rest = labels.findings[:count], iter(labels.findings[count:])
        for (place, value, _), finding in zip(self._regions, regions, strict=True):
            if finding.mask is not None:
                number, channel = place
                shown = finding.mask.on(maps[number].shape[1:])
                maps[number][channel][shown] = value
        boxes = [
            np.array([next(rest).box for _ in old], dtype=np.float64).reshape(-1, 4)
            for old in self.boxes
        ]
        return Marks(tuple(maps), tuple(boxes))

    @cached_property
    def _regions(self) -> list[_Region]:
        return [
            _Region((number, channel), value, mask)
            for number, labels in enumerate(self.maps)
            for channel, plane in enumerate(labels)
            for value in np.unique(plane)
            if value != 0 and (mask := Mask.of(plane == value)) is not None
        ]

    @cached_property
    def _pieces(self) -> list[Mask]:
        return [piece for region in self._regions for piece in _pieces_of(region.mask)]

    def _filling(self, box: Box) -> Mask | None:
        """Return the piece of a map that fills a box, or None."""

        def difference(piece: Mask) -> float:
            return float(np.abs(np.subtract(piece.box, box)).max())

        nearest = min(self._pieces, key=difference, default=None)
        return nearest if nearest is not None and difference(nearest) <= _SLACK else None


def _pieces_of(mask: Mask) -> Iterator[Mask]:
    """Yield a mask and, if it is not connected, its pieces."""
    yield mask
    numbered, count = ndimage.label(mask.crop, _TOUCHING)
    if count > 1:
        for number, (rows, columns) in enumerate(ndimage.find_objects(numbered), 1):
            crop = numbered[rows, columns] == number
            yield Mask(mask.row + rows.start, mask.column + columns.start, crop)


def numbers_of(boxes: Any) -> NDArray[np.float64]:
    """Return boxes, given as an array, tensor or list, as an array ``[N, 4]``."""
    found = torch.as_tensor(boxes).cpu().double().numpy()
    if found.size and found.shape[1:] != (4,):
        raise UsageProblem(f"boxes must be [N, 4], but are {list(found.shape)}")
    return found.reshape(-1, 4)


def like(new: NDArray[Any] | torch.Tensor, old: Any, dtype: torch.dtype | None = None) -> Any:
    """Return values in the form of ``old``: an array or tensor of its type, with its metadata.

    Args:
        new: Values to convert.
        old: Array, tensor or list whose form to use; a list counts as a tensor.
        dtype: Type to use instead of that of ``old``.
    """
    given = isinstance(old, torch.Tensor | np.ndarray)
    return convert_to_dst_type(new, old if given else torch.as_tensor(old), dtype=dtype)[0]


def boxes_like(new: NDArray[np.float64], old: Any) -> Any:
    """Return boxes in the form of ``old``, but never as integers, which would round them."""
    whole = not torch.as_tensor(old).is_floating_point()
    return like(new, old, torch.float32 if whole else None)
