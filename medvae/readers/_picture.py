"""PNG, JPEG and TIFF pictures: the header and the pixels of one file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medvae.readers._decoded import Decoded
from medvae.readers._fingerprint import fingerprint
from medvae.readers._headers import FileHeader, FrameHeader, Refused
from medvae.readers._limits import check_frame

__all__ = ["describe", "open_frames"]

# The sizes are checked here before anything is decoded, by a limit of our own.
Image.MAX_IMAGE_PIXELS = None

_FORMATS = ("PNG", "JPEG", "TIFF")
_GRAY = {"1", "L", "I", "F", "I;16", "I;16B", "I;16L"}
_ORIENTATION = 0x0112


def describe(path: Path, head: bytes) -> FileHeader:
    """Read the header; a picture in colour is decoded to see whether it is gray all the same."""
    with _open(path) as picture:
        columns, rows = picture.size
        check_frame(rows, columns)
        pages = int(getattr(picture, "n_frames", 1))
        turned = picture.getexif().get(_ORIENTATION, 1) != 1
        for page in range(pages):
            picture.seek(page)
            if picture.size != (columns, rows):
                raise Refused(f"its page {page + 1} differs in size from its first one")
            if picture.mode not in _GRAY:
                _stored(picture)
    return FileHeader(
        format="picture",
        rows=rows,
        columns=columns,
        uid=fingerprint(path),
        frames=[FrameHeader(frame=page, stack=f"{rows}x{columns}") for page in range(pages)],
        flags=["turned by an EXIF tag, which is not applied"] if turned else [],
    )


def open_frames(path: Path) -> Callable[[int, int, int], Decoded]:
    """Open the file for decoding, a page at a time."""
    picture = _open(path)

    def decode(frame: int, axis: int, time: int) -> Decoded:
        picture.seek(frame)
        return Decoded(_stored(picture))

    return decode


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path, formats=_FORMATS)
    except (OSError, SyntaxError, ValueError) as error:
        raise Refused(
            f"it cannot be read as a picture: {error}".replace(str(path), "it")
        ) from error


def _stored(picture: Image.Image) -> NDArray[Any]:
    """Decode a page, ``[rows, columns]``; a picture in colour must be gray in fact."""
    try:
        if picture.mode in _GRAY:
            stored = np.array(picture)
            return stored.astype(np.uint8 if stored.dtype == bool else stored.dtype, copy=False)
        colours = np.array(picture.convert("RGBA"))
    except (OSError, SyntaxError, ValueError) as error:
        raise Refused(f"it is truncated or damaged: {error}") from error
    gray = colours[..., :1]
    if (colours[..., 1:3] != gray).any() or (colours[..., 3] != 255).any():
        raise Refused(f"it is in colour ({picture.mode}): only grayscale images are read")
    return colours[..., 0].copy()
