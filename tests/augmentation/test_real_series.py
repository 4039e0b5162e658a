"""Strength 0 leaves stored pixels as they were, in every format, and in real series."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from scipy import ndimage

import medvae
from heads import save_run
from medvae.labels import attach_labels, finding_record
from medvae.readers import open_studies
from medvae.records import Slice
from phantoms import SHARED, needs_shared

SERIES = 16
SLICES = 2
"""Taken from the middle of each series."""

FORMATS = ("dicom", "nifti", "png")


@pytest.fixture(scope="module")
def excerpts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few slices of every series of real DICOM."""
    folder = tmp_path_factory.mktemp("excerpts")
    found = [
        series for study in open_studies([SHARED / "dicom"]).studies for series in study.series
    ]
    assert len(found) == SERIES
    for number, series in enumerate(found):
        middle = len(series.slices) // 2
        (folder / str(number)).mkdir()
        for native in series.slices[middle : middle + SLICES]:
            shutil.copy(native.source.path, folder / str(number))
    return folder


@pytest.fixture(scope="module")
def real_run(excerpts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for them."""
    return save_run(tmp_path_factory.mktemp("real_run"), excerpts, ("CT", "MR"))


@pytest.mark.slow
@needs_shared
@pytest.mark.parametrize(("render", "per"), [("warp", "study"), ("residual", "slice")])
def test_strength_zero_gives_every_series_back(
    excerpts: Path, real_run: Path, tmp_path: Path, render: str, per: str
) -> None:
    out = tmp_path / "out"
    made = medvae.augment(
        [excerpts], real_run, out, render=render, per=per, strength=0.0, formats=FORMATS
    )
    assert (made.kept, made.rejected, made.problems) == (SERIES * SLICES, (), ())
    sources = {native.key: native for native in open_studies([excerpts]).slices}
    for line in lines(out):
        (source,) = (sources.pop(key) for key in line["sources"])
        expected = source.pixels().stored
        for name, file in zip(FORMATS, line["files"], strict=True):
            np.testing.assert_array_equal(stored(out / file, name, source), expected)
    assert not sources


def test_strength_zero_changes_a_host_under_the_lesion_alone(
    studies: Path, run: Path, tmp_path: Path
) -> None:
    out, labels = tmp_path / "out", studies / "coco.json"
    medvae.augment(
        [studies], run, out, labels=labels, render="transplant", strength=0.0, formats=FORMATS
    )
    labelled = attach_labels(open_studies([studies]).studies, labels).studies
    slices = {native.key: native for study in labelled for native in study.slices}
    kept = [line for line in lines(out) if line["outcome"] == "kept"]
    assert kept
    for line in kept:
        donor, host = (slices[key] for key in line["sources"])
        # They have one shape and spacing, so that not a pixel of the outline may differ.
        (finding,) = donor.labels or ()
        assert line["labels"] == [finding_record(finding, host.shape)]
        assert finding.mask
        lesion = finding.mask.on(host.shape)
        reach = ndimage.binary_dilation(lesion, np.ones((5, 5)))
        before = host.pixels().stored
        for name, file in zip(FORMATS, line["files"], strict=True):
            after = stored(out / file, name, host)
            np.testing.assert_array_equal(after[~reach], before[~reach])
            assert (after[lesion] != before[lesion]).mean() > 0.9


def lines(out: Path) -> list[dict[str, Any]]:
    """Return the lines of a manifest."""
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def stored(path: Path, name: str, source: Slice) -> NDArray[Any]:
    """Return the integers, ``[rows, columns]``, that were written in the place of a slice."""
    if name == "dicom":
        return dcmread(path).pixel_array
    if name == "png":
        kept = source.pixels().stored.dtype
        with Image.open(path) as picture:
            return np.asarray(picture).astype(int) + np.iinfo(kept).min
    volume = nibabel.load(path)
    assert source.geometry.position
    x, y, z = source.geometry.position
    voxel = np.linalg.inv(volume.affine) @ (-x, -y, z, 1)
    return volume.dataobj.get_unscaled()[..., round(voxel[2])].T
