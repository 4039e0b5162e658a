"""What readers return: headers of files and slices, decoded slices, and reasons to read none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from medvae.files import FileReport
from medvae.geometry import Geometry
from medvae.records import Layout, Source

BURNED_IN = "text is burned into its pixels (BurnedInAnnotation YES)"
"""Flag of files whose header states this."""

UNKNOWN_FORMAT = "its format is not one that medvae reads"
"""Reason for which a file in another format is skipped."""

_WHOLE = 4 * 2**20
_PIECES = 64
_PIECE = 2**16


class FileSkipped(Exception):
    """Raised for a file that is not an image that medvae reads.

    The message completes the sentence "the file is skipped because".
    """


class FileRefused(Exception):
    """Raised for a file that should be such an image, but cannot be trusted.

    The message completes the sentence "the file is refused because".
    """


@dataclass
class FrameHeader:
    """The header of one slice.

    Attributes:
        frame, axis, time: Location of the slice in the file, as in ``records.Source``.
        geometry: Plane of the slice, as far as the file states it.
        window: Centre and width that the file proposes for display.
        stack: Text that slices must share, besides orientation, to belong to one series.
        when: Attributes that distinguish slices at the same position, such as an echo time.
    """

    frame: int = 0
    axis: int = 2
    time: int = 0
    geometry: Geometry = field(default_factory=Geometry)
    window: tuple[float, float] | None = None
    stack: str = ""
    when: dict[str, str] = field(default_factory=dict)


@dataclass
class FileHeader:
    """The header of one readable file, and of the slices in it.

    Attributes:
        format: Name of the format, as in ``READERS``.
        rows, columns: Shape of the slices.
        uid: SOPInstanceUID, or a fingerprint of the content if there is none.
        frames: Headers of the slices.
        named: Whether ``uid`` may belong to one image only, as a SOPInstanceUID does.
        modality: DICOM code, such as ``MR``; None if the file does not state it.
        series_uid, study_uid, patient: Identifiers, or empty.
        inverted: Whether low values are shown bright (MONOCHROME1).
        burned_in: Whether the file reports text burned into its pixels.
        instance: InstanceNumber.
        flags: Descriptions of what is unusual about the file.
        beside: Name of the file in the same folder that holds the voxels, if any.
        layout: Layout of the pixels, if they need no decoder.
    """

    format: str
    rows: int
    columns: int
    uid: str
    frames: list[FrameHeader]
    named: bool = False
    modality: str | None = None
    series_uid: str = ""
    study_uid: str = ""
    patient: str = ""
    inverted: bool = False
    burned_in: bool = False
    instance: int | None = None
    flags: list[str] = field(default_factory=list)
    beside: str = ""
    layout: Layout | None = None


@dataclass
class Decoded:
    """One decoded slice: stored values ``[rows, columns]`` and their conversion to real values.

    Attributes:
        stored: Numbers as stored in the file.
        slope, intercept: Coefficients of the real values, ``slope * stored + intercept``.
        padding: First and last stored value that mark padding; for NaN both are NaN.
        values: Real values, if they are not ``slope * stored + intercept``.
    """

    stored: NDArray[Any]
    slope: float = 1.0
    intercept: float = 0.0
    padding: tuple[float, float] | None = None
    values: NDArray[np.float32] | None = None


Decode = Callable[[int, int, int], Decoded]
"""Function that decodes the slice with the given ``frame``, ``axis`` and ``time``."""


Request = Path | Source
"""What a worker is asked for: the header of a file, or the pixels of a slice."""

Answer = FileHeader | Decoded | FileReport
"""What it answers: a header, pixels, or a report on a file that is skipped or refused."""


class FormatReader(Protocol):
    """The functions of a module that reads a format; they are called in worker processes only."""

    def describe(self, path: Path, head: bytes) -> FileHeader:
        """Read the header of a file and check that the file is whole, without decoding pixels.

        Args:
            path: Path of the file.
            head: The first bytes of the file.

        Raises:
            FileSkipped: If the file is not an image that medvae reads.
            FileRefused: If the file cannot be trusted.
        """

    def open_frames(self, path: Path) -> Decode:
        """Open a file, and return a function that decodes one slice at a time.

        Raises:
            FileRefused: If the file cannot be trusted.
        """


def fingerprint(path: Path) -> str:
    """Hash a small file as a whole, and a large one by its length and 64 evenly spaced pieces.

    The last piece is the file's end, where compressed formats keep their checksum.
    """
    size = path.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as file:
        if size <= _WHOLE:
            digest.update(file.read(_WHOLE))
        else:
            for i in range(_PIECES):
                file.seek((size - _PIECE) * i // (_PIECES - 1))
                digest.update(file.read(_PIECE))
    return digest.hexdigest()
