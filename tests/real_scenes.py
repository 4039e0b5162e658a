"""Real slices with gliomas, as renders see them."""

from __future__ import annotations

from collections.abc import Iterator

from medvae.labels import attach_labels
from medvae.readers import open_studies, read_pixels
from medvae.records import Pixels, Series, Slice
from medvae.render import Scene
from phantoms import SHARED

__all__ = ["real_scenes"]

FOLDER = SHARED / "lgg_flair"


def real_scenes(patients: int, size: int) -> Iterator[tuple[Series, Slice, Scene]]:
    """Give the slices of some patients, series by series, on a canvas of a size."""
    folders = sorted((FOLDER / "images").iterdir())[:patients]
    studies = attach_labels(open_studies(folders).studies, FOLDER / "coco.json").studies
    for series in (series for study in studies for series in study.series):
        for item, pixels in read_pixels(series.slices):
            assert isinstance(pixels, Pixels)
            yield series, item, Scene.of(item, pixels, size, None)
