"""Writing slices with new pixel values, one format a module, all called in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from medvae.records import Series
from medvae.writers._dicom import write_dicom
from medvae.writers._grid import regular_parts
from medvae.writers._new_pixels import NewPixels, Scale
from medvae.writers._nifti import write_nifti
from medvae.writers._png import write_png
from medvae.writers._synthesis import Synthesis

__all__ = [
    "WRITERS",
    "NewPixels",
    "Scale",
    "Synthesis",
    "Writer",
    "regular_parts",
    "write_dicom",
    "write_nifti",
    "write_png",
]


class Writer(Protocol):
    """Takes a series and the new pixels of each of its slices; returns the files written.

    Names are made of keys, never of what the source or its patient is called: copies of a series
    want keys or folders of their own. Each file is there as a whole or not at all, and the same
    pixels, made in the same way, give the same bytes.
    """

    def __call__(
        self, folder: Path, series: Series, pixels: Sequence[NewPixels], place: int | None = None
    ) -> list[Path]:
        """Write a series to a folder.

        Args:
            folder: where to.
            series: gives keys, places and sources.
            pixels: of each of its slices.
            place: where the slices are a part of a longer series, the place of the first, from 1.
                Files are then named by slices.

        Raises:
            WriteError: the series cannot be written in this format, or the file system refuses.
        """


WRITERS: Mapping[str, Writer] = MappingProxyType(
    {"nifti": write_nifti, "png": write_png, "dicom": write_dicom}
)
"""The writers, by the name that a user gives."""
