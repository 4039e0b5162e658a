"""DICOM: the header and the pixels of one file."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom import uid as uids
from pydicom.pixels import apply_modality_lut, get_decoder, pixel_array
from pydicom.tag import Tag

from medvae.readers._decoded import Decoded
from medvae.readers._dicom_frames import FRAME_TAGS, describe_frames, functional_group
from medvae.readers._dicom_pixel_data import check_pixel_data
from medvae.readers._fingerprint import fingerprint
from medvae.readers._headers import FileHeader, Refused, Skipped
from medvae.readers._limits import MAX_BYTES, check_frame

__all__ = ["describe", "open_frames"]

IMAGE_CLASSES = {
    uids.CTImageStorage,
    uids.MRImageStorage,
    uids.ComputedRadiographyImageStorage,
    uids.DigitalXRayImageStorageForPresentation,
    uids.DigitalXRayImageStorageForProcessing,
    uids.EnhancedCTImageStorage,
    uids.EnhancedMRImageStorage,
    uids.LegacyConvertedEnhancedCTImageStorage,
    uids.LegacyConvertedEnhancedMRImageStorage,
}

_TAGS = [
    Tag(keyword)
    for keyword in (
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "PatientID",
        "IssuerOfPatientID",
        "Modality",
        "InstanceNumber",
        "Rows",
        "Columns",
        "NumberOfFrames",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "BitsAllocated",
        "BitsStored",
        *FRAME_TAGS,
    )
]


def describe(path: Path, head: bytes) -> FileHeader:
    """Read the header and check that pixels follow it, without reading them."""
    _check_inflated(path, head)
    with path.open("rb") as file:
        try:
            dataset = dcmread(
                file,
                stop_before_pixels=True,
                specific_tags=[*_TAGS],
                force=head[128:132] != b"DICM",
            )
        except Exception as error:
            raise Refused(f"it cannot be read as DICOM: {_one_line(error)}") from error
        header = _attributes(dataset)
        _check_class(header, bare=head[128:132] != b"DICM")
        rows, columns, frames = _check_picture(header)
        syntax = _transfer_syntax(dataset)
        need = (rows * columns * frames * int(header.get("BitsAllocated") or 16) + 7) // 8
        if syntax == uids.DeflatedExplicitVRLittleEndian:
            have = len(dcmread(path, specific_tags=["PixelData"]).get("PixelData") or b"")
            if have < need:
                raise Refused(f"it is truncated: {have} of {need} bytes of pixel data are there")
        else:
            check_pixel_data(file, path.stat().st_size, need, frames, syntax)
    return _header(path, header, rows, columns, frames)


def open_frames(path: Path) -> Callable[[int, int, int], Decoded]:
    """Open the file for decoding, a frame at a time."""
    with path.open("rb") as file:
        head = file.read(132)
    _check_inflated(path, head)
    dataset = dcmread(path, force=head[128:132] != b"DICM")
    if not getattr(dataset, "file_meta", {}).get("TransferSyntaxUID"):
        dataset.file_meta.TransferSyntaxUID = _transfer_syntax(dataset)

    def decode(frame: int, axis: int, time: int) -> Decoded:
        index = frame if int(dataset.get("NumberOfFrames") or 1) > 1 else None
        stored = pixel_array(dataset, index=index, raw=True)
        if stored.ndim == 3:
            stored = stored[0]
        return _decoded(dataset, stored.astype(stored.dtype.newbyteorder("="), copy=False), frame)

    return decode


def _check_inflated(path: Path, head: bytes) -> None:
    """Refuse a deflated file that would inflate beyond the limit; pydicom inflates it whole."""
    if b"1.2.840.10008.1.2.1.99\0" not in head and b"1.2.840.10008.1.2.1.99" not in head[:512]:
        return
    length = int.from_bytes(head[140:144], "little")
    inflate, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with path.open("rb") as file:
        file.seek(144 + length)
        while piece := file.read(2**16):
            while piece:
                size += len(inflate.decompress(piece, 2**24))
                piece = inflate.unconsumed_tail
                if size > MAX_BYTES // 8:
                    raise Refused(
                        f"it is deflated and inflates to more than {MAX_BYTES // 8 // 2**20} MiB"
                    )


def _attributes(dataset: Dataset) -> dict[str, Any]:
    """Return the values by keyword, with class and name taken from the file's own header too."""
    try:
        found = {element.keyword: element.value for element in dataset}
    except Exception as error:  # pydicom raises many kinds for values it cannot convert
        raise Refused(f"its header is broken: {_one_line(error)}") from error
    meta = getattr(dataset, "file_meta", {})
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        found[keyword] = str(found.get(keyword) or meta.get(f"MediaStorage{keyword}") or "")
    return found


