"""Pixels as stored in a DICOM file, with the source's bits, scale and padding."""

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
"""Attributes that are read from the source."""


def describe_pixels(source: SourceFrame, new: NewPixels, target: Dataset) -> None:
    """Set the attributes that describe how pixels are stored, which is as in the source.

    Raises:
        WriteError: The map from stored integers to real values is not linear.
    """
    if new.scale is None or source.has("ModalityLUTSequence") or target.get("RescaleSlope") == 0:
        raise WriteError(
            "its real values come from a table instead of a slope; choose nifti or png"
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
    """Store new pixels in a dataset as its attributes describe."""
    stored = _stored(new, target)
    if "PixelPaddingValue" in target:
        stored = _beside_padding(stored, new.padding, target)
    data = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    kind = "OB" if target.BitsAllocated == 8 else "OW"
    target.add_new("PixelData", kind, data + b"\0" * (len(data) % 2))


def _limits(target: Dataset) -> tuple[int, int]:
    """Return the smallest and the largest integer that the stored bits can hold."""
    span = 2**target.BitsStored
    return (-span // 2, span // 2 - 1) if target.PixelRepresentation else (0, span - 1)


def _stored(new: NewPixels, target: Dataset) -> NDArray[Any]:
    """Return the integers that the dataset's slope and intercept map to the values."""
    slope, intercept = target.get("RescaleSlope", 1), target.get("RescaleIntercept", 0)
    scale = Scale(float(slope), float(intercept))
    # The scale of a constant source is a guess. Integers that give the right value are kept, so
    # that an unchanged pixel keeps its own among those with the same value.
    wrong = scale.values(new.stored).astype(np.float32) != new.values
    stored = new.stored.copy()
    stored[wrong] = scale.stored(new.values[wrong], stored.dtype)
    return stored.clip(*_limits(target))


def _beside_padding(
    stored: NDArray[Any], padding: NDArray[np.bool_] | None, target: Dataset
) -> NDArray[Any]:
    """Move pixels that would be mistaken for padding to the nearest integer that would not."""
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
