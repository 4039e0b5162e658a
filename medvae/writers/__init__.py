"""Writers of slices with new pixel values: one module per format, all with one interface."""

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
    """A function that writes the new pixels of a series and returns the paths of the files.

    File names consist of keys and never reveal the name of the source or its patient, so copies
    of a series need keys or folders of their own. Each file is written completely or not at all,
    and the same pixels, made in the same way, give the same bytes.
    """

    def __call__(
        self, folder: Path, series: Series, pixels: Sequence[NewPixels], place: int | None = None
    ) -> list[Path]:
        """Write a series to a folder.

        Args:
            folder: Folder to write to.
            series: Series that provides the keys, the geometry and the source files.
            pixels: New pixels of each slice of the series.
            place: Position of the first slice, from 1, if the slices are part of a longer series.
                Files are then named after slices.

        Raises:
            WriteError: The series cannot be written in this format, or the file system refuses.
        """


WRITERS: Mapping[str, Writer] = MappingProxyType(
    {"nifti": write_nifti, "png": write_png, "dicom": write_dicom}
)
"""Writers by the format name that a user gives."""
