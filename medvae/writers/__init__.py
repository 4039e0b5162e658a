"""Writers of slices with new pixel values: one module per format, all with one interface."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from medvae.formats import WRITERS
from medvae.records import Series
from medvae.writers._new_pixels import NewPixels, Scale, Synthesis, slice_names
from medvae.writers._nifti import regular_parts

__all__ = [
    "WRITERS",
    "FormatWriter",
    "NewPixels",
    "Scale",
    "Synthesis",
    "regular_parts",
    "slice_names",
    "write_series",
]


class FormatWriter(Protocol):
    """The function of a module that writes a format."""

    def write(
        self, folder: Path, series: Series, pixels: Sequence[NewPixels], place: int | None = None
    ) -> list[Path]:
        """Write the new pixels of a series to a folder, and return the paths of the files.

        File names consist of keys and never reveal the name of the source or its patient, so copies
        of a series need keys or folders of their own. Each file is written completely or not at
        all, and the same pixels, made in the same way, give the same bytes.

        Args:
            folder: Folder to write to.
            series: Series that provides the keys, the geometry and the source files.
            pixels: New pixels of each slice of the series.
            place: Position of the first slice, from 1, if the slices are part of a longer series.
                Files are then named after slices.

        Raises:
            WriteError: If the series cannot be written in this format, or the file system refuses.
        """


def write_series(
    name: str,
    folder: Path,
    series: Series,
    pixels: Sequence[NewPixels],
    place: int | None = None,
) -> list[Path]:
    """Write the new pixels of a series in the format ``name``, as ``FormatWriter`` describes."""
    writer = cast(FormatWriter, import_module(WRITERS[name].module))
    return writer.write(folder, series, pixels, place)
