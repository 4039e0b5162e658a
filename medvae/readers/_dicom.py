"""The header and the pixels of one DICOM file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydicom import Dataset, dcmread
from pydicom import uid as uids
from pydicom.encaps import get_frame
from pydicom.pixels import apply_modality_lut, get_decoder, pixel_array
from pydicom.tag import Tag

from medvae.dicom import GROUP_SEQUENCES, Attributes, functional_group, stored_integer
from medvae.readers._contract import (
    BURNED_IN,
    UNKNOWN_FORMAT,
    Decode,
    Decoded,
    FileHeader,
    FileRefused,
    FileSkipped,
    fingerprint,
)
from medvae.readers._dicom_frames import FRAME_TAGS, describe_frames
from medvae.readers._dicom_pixel_data import (
    announced_size,
    check_inflated,
    check_pixel_data,
)
from medvae.readers._limits import check_frame, check_volume, plausible_scale
from medvae.records import Layout

_CT = {
    uids.CTImageStorage,
    uids.EnhancedCTImageStorage,
    uids.LegacyConvertedEnhancedCTImageStorage,
}

_IMAGES = _CT | {
    uids.MRImageStorage,
    uids.ComputedRadiographyImageStorage,
    uids.DigitalXRayImageStorageForPresentation,
    uids.DigitalXRayImageStorageForProcessing,
    uids.EnhancedMRImageStorage,
    uids.LegacyConvertedEnhancedMRImageStorage,
}

_RESCALE = ("RescaleSlope", "RescaleIntercept")

_PLAIN = {uids.ImplicitVRLittleEndian, uids.ExplicitVRLittleEndian}
"""Transfer syntaxes that store pixels in the file as they are in memory."""

_TAGS = [
    Tag(keyword)
    for keyword in (
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "PatientID",
        "Modality",
        "InstanceNumber",
        "Rows",
        "Columns",
        "NumberOfFrames",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "BitsAllocated",
        "BitsStored",
        "PixelRepresentation",
        "RescaleSlope",
        "RescaleIntercept",
        "ModalityLUTSequence",
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
        "BurnedInAnnotation",
        *FRAME_TAGS,
    )
]


def describe(path: Path, head: bytes) -> FileHeader:
    """Read the header and check that pixel data follows it, without decoding the pixels."""
    bare = head[128:132] != b"DICM"
    with path.open("rb") as file:
        dataset = _read(file, bare)
        header = _attributes(dataset)
        _check_class(header, bare)
        rows, columns, frames = _check_picture(header)
        _check_numbers(header, frames)
        syntax = _transfer_syntax(dataset)
        need = (rows * columns * frames * header["BitsAllocated"] + 7) // 8
        flags = check_pixel_data(file, path, need, frames, syntax)
        layout = _layout(header, (rows, columns), file.tell()) if syntax in _PLAIN else None
    if layout is None:
        check_volume(path.stat().st_size)
    number = header.get("InstanceNumber")
    burned_in = str(header.get("BurnedInAnnotation") or "").strip().upper() == "YES"
    return FileHeader(
        format="dicom",
        rows=rows,
        columns=columns,
        uid=header["SOPInstanceUID"] or fingerprint(path),
        named=bool(header["SOPInstanceUID"]),
        modality=str(header.get("Modality") or "") or None,
        series_uid=str(header.get("SeriesInstanceUID") or ""),
        study_uid=str(header.get("StudyInstanceUID") or ""),
        # The issuer is left out, since only some files of a patient may state it.
        patient=str(header.get("PatientID") or "").strip(),
        burned_in=burned_in,
        inverted=header.get("PhotometricInterpretation") == "MONOCHROME1",
        instance=int(number) if isinstance(number, int) else None,
        frames=describe_frames(header, rows, columns, frames),
        flags=[*flags, *_doubts(header, frames), *[BURNED_IN] * burned_in],
        layout=layout,
    )


def _read(file: BinaryIO, bare: bool) -> Dataset:
    check_inflated(file)
    file.seek(0)
    try:
        return dcmread(file, stop_before_pixels=True, specific_tags=[*_TAGS], force=bare)
    except Exception as error:
        raise FileRefused(f"it cannot be read as DICOM: {_one_line(error)}") from error


def open_frames(path: Path) -> Decode:
    """Open the file, and return a function that decodes one frame at a time."""
    with path.open("rb") as file:
        bare = file.read(132)[128:] != b"DICM"
        file.seek(0)
        check_inflated(file)
    check_volume(path.stat().st_size)
    dataset = dcmread(path, force=bare)
    if not getattr(dataset, "file_meta", {}).get("TransferSyntaxUID"):
        dataset.file_meta.TransferSyntaxUID = _transfer_syntax(dataset)
    compressed = dataset.file_meta.TransferSyntaxUID.is_encapsulated
    frames = int(dataset.get("NumberOfFrames") or 1)

    def decode(frame: int, axis: int, time: int) -> Decoded:
        if compressed:
            _check_codestream(dataset, frame, frames)
        stored = pixel_array(dataset, index=frame if frames > 1 else None, raw=True)
        if stored.ndim == 3:
            stored = stored[0]
        stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
        values = None
        if "ModalityLUTSequence" in dataset:
            values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float32)
        scale = _scale(_rescale(dataset, frame))
        return Decoded(stored, *scale, _padding(dataset, stored.dtype), values)

    return decode


def _check_codestream(dataset: Dataset, frame: int, frames: int) -> None:
    """Refuse a compressed frame whose size differs from the header, before it is decoded."""
    offsets = None
    if "ExtendedOffsetTable" in dataset:
        offsets = dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths
    data = get_frame(dataset.PixelData, frame, number_of_frames=frames, extended_offsets=offsets)
    claimed, stated = announced_size(data), (int(dataset.Rows), int(dataset.Columns))
    if claimed is not None and claimed != stated:
        raise FileRefused(
            f"its compressed pixels claim a size of {claimed[0]}x{claimed[1]}, but its header "
            f"states {stated[0]}x{stated[1]}"
        )


def _attributes(dataset: Dataset) -> dict[str, Any]:
    """Return values by keyword; class and UID may come from the file meta information."""
    found = {}
    for tag in dataset.keys():  # iterating a dataset converts its values
        try:
            element = dataset[tag]
            found[element.keyword] = element.value
        except Exception:
            # pydicom raises many kinds of errors for a value that it cannot convert. A required
            # value is then reported as missing; a window or a thickness is optional.
            continue
    meta = getattr(dataset, "file_meta", {})
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        found[keyword] = str(found.get(keyword) or meta.get(f"MediaStorage{keyword}") or "")
    return found


def _check_class(header: dict[str, Any], bare: bool) -> None:
    sop_class = header["SOPClassUID"]
    if sop_class in _IMAGES:
        return
    if bare and not sop_class and "Modality" not in header:
        raise FileSkipped(UNKNOWN_FORMAT)
    if sop_class == uids.MediaStorageDirectoryStorage:
        raise FileSkipped("it is a DICOMDIR, an index of other files")
    name = uids.UID(sop_class).name if sop_class else "of no stated class"
    raise FileSkipped(f"it is DICOM {name}, not a CT, MR, CR or DX image")


def _check_picture(header: dict[str, Any]) -> tuple[int, int, int]:
    """Return the rows, columns and frames of a grayscale image; refuse any other image."""
    try:
        rows, columns = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
        frames = int(header.get("NumberOfFrames") or 1)
        samples = int(header.get("SamplesPerPixel") or 1)
    except (TypeError, ValueError) as error:
        raise FileRefused(f"its header is invalid: {_one_line(error)}") from error
    check_frame(rows, columns)
    if frames < 1:
        raise FileRefused(f"its header states {frames} frames")
    photometric = str(header.get("PhotometricInterpretation") or "MONOCHROME2").strip()
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise FileRefused(f"it is a colour image ({photometric}); only grayscale images are read")
    return rows, columns, frames


def _check_numbers(header: dict[str, Any], frames: int) -> None:
    """Refuse a header that lacks values needed for decoding, or has an unusable rescale."""
    for keyword in ("BitsAllocated", "BitsStored", "PixelRepresentation"):
        if not isinstance(header.get(keyword), int):
            raise FileRefused(f"its header has no usable {keyword}")
    bits = header["BitsAllocated"]
    if bits != 1 and bits % 8:
        raise FileRefused(
            f"its pixels have {bits} bits each; only 1 or a multiple of 8 can be read"
        )
    for source in (header, *_rescales(header, frames)):
        for keyword in _RESCALE:
            value = source.get(keyword)
            if value is None:
                continue
            if not isinstance(value, float | int) or not plausible_scale(value):
                raise FileRefused(
                    f"its {keyword} is {_one_line(value)}, which is not a usable number"
                )
            if keyword == "RescaleSlope" and value == 0:
                raise FileRefused("its RescaleSlope is 0, which would make all pixels equal")


def _doubts(header: dict[str, Any], frames: int) -> list[str]:
    """Return flags for doubtful values of a file."""
    if header["SOPClassUID"] not in _CT or "ModalityLUTSequence" in header:
        return []
    if all(f.get(name) is not None for f in _rescales(header, frames) for name in _RESCALE):
        return []
    return ["CT without rescale slope and intercept: its values may not be HU"]


def _rescales(header: Attributes, frames: int) -> Iterator[Attributes]:
    """Yield the attributes that hold the slope and the intercept of each frame that differs."""
    for frame in range(frames if "PerFrameFunctionalGroupsSequence" in header else 1):
        yield _rescale(header, frame)


def _rescale(header: Attributes, frame: int) -> Attributes:
    return functional_group(header, frame, "PixelValueTransformationSequence") or header


def _scale(found: Attributes) -> tuple[float, float]:
    """Return the slope and the intercept, or 1 and 0 where they are not stated."""
    slope, intercept = (found.get(keyword) for keyword in _RESCALE)
    return 1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)


def _transfer_syntax(dataset: Dataset) -> uids.UID:
    """Return the transfer syntax, guessed if not stated; refuse one without a decoder."""
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
        raise FileRefused(
            f"no installed decoder reads its transfer syntax, {name}, with {bits} bits"
        )
    return uids.UID(syntax)


def _layout(header: dict[str, Any], shape: tuple[int, int], offset: int) -> Layout | None:
    """Return the layout of pixels that need no decoder, or None if they need one."""
    bits = header["BitsAllocated"]
    if bits not in (8, 16, 32) or any(
        keyword in header for keyword in ("ModalityLUTSequence", *GROUP_SEQUENCES)
    ):
        return None
    dtype = np.dtype(f"<{'i' if header['PixelRepresentation'] else 'u'}{bits // 8}")
    unused = max(bits - header["BitsStored"], 0)
    return Layout(offset, dtype.str, unused, shape, *_scale(header), _padding(header, dtype))


def _padding(dataset: Attributes, dtype: np.dtype[Any]) -> tuple[float, float] | None:
    """Return the range of stored values that mark padding."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return None
    other = dataset.get("PixelPaddingRangeLimit")
    bits, signed = 8 * dtype.itemsize, dtype.kind == "i"
    ends = [stored_integer(v, bits, signed) for v in (value, value if other is None else other)]
    return min(ends), max(ends)


def _one_line(value: object) -> str:
    return " ".join(str(value).split())[:200] or type(value).__name__
