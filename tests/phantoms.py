"""Real files with known content: every slice carries its true index in its pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom import uid as uids
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence as Items

from medvae.readers import Scan
from medvae.records import Slice

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="needs the shared data beside the checkout"
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
ROWS, COLUMNS = 10, 12


def indexed(index: int, dtype: str = "uint16") -> NDArray[Any]:
    """Return pixels, ``[ROWS, COLUMNS]``, that are a ramp but for the index in the first one."""
    pixels = np.arange(ROWS * COLUMNS, dtype=dtype).reshape(ROWS, COLUMNS)
    pixels[0, 0] = index
    return pixels


def true_index(item: Slice) -> int:
    """Return the index that is in the pixels of a slice."""
    return int(item.pixels().stored[0, 0])


def world_of_pixels(item: Slice) -> NDArray[np.float64]:
    """Return the LPS position of every pixel, ``[rows, columns, 3]``, from the geometry alone."""
    geometry = item.geometry
    assert geometry.position
    assert geometry.spacing
    assert geometry.along_row
    assert geometry.along_column
    rows, columns = np.mgrid[: item.shape[0], : item.shape[1]][..., None]
    across = np.array(geometry.along_row) * geometry.spacing[1]
    down = np.array(geometry.along_column) * geometry.spacing[0]
    return np.array(geometry.position) + columns * across + rows * down


def dicom_slice(
    index: int = 0,
    *,
    pixels: NDArray[Any] | None = None,
    sop_class: str = uids.MRImageStorage,
    series: str = "1.2.3.4",
    **attributes: Any,
) -> Dataset:
    """Make an axial slice at z = 2 * index mm; attributes override or, when None, remove."""
    pixels = indexed(index) if pixels is None else pixels
    bits = 8 * pixels.dtype.itemsize
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uids.ExplicitVRLittleEndian
    values = {
        "SOPClassUID": sop_class,
        "SOPInstanceUID": f"{series}.{index + 1}",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": series,
        "FrameOfReferenceUID": "1.2.9",
        "PatientID": "patient one",
        "PatientName": "One^Patient",
        "Modality": "CT" if sop_class == uids.CTImageStorage else "MR",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "InstanceNumber": index + 1,
        "ImagePositionPatient": [-5.0, 7.0, 2.0 * index],
        "ImageOrientationPatient": list(AXIAL),
        "PixelSpacing": [0.5, 0.75],
        "SliceThickness": 2.0,
        "Rows": pixels.shape[-2],
        "Columns": pixels.shape[-1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        **({"RescaleSlope": 1, "RescaleIntercept": 0} if sop_class == uids.CTImageStorage else {}),
        **attributes,
    }
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    return dataset


def enhanced(
    frames: Sequence[NDArray[Any]], groups: Iterable[dict[str, dict[str, Any]]], **attributes: Any
) -> Dataset:
    """Make an Enhanced MR file: ``groups`` are the functional groups of each frame."""
    dataset = dicom_slice(pixels=np.stack(frames), sop_class=uids.EnhancedMRImageStorage)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(dataset, keyword)
    dataset.NumberOfFrames = len(frames)
    dataset.SharedFunctionalGroupsSequence = [
        _groups(
            {
                "PlaneOrientationSequence": {"ImageOrientationPatient": list(AXIAL)},
                "PixelMeasuresSequence": {"PixelSpacing": [0.5, 0.75], "SliceThickness": 2.0},
            }
        )
    ]
    dataset.PerFrameFunctionalGroupsSequence = [_groups(group) for group in groups]
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def _groups(groups: dict[str, dict[str, Any]]) -> Dataset:
    dataset = Dataset()
    for name, values in groups.items():
        item = Dataset()
        for keyword, value in values.items():
            setattr(item, keyword, value)
        setattr(dataset, name, Items([item]))
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    """Write a dataset as a DICOM file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def save_series(folder: Path, datasets: Iterable[Dataset]) -> Path:
    """Write datasets under names whose order says nothing."""
    for number, dataset in enumerate(datasets):
        save(dataset, folder / f"{(number * 7919) % 101:03d}_{number}.dcm")
    return folder


def outcomes(scan: Scan) -> dict[str, str]:
    """Return the outcome of each file by its name."""
    return {report.path.name: report.outcome for report in scan.files}


def reasons(scan: Scan) -> dict[str, str]:
    """Return the reason of each file by its name."""
    return {report.path.name: report.reason for report in scan.files}
