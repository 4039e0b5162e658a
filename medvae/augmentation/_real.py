"""Writing of the labelled real slices beside the synthetic ones, for training with both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from medvae.augmentation._encoding import in_order
from medvae.augmentation._pictures import Pictures
from medvae.augmentation._settings import Settings
from medvae.augmentation._sources import Located, by_series
from medvae.augmentation._training_set import frames
from medvae.errors import DecodeError, WriteError
from medvae.labels import LabelledImage
from medvae.records import Labels, Slice
from medvae.writers import NewPixels, Synthesis

__all__ = ["RealSlices"]

Written = tuple[str | None, list[LabelledImage]]


class RealSlices:
    """The labelled slices of the studies that are augmented, under pseudonyms.

    Slices that a killed run has already written are written again, identically.

    Args:
        items: Slices in their order; unlabelled ones are left out.
        settings: Settings with the image formats, and whether whole series are written.

    Attributes:
        count: Number of labelled slices.
    """

    def __init__(self, items: Sequence[Located], settings: Settings) -> None:
        self._settings = settings
        labelled = [item for item in items if item.native.labels is not None]
        self.count = len(labelled)
        whole = settings.per == "study"
        self._parts = by_series(labelled) if whole else [[item] for item in labelled]

    def write(self, out: Path, threads: ThreadPoolExecutor) -> Iterator[Written]:
        """Write the slices to ``real`` in the folder of the run.

        Yields:
            For each slice or series, a problem, if any, and the images for the label files.

        Raises:
            WriteError: If the file system refuses.
        """
        pictures = Pictures(out, "real", self._settings.formats)
        return in_order(lambda part: self._written(pictures, part), self._parts, threads)

    def _written(self, pictures: Pictures, part: Sequence[Located]) -> Written:
        series = replace(part[0].series, slices=tuple(item.native for item in part))
        place = None if self._settings.per == "study" else part[0].place + 1
        try:
            pixels = [_as_they_are(native) for native in series.slices]
        except (DecodeError, WriteError) as error:
            return f"real series {series.key}: {error}", []
        reason, files = pictures.write(series, pixels, place)
        if reason is not None:
            return f"real series {series.key}: {reason}", []
        first = [names[0] for names in files]
        return None, [
            LabelledImage(name, own.shape, own.labels or Labels(), own.group, own.key, frame)
            for own, name, frame in zip(series.slices, first, frames(first), strict=True)
        ]


def _as_they_are(native: Slice) -> NewPixels:
    pixels = native.pixels()
    return NewPixels.of(pixels, pixels.values, Synthesis(run="", model="", render="none"))
