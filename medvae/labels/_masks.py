"""Mask files: recognise them, name the images they belong to, and extract their findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medvae.labels._format import LabelFormat, LabelSource
from medvae.labels._match import SliceIndex, stem
from medvae.labels._problem import UnusableError
from medvae.mask_names import is_mask_name, without_mask_word
from medvae.records import Category, Mask

__all__ = ["MaskFormat", "image_stem", "mask_files", "masks_in"]

_TOUCHING = np.ones((3, 3), dtype=np.int8)
_MOST_PIECES = 1000


class MaskFormat(LabelFormat):
    """A format of masks, recognised by the endings of file names.

    Attributes:
        endings: Endings of the file names.
    """

    endings: ClassVar[tuple[str, ...]]

    def holds(self, source: LabelSource) -> bool:
        """Return whether the source contains such files."""
        return source.has(self.endings)

    def resembles(self, source: LabelSource) -> str | None:
        """Return the format's name if such a file is named as a mask."""
        return self.name if self.holds(source) and is_mask_name(source.path.name) else None


def image_stem(name: str) -> str:
    """Return a mask's name without its suffix and the word that identifies it as a mask."""
    return without_mask_word(name) if is_mask_name(name) else stem(name)


def mask_files(files: Sequence[Path], suffixes: tuple[str, ...], index: SliceIndex) -> list[Path]:
    """Return the masks among files.

    These are the files whose names say that they are masks; if there are none, those that are not
    also images; and otherwise all.
    """
    files = [path for path in files if path.name.lower().endswith(suffixes)]
    named = [p for p in files if is_mask_name(p.name)]
    return named or [p for p in files if not index.has_file(p)] or files


def _numbered(value: int) -> Category:
    """Return the category of a value in a mask that does not name categories."""
    return Category(f"label_{value}")


def masks_in(
    values: NDArray[Any], category: Callable[[int], Category] = _numbered
) -> Iterator[tuple[Category, Mask]]:
    """Yield each connected piece of each value in a mask; touching corners connect pixels.

    Args:
        values: Array of shape ``[rows, columns]``, 0 where there is nothing.
        category: Function that returns the category of a value.

    Raises:
        UnusableError: The values are not those of a mask.
    """
    if (values.dtype.kind == "f" and (values != np.rint(values)).any()) or values.min() < 0:
        raise UnusableError("holds values that are not whole numbers from 0: no mask, not used")
    pieces = 0
    for value in np.unique(values[values != 0]):
        pieces_of_value, count = ndimage.label(values == value, structure=_TOUCHING)
        pieces += count
        if pieces > _MOST_PIECES:
            raise UnusableError(f"has over {_MOST_PIECES} pieces on a slice: no mask, not used")
        for number, where in enumerate(ndimage.find_objects(pieces_of_value), start=1):
            row, column = (int(side.start) for side in where)
            yield category(int(value)), Mask(row, column, pieces_of_value[where] == number)
