"""Nothing that could name a patient passes from a header to the files that are written.

Every attribute of the standard is filled with a mark of its own, so that a mark in the bytes of
the output tells which one got through.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom import uid as uids
from pydicom.datadict import DicomDictionary
from written import content, only_series, unchanged

from medvae.writers import WRITERS, write_series
from phantoms import dicom_slice, enhanced, save

NEEDED = {
    *("SOPClassUID", "Modality", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames"),
    *("PhotometricInterpretation", "PixelRepresentation", "BitsAllocated", "BitsStored"),
    *("HighBit", "PixelData", "FloatPixelData", "DoubleFloatPixelData", "ModalityLUTSequence"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing"),
    *("SliceThickness", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "SharedFunctionalGroupsSequence"),
    *("PerFrameFunctionalGroupsSequence", "PixelDataProviderURL", "SpecificCharacterSet"),
    *("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"),
}
"""What must be right for a slice to be read; its numbers may be copied."""

NUMBER = 19660101
"""A date of birth, where a number is wanted."""

MARK = re.compile(rb"(?i)m[4a]rk|19660101|1966\.0101|\b4711|jane|doe")


def mark(vr: str, tag: int) -> Any:
    """Return a value that can be found again."""
    number = f"{tag:08X}"
    known = {
        "AE": f"MARK{number}",
        "AS": "066Y",
        "CS": f"MARK{number}",
        "DA": "19660101",
        "DS": str(NUMBER),
        "DT": "19660101101010",
        "FD": float(NUMBER),
        "FL": float(NUMBER),
        "IS": str(NUMBER),
        "OB": b"mark",
        "OD": b"markmark",
        "OF": b"mark",
        "OL": b"mark",
        "OV": b"markmark",
        "OW": b"mark",
        "PN": f"Jane^Mark{number}",
        "SH": f"MARK{number}",
        "SL": NUMBER,
        "SS": 4711,
        "SV": NUMBER,
        "TM": "101010",
        "UI": f"1.2.4711.{tag}",
        "UL": NUMBER,
        "UN": b"mark",
        "UR": f"http://mark/{number}",
        "US": 4711,
        "UV": NUMBER,
    }
    return known.get(vr, f"Mark {number} Jane Doe")


def fill(dataset: Dataset, depth: int = 0) -> None:
    """Give every attribute of the standard that is not there yet a mark."""
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if tag >> 16 < 8 or not keyword or keyword in NEEDED:
            continue
        kind = vr.split(" or ")[0]
        if kind in ("NONE", "AT") or (depth and kind == "SQ"):
            continue
        if kind == "SQ":
            item = Dataset()
            item.PatientName = "Jane^Mark"
            item.StudyDate = "19660101"
            item.CodeMeaning = "Mark"
            item.ReferencedSOPInstanceUID = f"1.2.4711.{tag}"
            dataset.add_new(tag, "SQ", [item])
        else:
            dataset.add_new(tag, kind, mark(kind, tag))
    for group in (0x0009, 0x0029, 0x0051):
        block = dataset.private_block(group, "MARK", create=True)
        block.add_new(1, "LO", "Mark Doe")
        block.add_new(2, "SQ", [Dataset()])
        block[2].value[0].PatientID = "mark"


def filled(sop_class: str) -> Dataset:
    """Make an image of a class, whose header is full of marks."""
    stored = np.arange(120, dtype="uint16").reshape(10, 12)
    if sop_class == uids.EnhancedMRImageStorage:
        places = [{"PlanePositionSequence": {"ImagePositionPatient": [0, 0, i]}} for i in (1, 2)]
        dataset = enhanced([stored, stored + 1], places)
        own = dataset.PerFrameFunctionalGroupsSequence[0]
        fill(own.PlanePositionSequence[0], depth=1)
        fill(own)
    else:
        dataset = dicom_slice(
            pixels=stored, sop_class=sop_class, RescaleSlope=1, RescaleIntercept=0
        )
    dataset.SOPInstanceUID = "1.2.4711.1"
    image = {e.keyword: e.value for e in dataset if e.keyword in NEEDED}
    fill(dataset)
    for keyword, value in image.items():
        setattr(dataset, keyword, value)
    dataset.preamble = b"Jane Doe".ljust(128, b"\0")
    dataset.file_meta.SourceApplicationEntityTitle = "MARK"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


@pytest.mark.parametrize(
    "sop_class",
    [
        uids.CTImageStorage,
        uids.MRImageStorage,
        uids.EnhancedMRImageStorage,
        uids.ComputedRadiographyImageStorage,
        uids.DigitalXRayImageStorageForPresentation,
    ],
    ids=lambda uid: uid.keyword,
)
def test_no_mark_gets_through(sop_class: uids.UID, tmp_path: Path) -> None:
    source = save(filled(sop_class), tmp_path / "Jane_Doe" / "mark_19660101.dcm")
    assert len(MARK.findall(source.read_bytes())) > 4000
    series = only_series(source)
    for name in WRITERS:
        for path in write_series(name, tmp_path / name, series, unchanged(series)):
            assert MARK.findall(content(path)) == []
            assert MARK.search(str(path.relative_to(tmp_path)).encode()) is None
            assert str(tmp_path).encode() not in content(path)
