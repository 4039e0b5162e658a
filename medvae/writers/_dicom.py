"""DICOM: a series of new images marked as synthetic, without information on the patient."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom import uid as uids
from pydicom.dataset import FileMetaDataset

from medvae.atomic import write_bytes
from medvae.errors import WriteError
from medvae.records import Series, Slice, pseudonym
from medvae.writers._dicom_header import (
    SourceFrame,
    copy_attributes,
    read_header,
    written_class,
)
from medvae.writers._new_pixels import NewPixels, Scale, Synthesis, slice_names

_SECTIONS = (uids.CTImageStorage, uids.MRImageStorage)
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")

_VERSION = version("monai-medvae")

_LONGEST = 64
"""Maximum number of characters of a long string."""

_HASHED = 5
"""Version of UUIDs that are hashes of a name."""


def write(
    folder: Path, series: Series, pixels: Sequence[NewPixels], place: int | None = None
) -> list[Path]:
    """Write each slice as ``KEY/PLACE_KEY.dcm``, with the keys of the series and of the slice.

    The files form one series of a new study, with the source's class, matrix, position, bits and
    scale; frames of a multi-frame file become single-frame files. All copies and series that one
    run makes of a source study belong to one study, and share a frame of reference if the source
    series do; slices that are written one by one also form one series. Only attributes on an
    allow-list are copied from the source's header; all others are new or absent.

    The arguments are those of ``FormatWriter``.

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
        _put_pixels(new, header)
        path = folder / series.key / f"{name}.dcm"
        write_bytes(path, _encoded(header, native, new))
        del header.PixelData  # otherwise the whole series is held twice
        files.append(path)
    return files


def _headers(series: Series, pixels: Sequence[NewPixels]) -> Iterator[Dataset]:
    """Yield the new header of each slice."""
    path, header = Path(), Dataset()
    for native, new in zip(series.slices, pixels, strict=True):
        if native.source.format != "dicom":
            raise WriteError(
                "DICOM output requires DICOM input; choose nifti or png",
                where=f"series {series.key}",
            )
        try:
            if path != native.source.path:
                path, header = native.source.path, read_header(native.source.path)
            yield _header(series, native, SourceFrame(header, native.source.frame), new)
        except WriteError as error:
            raise WriteError(error.reason, where=f"slice {native.key}") from error


def _header(series: Series, native: Slice, source: SourceFrame, new: NewPixels) -> Dataset:
    target = Dataset()
    target.SOPClassUID = written_class(source)
    target.PatientID, target.PatientName = native.group, f"{native.group}^SYNTHETIC"
    run, study = new.synthesis.run, source.text("StudyInstanceUID")
    target.StudyInstanceUID = _new_uid("study", run, native.group, study)
    target.SeriesInstanceUID = _new_uid("series", run, series.key, str(new.synthesis.copy))
    target.SeriesNumber = new.synthesis.copy
    copy_attributes(source, target, new.synthesis.allow_burned_in)
    if target.SOPClassUID in _SECTIONS:
        if native.geometry.affine() is None or any(keyword not in target for keyword in _PLACE):
            raise WriteError(
                "its position in the patient is unknown, which DICOM does not allow; choose "
                "nifti or png"
            )
        frame = source.text("FrameOfReferenceUID") or series.key
        target.FrameOfReferenceUID = _new_uid("frame of reference", run, native.group, frame)
        target.PositionReferenceIndicator = None
    _describe_pixels(source, new, target)
    _state_provenance(native, source, new.synthesis, target)
    return target


def _describe_pixels(source: SourceFrame, new: NewPixels, target: Dataset) -> None:
    """Set the attributes that describe how pixels are stored, which is as in the source."""
    if new.scale is None or source.has("ModalityLUTSequence") or target.get("RescaleSlope") == 0:
        raise WriteError(
            "its real values come from a table instead of a slope; choose nifti or png"
        )
    dtype = new.stored.dtype
    allocated, signed = 8 * dtype.itemsize, dtype.kind == "i"
    stored = source.integer("BitsStored", 16, False) or allocated
    target.SamplesPerPixel = 1
    inverted = source.text("PhotometricInterpretation") == "MONOCHROME1"
    target.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    target.Rows, target.Columns = new.stored.shape
    target.BitsAllocated = allocated
    target.BitsStored = min(stored, allocated)
    target.HighBit = target.BitsStored - 1
    target.PixelRepresentation = int(signed)
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = source.integer(keyword, allocated, signed)
        if value is not None and (keyword == "PixelPaddingValue" or "PixelPaddingValue" in target):
            target.add_new(keyword, "SS" if signed else "US", value)


