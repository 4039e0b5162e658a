"""Pixels as a DICOM file stores them: the source's bits, its scale and its padding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from medvae.errors import WriteError
from medvae.writers._dicom_source import SourceFrame
from medvae.writers._new_pixels import NewPixels, Scale

__all__ = ["PIXEL_KEYWORDS", "describe_pixels", "put_pixels"]

PIXEL_KEYWORDS = (
    *("PhotometricInterpretation", "BitsStored", "PixelRepresentation", "ModalityLUTSequence"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit"),
)
"""Attributes that are looked at."""


def describe_pixels(source: SourceFrame, new: NewPixels, target: Dataset) -> None:
    """Say in a dataset how its pixels will be stored: as they are in the source.

    Raises:
        WriteError: no line leads from the stored integers to real values.
    """
    if new.scale is None or source.has("ModalityLUTSequence") or target.get("RescaleSlope") == 0:
        raise WriteError(
            "a table, and no slope, leads from its stored to its real values: give nifti or png"
        )
    dtype = new.stored.dtype
    allocated, signed = 8 * dtype.itemsize, dtype.kind == "i"
    stored = source.integer("BitsStored", 16, False) or allocated
    target.SamplesPerPixel = 1
    inverted = source.text("PhotometricInterpretation") == "MONOCHROME1"
    target.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    target.Rows, target.Columns = new.stored.shape
    target.BitsAllocated = allocated
    target.BitsStored = min(stored, allocated)
    target.HighBit = target.BitsStored - 1
    target.PixelRepresentation = int(signed)
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = source.integer(keyword, allocated, signed)
        if value is not None and (keyword == "PixelPaddingValue" or "PixelPaddingValue" in target):
            target.add_new(keyword, "SS" if signed else "US", value)


def put_pixels(new: NewPixels, target: Dataset) -> None:
    """Store new pixels in a dataset that says how."""
    stored = _stored(new, target)
    if "PixelPaddingValue" in target:
        stored = _beside_padding(stored, new.padding, target)
    data = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    kind = "OB" if target.BitsAllocated == 8 else "OW"
    target.add_new("PixelData", kind, data + b"\0" * (len(data) % 2))


def _limits(target: Dataset) -> tuple[int, int]:
    """Return the least and the greatest integer that the stored bits hold."""
    span = 2**target.BitsStored
    return (-span // 2, span // 2 - 1) if target.PixelRepresentation else (0, span - 1)


def _stored(new: NewPixels, target: Dataset) -> NDArray[Any]:
    """Return the integers of the values by the slope and the intercept in the dataset."""
    slope, intercept = target.get("RescaleSlope", 1), target.get("RescaleIntercept", 0)
    scale = Scale(float(slope), float(intercept))
    # The scale of a flat source is a guess. Where it was right, the integers are: of those that
    # have the same value, an unchanged pixel has its own.
    wrong = scale.values(new.stored).astype(np.float32) != new.values
    stored = new.stored.copy()
    stored[wrong] = scale.stored(new.values[wrong], stored.dtype)
    return stored.clip(*_limits(target))


def _beside_padding(
    stored: NDArray[Any], padding: NDArray[np.bool_] | None, target: Dataset
) -> NDArray[Any]:
    """Move what would look like padding, and is none, to the nearest integer that does not."""
    value = target.PixelPaddingValue
    low, high = sorted((value, target.get("PixelPaddingRangeLimit", value)))
    wrong = (stored >= low) & (stored <= high)
    if padding is not None:
        wrong &= ~padding
    least, most = _limits(target)
    found = stored[wrong].astype(np.int64)
    down = (high == most) | ((found - low < high - found) & (low > least))
    moved = stored.copy()
    moved[wrong] = np.where(down, low - 1, high + 1)
    return moved
