"""Writing of the slices of one series as images, in all formats of a run or in none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from medvae.errors import WriteError
from medvae.records import Series
from medvae.writers import WRITERS, NewPixels, regular_parts

__all__ = ["Pictures"]


@dataclass(frozen=True)
class Pictures:
    """Writer of images.

    Attributes:
        out: Folder of the run.
        folder: Subfolder of ``out`` for the images.
        formats: Formats in which each image is written.
    """

    out: Path
    folder: str
    formats: tuple[str, ...]

    def write(
        self, series: Series, pixels: Sequence[NewPixels], place: int | None
    ) -> tuple[str | None, list[list[str]]]:
        """Write slices of one series.

        Args:
            series: Series that gives the keys and the patient.
            pixels: Pixels of each slice of the series.
            place: Position of the first slice in a longer series, from 1; None if the series is
                complete.

        Returns:
            The reason why the slices cannot be written, if any, and the files of each slice,
            relative to the folder of the run.

        Raises:
            WriteError: If the file system refuses.
        """
        files: list[list[str]] = [[] for _ in pixels]
        for name in self.formats:
            try:
                for own, path in zip(files, self._in(name, series, pixels, place), strict=True):
                    own.append(path)
            except WriteError as error:
                if isinstance(error.__cause__, OSError):
                    raise
                for path in chain.from_iterable(files):
                    (self.out / path).unlink(missing_ok=True)
                return f"cannot be written as {name}: {error.reason}", [[] for _ in pixels]
        return None, files

    def _in(
        self, name: str, series: Series, pixels: Sequence[NewPixels], place: int | None
    ) -> list[str]:
        """Write the slices in one format, and return the file of each slice."""
        folder = self.out / self.folder / name / f"sub-{series.slices[0].group}"
        paths = WRITERS[name](folder, series, pixels, place)
        if len(paths) < len(pixels):
            volumes = zip(paths, regular_parts(series), strict=True)
            paths = [path for path, volume in volumes for _ in volume.places]
        return [path.relative_to(self.out).as_posix() for path in paths]
