"""Series to write, and what the tests of all writers look for in the files."""

from __future__ import annotations

import gzip
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from medvae.readers import open_studies
from medvae.records import Series
from medvae.writers import NewPixels, Synthesis, write_series
from phantoms import world_of_pixels

TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
MADE = Synthesis(run="0123", model="4567", render="warp")

write_dicom, write_nifti, write_png = (partial(write_series, n) for n in ("dicom", "nifti", "png"))


def only_series(path: Path, **options: Any) -> Series:
    """Return the one series that is in a folder or file."""
    ((series,),) = (study.series for study in open_studies([path], **options).studies)
    return series


def unchanged(series: Series) -> list[NewPixels]:
    """Return the pixels of a series as they are."""
    sources = [native.pixels() for native in series.slices]
    return [NewPixels.of(source, source.values, MADE) for source in sources]


def shifted(series: Series, by: float) -> list[NewPixels]:
    """Return the pixels of a series with something added."""
    sources = [native.pixels() for native in series.slices]
    return [NewPixels.of(source, source.values + np.float32(by), MADE) for source in sources]


def assert_in_place(image: Any, series: Series) -> None:
    """Check that every pixel of the slices is the voxel at its place, and that there is no more."""
    values = image.get_fdata(dtype=np.float32)
    to_voxel = np.linalg.inv(TO_LPS @ image.affine)
    for item in series.slices:
        exact = world_of_pixels(item) @ to_voxel[:3, :3].T + to_voxel[:3, 3]
        index = np.rint(exact).astype(int)
        assert np.abs(exact - index).max() < 1e-3
        found = values[index[..., 0], index[..., 1], index[..., 2]]
        np.testing.assert_array_equal(found, item.pixels().values)
    assert values.size == sum(item.pixels().values.size for item in series.slices)


def content(path: Path) -> bytes:
    """Return the bytes of a file, uncompressed."""
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def assert_no_form(path: Path) -> None:
    """Check that a volume does not claim to know where it is."""
    header = nibabel.load(path).header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 0)
