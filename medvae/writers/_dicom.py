"""DICOM: a series of new images marked as synthetic, without information on the patient."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydicom import Dataset
from pydicom import uid as uids
from pydicom.dataset import FileMetaDataset

from medvae.atomic import write_bytes
from medvae.errors import WriteError
from medvae.records import Series, Slice
from medvae.writers._dicom_attributes import KEYWORDS, copy_attributes, written_class
from medvae.writers._dicom_pixels import PIXEL_KEYWORDS, describe_pixels, put_pixels
from medvae.writers._dicom_provenance import state_provenance
from medvae.writers._dicom_source import SourceFile, SourceFrame
from medvae.writers._dicom_uids import new_uid
from medvae.writers._names import slice_names
from medvae.writers._new_pixels import NewPixels

__all__ = ["write_dicom"]

_ASKED = (*KEYWORDS, *PIXEL_KEYWORDS, "SOPClassUID", "StudyInstanceUID", "FrameOfReferenceUID")

_EMPTY = (
    *("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID"),
    *("PatientBirthDate", "PatientSex"),
)
"""Attributes that must be present and are left empty."""


_SECTIONS = (uids.CTImageStorage, uids.MRImageStorage)
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")


def write_dicom(
    folder: Path, series: Series, pixels: Sequence[NewPixels], place: int | None = None
) -> list[Path]:
    """Write each slice as ``KEY/PLACE_KEY.dcm``, with the keys of the series and of the slice.

    The files form one series of a new study, with the source's class, matrix, position, bits and
    scale; frames of a multi-frame file become single-frame files. All copies and series that one
    run makes of a source study belong to one study, and share a frame of reference if the source
    series do; slices that are written one by one also form one series. Only attributes on an
    allow-list are copied from the source's header; all others are new or absent.

    Args:
        folder: Folder to write to.
        series: Series that provides the keys, the patient and the files whose headers are read.
        pixels: New pixels of each slice of the series.
        place: Position of the first slice, from 1, if the slices are part of a longer series.

    Raises:
        WriteError: The source is not DICOM or has no position in the patient, its stored integers
            are mapped through a table, text is burned into it, or the file system refuses.
    """
    # All headers are made before the first file is written, so a refusal leaves no partial series.
    headers = list(_headers(series, pixels))
    files = []
    names = slice_names(series, place)
    for (number, name), native, new, header in zip(
        names, series.slices, pixels, headers, strict=True
    ):
        header.InstanceNumber = number
        put_pixels(new, header)
        path = folder / series.key / f"{name}.dcm"
        write_bytes(path, _encoded(header, native, new))
        del header.PixelData  # otherwise the whole series is held twice
        files.append(path)
    return files


def _headers(series: Series, pixels: Sequence[NewPixels]) -> Iterator[Dataset]:
    """Yield the new header of each slice."""
    file: SourceFile | None = None
    for native, new in zip(series.slices, pixels, strict=True):
        if native.source.format != "dicom":
            raise WriteError(
                "only what was DICOM is written as DICOM: give nifti or png",
                where=f"series {series.key}",
            )
        try:
            if file is None or file.path != native.source.path:
                file = SourceFile(native.source.path, _ASKED)
            yield _header(series, native, file.frame(native.source.frame), new)
        except WriteError as error:
            raise WriteError(error.reason, where=f"slice {native.key}") from error


def _header(series: Series, native: Slice, source: SourceFrame, new: NewPixels) -> Dataset:
    target = Dataset()
    target.SOPClassUID = written_class(source)
    for keyword in _EMPTY:
        setattr(target, keyword, None)
    target.PatientID, target.PatientName = native.group, f"{native.group}^SYNTHETIC"
    run, study = new.synthesis.run, source.text("StudyInstanceUID")
    target.StudyInstanceUID = new_uid("study", run, native.group, study)
    target.SeriesInstanceUID = new_uid("series", run, series.key, str(new.synthesis.copy))
    target.SeriesNumber = new.synthesis.copy
    copy_attributes(source, target, new.synthesis.allow_burned_in)
    if target.SOPClassUID in _SECTIONS:
        _check_place(native, target)
        frame = source.text("FrameOfReferenceUID") or series.key
        target.FrameOfReferenceUID = new_uid("frame of reference", run, native.group, frame)
        target.PositionReferenceIndicator = None
    describe_pixels(source, new, target)
    state_provenance(native, source, new.synthesis, target)
    return target


def _check_place(native: Slice, target: Dataset) -> None:
    geometry = native.geometry
    known = None not in (geometry.position, geometry.normal, geometry.spacing)
    if not known or any(keyword not in target for keyword in _PLACE):
        raise WriteError(
            "where it lies in the patient is unknown, and must not be in DICOM: give nifti or png"
        )


def _encoded(dataset: Dataset, native: Slice, new: NewPixels) -> bytes:
    """Return the bytes of the file; the UID of an image depends on its pixels."""
    seen = hashlib.blake2b(dataset.PixelData, digest_size=16).hexdigest()
    dataset.SOPInstanceUID = new_uid(
        "image", new.synthesis.run, native.key, str(new.synthesis.copy), seen
    )
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uids.ExplicitVRLittleEndian
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()
