"""PNG: an image of 8 or 16 bits for each slice."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from medvae.atomic import write_bytes
from medvae.records import Series
from medvae.writers._new_pixels import NewPixels, Scale, slice_names


def write(
    folder: Path, series: Series, pixels: Sequence[NewPixels], place: int | None = None
) -> list[Path]:
    """Write each slice as ``KEY/PLACE_KEY.png``, with the keys of the series and of the slice.

    Unsigned integers of 8 or 16 bits are written as they would be stored: nothing is lost, and
    images of a series can be compared. Signed integers are shifted by 128 or 32768. All other
    values, such as floats, are scaled from minimum to maximum to 16 bits, slice by slice. A slice
    whose low values are shown bright is inverted, because PNG cannot record that. The comment in
    the file states how to convert its integers to real units.

    The arguments are those of ``FormatWriter``.

    Raises:
        WriteError: The file system refuses.
    """
    files = []
    names = slice_names(series, place)
    for (_, name), native, new in zip(names, series.slices, pixels, strict=True):
        path = folder / series.key / f"{name}.png"
        write_bytes(path, _encoded(*_shown(new, native.inverted)))
        files.append(path)
    return files


def _shown(new: NewPixels, inverted: bool) -> tuple[NDArray[Any], Scale]:
    """Return unsigned integers, ``[rows, columns]``, and the scale from them to real values."""
    kept = new.stored.dtype
    if new.scale is not None and kept.itemsize <= 2:
        least = int(np.iinfo(kept).min)
        dtype = np.dtype(f"u{kept.itemsize}")
        integers = (new.stored.astype(np.int32) - least).astype(dtype)
        scale = Scale(new.scale.slope, new.scale.intercept + new.scale.slope * least)
    else:
        low, high = float(new.values.min()), float(new.values.max())
        dtype = np.dtype(np.uint16)
        scale = Scale((high - low) / 65535 or 1.0, low)
        integers = scale.stored(new.values, dtype)
    if not inverted:
        return integers, scale
    top = int(np.iinfo(dtype).max)
    return (top - integers).astype(dtype), Scale(-scale.slope, scale.intercept + scale.slope * top)


def _encoded(integers: NDArray[Any], scale: Scale) -> bytes:
    comment = PngInfo()
    comment.add_text("Comment", f"value = {scale.slope:.9g} * pixel + {scale.intercept:.9g}")
    file = io.BytesIO()
    # At most 3 % larger than at the default level, in a third of the time.
    Image.fromarray(integers).save(file, "PNG", pnginfo=comment, compress_level=4)
    return file.getvalue()