def _put_pixels(new: NewPixels, target: Dataset) -> None:
    """Store the integers that the slope and intercept of a dataset map to the new values."""
    slope, intercept = target.get("RescaleSlope", 1), target.get("RescaleIntercept", 0)
    scale = Scale(float(slope), float(intercept))
    # The scale of a constant source is a guess. Integers that give the right value are kept, so
    # that an unchanged pixel keeps its own among those with the same value.
    wrong = scale.values(new.stored).astype(np.float32) != new.values
    stored = new.stored.copy()
    stored[wrong] = scale.stored(new.values[wrong], stored.dtype)
    span = 2**target.BitsStored
    least = -span // 2 if target.PixelRepresentation else 0
    stored = stored.clip(least, least + span - 1)
    if "PixelPaddingValue" in target:
        _avoid_padding(stored, new.padding, target, (least, least + span - 1))
    data = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    kind = "OB" if target.BitsAllocated == 8 else "OW"
    target.add_new("PixelData", kind, data + b"\0" * (len(data) % 2))


def _avoid_padding(
    stored: NDArray[Any],
    padding: NDArray[np.bool_] | None,
    target: Dataset,
    limits: tuple[int, int],
) -> None:
    """Move pixels that would be mistaken for padding to the nearest integer that would not."""
    value = target.PixelPaddingValue
    low, high = sorted((value, target.get("PixelPaddingRangeLimit", value)))
    wrong = (stored >= low) & (stored <= high)
    if padding is not None:
        wrong &= ~padding
    least, most = limits
    found = stored[wrong].astype(np.int64)
    down = (high == most) | ((found - low < high - found) & (low > least))
    stored[wrong] = np.where(down, low - 1, high + 1)


def _encoded(dataset: Dataset, native: Slice, new: NewPixels) -> bytes:
    """Return the bytes of the file; the UID of an image depends on its pixels."""
    seen = hashlib.blake2b(dataset.PixelData, digest_size=16).hexdigest()
    dataset.SOPInstanceUID = _new_uid(
        "image", new.synthesis.run, native.key, str(new.synthesis.copy), seen
    )
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uids.ExplicitVRLittleEndian
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _new_uid(kind: str, *identity: str) -> uids.UID:
    """Return the UID of an object under 2.25, the root of UIDs made from UUIDs.

    Args:
        kind: Kind of object, so that a study and a series of the same identity differ.
        identity: Strings that together identify the object; ``MEDVAE_SECRET`` is mixed in.
    """
    digits = pseudonym(f"{kind} UID", *identity) + pseudonym(f"end of {kind} UID", *identity)
    return uids.UID(f"2.25.{UUID(hex=digits[:32], version=_HASHED).int}")


def _state_provenance(
    native: Slice, source: SourceFrame, synthesis: Synthesis, target: Dataset
) -> None:
    """Record in a dataset what was made, by what software and from which image."""
    warning = " - NOT FOR DIAGNOSTIC USE"
    what = f"SYNTHETIC {synthesis.render} copy {synthesis.copy}"
    target.SyntheticData = "YES"
    target.SeriesDescription = what[: _LONGEST - len(warning)] + warning
    target.DerivationDescription = f"medvae {_VERSION}: {synthesis}"
    target.QualityControlImage = "NO"
    target.PatientIdentityRemoved = "YES"
    target.DeidentificationMethod = "Attributes are new or come from an allow-list"
    target.DeidentificationMethodCodeSequence = _code(
        "113100", "Basic Application Confidentiality Profile"
    )
    target.LongitudinalTemporalInformationModified = "REMOVED"
    equipment = Dataset()
    for item in (target, equipment):
        item.Manufacturer = item.ManufacturerModelName = "medvae"
        item.SoftwareVersions = _VERSION
    equipment.PurposeOfReferenceCodeSequence = _code("109100", "Synthesizing Equipment")
    equipment.ContributionDescription = "Made the pixels"
    target.ContributingEquipmentSequence = [equipment]
    image = Dataset()
    image.ReferencedSOPClassUID = source.sop_class
    # The same in all runs, so that everything made from one image can be found.
    image.ReferencedSOPInstanceUID = _new_uid("source image", native.source.uid)
    if source.sop_class != target.SOPClassUID:
        image.ReferencedFrameNumber = native.source.frame + 1
    image.SpatialLocationsPreserved = "YES" if synthesis.preserves_locations else "NO"
    image.PurposeOfReferenceCodeSequence = _code(
        "121322", "Source image for image processing operation"
    )
    target.SourceImageSequence = [image]


def _code(value: str, meaning: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return [item]
