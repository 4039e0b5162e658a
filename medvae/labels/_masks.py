"""Mask files: which images they belong to, what their values mean, and masks that are pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from medvae.files import is_mask_name, without_mask_word
from medvae.labels._format import LabelFormat, LabelSource
from medvae.labels._ledger import Ledger, Record
from medvae.labels._match import SliceIndex, UnusableError, stem
from medvae.records import Category, Mask

_TOUCHING = np.ones((3, 3), dtype=np.int8)
_MOST_PIECES = 1000

_FEW_BITS = re.compile(r"L;([24])")
_NUMBERS = ("1", "L", "P", "I", "F", "I;16", "I;16B")


class MaskFormat(LabelFormat):
    """A format of masks, recognised by the endings of file names.

    Attributes:
        endings: Endings of the file names.
    """

    endings: ClassVar[tuple[str, ...]]

    def holds(self, source: LabelSource) -> bool:
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
    return named or [p for p in files if not index.of_file(p)] or files


def add_masks(
    record: Record,
    values: NDArray[Any],
    category: Callable[[int], Category] = lambda value: Category(f"label_{value}"),
) -> None:
    """Add each connected piece of each value in a mask; touching corners connect pixels.

    Args:
        record: Record of the only slice of the mask.
        values: Array of shape ``[rows, columns]``, 0 where there is nothing.
        category: Function that returns the category of a value.

    Raises:
        UnusableError: The values are not those of a mask. Nothing is then added.
    """
    if (values.dtype.kind == "f" and (values != np.rint(values)).any()) or values.min() < 0:
        raise UnusableError(
            "holds values that are not whole numbers from 0, so it is not a mask; ignored"
        )
    found: list[tuple[Category, Mask]] = []
    for value in np.unique(values[values != 0]):
        pieces, count = ndimage.label(values == value, structure=_TOUCHING)
        if len(found) + count > _MOST_PIECES:
            raise UnusableError(
                f"has over {_MOST_PIECES} pieces on a slice, so it is not a mask; ignored"
            )
        for number, where in enumerate(ndimage.find_objects(pieces), start=1):
            row, column = (int(side.start) for side in where)
            found.append((category(int(value)), Mask(row, column, pieces[where] == number)))
    for name, mask in found:
        record.add(name, mask)
    record.mention()


class MaskPictures(MaskFormat):
    """Masks stored as pictures, with the names of the pictures that they belong to."""

    name = "mask pictures"
    endings = (".png", ".tif", ".tiff", ".bmp", ".gif")

    def read(self, source: LabelSource, ledger: Ledger) -> str:
        """Read a mask picture, or a folder of them that is parallel to that of the pictures."""
        folder = source.folder
        files = mask_files(source.files, self.endings, ledger.index)
        index = ledger.index.without(files)
        for file in files:
            ledger.files.append(file)
            where = file.relative_to(folder).as_posix()
            with ledger.record(where):
                mask = PurePosixPath(where)
                beside = (
                    where if index.files(where, folder) else mask.parent / image_stem(mask.name)
                )
                _read_picture(where, file, str(beside), folder, index, ledger)
        return self.name


def _read_picture(
    where: str, file: Path, name: str, folder: Path, index: SliceIndex, ledger: Ledger
) -> None:
    """Read one file, each page of which is the mask of one page of the picture."""
    try:
        with Image.open(file) as picture:
            pages = getattr(picture, "n_frames", 1)
            for page in range(pages):
                slice_ = index.slice(name, folder, frame=page if pages > 1 else None)
                picture.seek(page)
                ledger.claim(file, slice_)
                with ledger.record(where, slice_) as record:
                    add_masks(record, _values(picture, slice_.shape))
    # Pillow raises SyntaxError for a broken PNG.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnusableError(f"cannot be read: {error}") from error


def _values(picture: Image.Image, shape: tuple[int, int]) -> NDArray[np.generic]:
    rows, columns = shape
    if (picture.height, picture.width) != (rows, columns):
        size = f"{picture.height}x{picture.width}"
        raise UnusableError(f"is {size}, but its slice is {rows}x{columns}; ignored")
    raw_mode = _raw_mode(picture)
    if picture.mode in ("RGB", "RGBA") and ";1" in raw_mode:
        # Pillow silently converts 15 and 16 bits to 8.
        raise UnusableError("has 16-bit colours or alpha, which cannot be read exactly; ignored")
    values: NDArray[Any] = np.asarray(picture)
    if picture.mode in ("1", "L") and "I" in raw_mode.partition(";")[2]:
        values = ~values  # Pillow inverts pictures in which zero is white
    if picture.mode == "L" and (bits := _FEW_BITS.match(raw_mode)):
        # Pillow rescales the few values to the range from 0 to 255.
        values = values // (255 // (2 ** int(bits[1]) - 1))
    if picture.mode in _NUMBERS:
        return values
    if picture.mode == "RGB" and (values == values[..., :1]).all():
        return values[..., 0]
    raise UnusableError(f"has pixels in {picture.mode}, which hold no label values; ignored")


def _raw_mode(picture: Image.Image) -> str:
    """Return the pixel layout in the file, such as ``L;4``; empty once pixels are loaded."""
    tiles = getattr(picture, "tile", ())
    arguments = (tiles[0].args if tiles else "") or ""
    return arguments if isinstance(arguments, str) else str(arguments[0])