def _check_class(header: dict[str, Any], bare: bool) -> None:
    sop_class = header["SOPClassUID"]
    if sop_class in IMAGE_CLASSES:
        return
    if bare and not sop_class and "Modality" not in header:
        raise Skipped("it is in none of the formats that are read")
    if sop_class == uids.MediaStorageDirectoryStorage:
        raise Skipped("it is a DICOMDIR, an index of other files")
    name = uids.UID(sop_class).name if sop_class else "of no stated class"
    raise Skipped(f"it is DICOM {name}, not a CT, MR, CR or DX image")


def _check_picture(header: dict[str, Any]) -> tuple[int, int, int]:
    """Return rows, columns and frames of a grayscale picture; refuse any other."""
    try:
        rows, columns = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
        frames = int(header.get("NumberOfFrames") or 1)
        samples = int(header.get("SamplesPerPixel") or 1)
    except (TypeError, ValueError) as error:
        raise Refused(f"its header is broken: {_one_line(error)}") from error
    check_frame(rows, columns)
    if frames < 1:
        raise Refused(f"its header announces {frames} frames")
    photometric = str(header.get("PhotometricInterpretation") or "MONOCHROME2").strip()
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise Refused(f"it is in colour ({photometric}): only grayscale images are read")
    return rows, columns, frames


def _transfer_syntax(dataset: Dataset) -> uids.UID:
    """Return the transfer syntax, guessed where the file does not say; refuse one not decoded."""
    syntax = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    if not syntax:
        implicit, little = dataset.original_encoding
        if implicit:
            return uids.ImplicitVRLittleEndian
        return uids.ExplicitVRLittleEndian if little else uids.ExplicitVRBigEndian
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    bits = int(dataset.get("BitsStored") or 8)
    if not available or (syntax == uids.JPEGExtended12Bit and bits > 8):
        name = uids.UID(syntax).name
        raise Refused(f"no decoder here reads its transfer syntax, {name}, with {bits} bits")
    return uids.UID(syntax)


def _header(path: Path, header: dict[str, Any], rows: int, columns: int, frames: int) -> FileHeader:
    patient = str(header.get("PatientID") or "").strip()
    issuer = str(header.get("IssuerOfPatientID") or "").strip()
    number = header.get("InstanceNumber")
    return FileHeader(
        format="dicom",
        rows=rows,
        columns=columns,
        uid=header["SOPInstanceUID"] or fingerprint(path),
        named=bool(header["SOPInstanceUID"]),
        modality=str(header.get("Modality") or "") or None,
        series_uid=str(header.get("SeriesInstanceUID") or ""),
        study_uid=str(header.get("StudyInstanceUID") or ""),
        patient=f"{patient}^^^{issuer}" if patient and issuer else patient,
        inverted=header.get("PhotometricInterpretation") == "MONOCHROME1",
        instance=int(number) if isinstance(number, int) else None,
        frames=describe_frames(header, rows, columns, frames),
    )


def _decoded(dataset: Dataset, stored: NDArray[Any], frame: int) -> Decoded:
    """Add the real values of a frame to its stored ones."""
    padding = _padding(dataset, stored)
    if "ModalityLUTSequence" in dataset:
        values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float32)
        return Decoded(stored, padding=padding, values=values)
    transform = functional_group(dataset, frame, "PixelValueTransformationSequence") or dataset
    slope = transform.get("RescaleSlope")
    intercept = transform.get("RescaleIntercept")
    return Decoded(
        stored,
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        padding=padding,
    )


def _padding(dataset: Dataset, stored: NDArray[Any]) -> tuple[float, float] | None:
    """Return the range of stored values that mark padding."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return None
    other = dataset.get("PixelPaddingRangeLimit")
    ends = [_as_stored(v, stored) for v in (value, value if other is None else other)]
    return min(ends), max(ends)


def _as_stored(value: Any, stored: NDArray[Any]) -> int:
    """Read a value whose sign a wrong VR may have lost, as the pixels' own type."""
    bits = 8 * stored.dtype.itemsize
    raw = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
    number: int = raw % 2**bits
    signed = stored.dtype.kind == "i" and number >= 2 ** (bits - 1)
    return number - 2**bits if signed else number


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
