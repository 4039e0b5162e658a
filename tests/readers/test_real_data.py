"""Real studies: every file is accounted for, and pixels are those of pydicom and nibabel."""

from __future__ import annotations

import csv
import os
import warnings
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_rescale

from medvae.errors import DecodeError
from medvae.readers import Scan, open_studies, read_pixels, verify_pixels
from phantoms import SHARED, needs_shared

pytestmark = needs_shared

DICOM_FOLDERS = (
    "ct_chest",
    "ct_head_tilt",
    "ct_jpeg2000",
    "mr_t1_gd",
    "mr_t1_defaced",
    "mr_epi_4d",
)

READ_CLASSES = {
    "CT Image Storage",
    "MR Image Storage",
    "Computed Radiography Image Storage",
    "Digital X-Ray Image Storage - For Presentation",
    "Digital X-Ray Image Storage - For Processing",
    "Enhanced CT Image Storage",
    "Enhanced MR Image Storage",
}

EXPLAINED = {
    # 12-bit JPEG Extended: read when the index was made, by a decoder under the GPL.
    "dicomParser/encapsulated/multi-frame/CT0012.fragmented_no_bot_jpeg_baseline.51.dcm": "refused",
    # Its class stands in the file's own header alone, where the index does not look.
    "nibabel-nicom/decimal_rescale.dcm": "read",
    # It has no preamble and names no transfer syntax, so that pydicom does not decode it unaided.
    "fo-dicom/CR-MONO1-10-chest": "read",
}
"""Where the index of the odd files and what is read differ."""


def account(scan: Scan, folder: Path) -> None:
    """Assert that every file there is reported once."""
    there = Counter(Path(root) / name for root, _, names in os.walk(folder) for name in names)
    assert Counter(report.path for report in scan.files) == there
    for report in scan.files:
        assert report.outcome in ("read", "skipped", "refused")
        assert report.outcome == "read" or report.reason
        assert "Traceback" not in report.reason
        assert "\n" not in report.reason


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(p.name for p in SHARED.glob("*") if p.is_dir()))
def test_every_file_is_accounted_for(name: str) -> None:
    scan = open_studies([SHARED / name])
    account(scan, SHARED / name)
    assert scan.studies
    assert len({item.key for item in scan.slices}) == len(list(scan.slices))
    keys = [series.key for study in scan.studies for series in study.series]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", DICOM_FOLDERS)
def test_dicom_values_equal_those_of_pydicom(name: str) -> None:
    scan = open_studies([SHARED / "dicom" / name])
    assert {report.outcome for report in scan.files} == {"read"}
    slices = list(scan.slices)
    assert len(slices) == len(scan.files)
    for item, pixels in read_pixels(slices):
        assert not isinstance(pixels, DecodeError)
        dataset = pydicom.dcmread(item.source.path)
        np.testing.assert_array_equal(pixels.stored, dataset.pixel_array)
        expected = apply_rescale(dataset.pixel_array, dataset).astype(np.float32)
        np.testing.assert_array_equal(pixels.values, expected)


def test_geometry_of_the_series() -> None:
    def series(name: str) -> list[tuple[int, float | None, tuple[str, ...]]]:
        found = open_studies([SHARED / "dicom" / name])
        return [
            (len(s.slices), s.gap and round(s.gap, 2), s.flags)
            for study in found.studies
            for s in study.series
        ]

    assert series("ct_chest") == [(40, 5.0, ("gaps: 212 slices missing at 32 places",))]
    tilt = ("tilt: slices are shifted by 18.5 degrees",)
    assert series("ct_head_tilt") == [(14, 7.0, tilt), (14, 4.0, tilt)]
    assert series("ct_jpeg2000") == [(20, 2.0, ())]
    assert series("mr_t1_gd") == [(40, 1.5, ())]
    assert series("mr_t1_defaced") == [(40, 0.67, ())]
    assert series("mr_epi_4d") == [(15, 5.0, (f"time point {t} of 10",)) for t in range(1, 11)]


@pytest.mark.parametrize("path", sorted(SHARED.glob("nifti/*")), ids=lambda path: path.name)
def test_nifti_values_equal_those_of_nibabel(path: Path) -> None:
    image = nibabel.load(path)
    expected = image.get_fdata(dtype=np.float32)
    to_voxel = np.linalg.inv(np.diag([-1, -1, 1, 1]) @ image.affine)
    slices = list(open_studies([path]).slices)
    assert sum(item.shape[0] * item.shape[1] for item in slices) == expected.size
    for item, pixels in read_pixels(slices):
        assert not isinstance(pixels, DecodeError)
        assert item.source.axis == 2
        plane = expected[:, :, item.source.frame]
        np.testing.assert_array_equal(pixels.values, plane.T)
        place = to_voxel[:3, :3] @ np.array(item.geometry.position) + to_voxel[:3, 3]
        assert place == pytest.approx([0, 0, item.source.frame], abs=1e-3)


def test_odd_files_are_read_where_pydicom_reads_them() -> None:
    folder = SHARED / "odd_dicom"
    scan = open_studies([folder])
    read = {str(r.path.relative_to(folder)): r.outcome for r in scan.files}
    with (folder / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) + 1 == len(scan.files)
    for row in rows:
        decodes = row["pixels"] not in ("", "none") and not row["pixels"].startswith("FAIL")
        gray = row["photo"].startswith("MONOCHROME")
        expected = row["sop"] in READ_CLASSES and gray and decodes
        outcome = EXPLAINED.get(row["file"], "read" if expected else read[row["file"]])
        assert read[row["file"]] == outcome, row
        if not expected and row["file"] not in EXPLAINED:
            assert outcome != "read", row


def test_odd_files_decode_as_pydicom_decodes_them() -> None:
    scan = verify_pixels(open_studies([SHARED / "odd_dicom"]))
    account(scan, SHARED / "odd_dicom")
    for item, pixels in read_pixels(scan.slices):
        assert not isinstance(pixels, DecodeError)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(item.source.path, force=True)
            if "TransferSyntaxUID" not in dataset.file_meta:
                dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
            frames = dataset.pixel_array.reshape(-1, *item.shape)
        np.testing.assert_array_equal(pixels.stored, frames[item.source.frame])


@pytest.mark.slow
def test_pictures_of_a_data_set() -> None:
    scan = open_studies([SHARED / "lgg_flair"])
    assert len(list(scan.slices)) == 2907
    assert len({study.group for study in scan.studies}) == 79
