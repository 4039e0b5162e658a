"""The header of a source, and what of it is copied, by the rules in ``dicom_allow_list.yaml``.

Numbers are copied if they are within the range of scanners, and words if they are known terms.
Nothing else is copied: no free text, dates, names, UIDs or private attributes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import yaml
from pydicom import Dataset, dcmread
from pydicom import uid as uids
from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.tag import Tag
from pydicom.valuerep import format_number_as_ds

from medvae.dicom import GROUP_SEQUENCES, functional_groups, stored_integer
from medvae.errors import WriteError
from medvae.readers import plausible_thickness, plausible_window

CT, MR, CR = uids.CTImageStorage, uids.MRImageStorage, uids.ComputedRadiographyImageStorage
DX = (uids.DigitalXRayImageStorageForPresentation, uids.DigitalXRayImageStorageForProcessing)

# All values are read as text: NO is not False.
_LIST = yaml.load(
    Path(__file__).with_name("dicom_allow_list.yaml").read_text("utf-8"), Loader=yaml.BaseLoader
)
_COPIED, _REQUIRED = (
    {
        getattr(uids, name): [one for part in parts for one in _LIST["groups"].get(part, [part])]
        for name, parts in _LIST[kind].items()
    }
    for kind in ("copied", "required")
)
_SINGLE = {getattr(uids, many): getattr(uids, one) for many, one in _LIST["single"].items()}
_PAIRED = frozenset(_LIST["paired"])
_TERMS: Mapping[str, Set[str]] = {
    **{keyword: frozenset(terms) for keyword, terms in _LIST["terms"].items()},
    "BodyPartExamined": _PAIRED.union(_LIST["terms"]["BodyPartExamined"]),
}

_ENHANCED_NAMES = {"EchoTime": "EffectiveEchoTime", "InversionTime": "InversionTimes"}
"""Attributes that have a different name in functional groups."""

_ASKED = (
    *dict.fromkeys(keyword for keywords in _COPIED.values() for keyword in keywords),
    *_ENHANCED_NAMES.values(),
    *("SOPClassUID", "StudyInstanceUID", "FrameOfReferenceUID"),
    *("ImageType", "FrameType", "Laterality", "WindowCenter", "WindowWidth"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType"),
    *("EchoPulseSequence", "EchoPlanarPulseSequence", "InversionRecovery"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
    *("PhotometricInterpretation", "BitsStored", "PixelRepresentation", "ModalityLUTSequence"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit"),
    *GROUP_SEQUENCES,
)
"""Attributes that are read from the source."""

_ALWAYS_LOSSY = {uids.JPEGBaseline8Bit, uids.JPEGExtended12Bit}

_MOST_WINDOWS = 8

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

_LONGEST = 16
"""Maximum number of characters of a decimal string."""


def read_header(path: Path) -> Dataset:
    """Read the attributes of a source that are needed.

    Raises:
        WriteError: The file can no longer be read. The message does not name it.
    """
    tags = [Tag(keyword) for keyword in _ASKED]
    try:
        return dcmread(path, stop_before_pixels=True, specific_tags=tags, force=True)
    except OSError as error:
        raise WriteError(f"its source can no longer be read: {error.strerror}") from error
    except Exception as error:  # pydicom raises many kinds
        raise WriteError("its source can no longer be read as DICOM") from error


class SourceFrame:
    """The part of the header of a source that applies to one frame.

    Attributes:
        sop_class, transfer_syntax: SOP class and transfer syntax of the file.
    """

    def __init__(self, header: Dataset, frame: int) -> None:
        self._places = [*functional_groups(header, frame), header]
        meta = getattr(header, "file_meta", Dataset())
        self.sop_class = self.text("SOPClassUID") or str(meta.get("MediaStorageSOPClassUID") or "")
        self.transfer_syntax = str(meta.get("TransferSyntaxUID") or "")

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Return the values of an attribute as text; empty if it is missing or malformed."""
        for place in self._places:
            try:
                found = _texts(place, keyword)
            except Exception:  # pydicom raises many kinds for a value that it cannot convert
                continue
            if found:
                return found
        return ()

    def text(self, keyword: str) -> str:
        """Return the first value of an attribute as text; empty if there is none."""
        return next(iter(self.texts(keyword)), "")

    def allowed(self, keyword: str) -> list[str]:
        """Return those values of an attribute that may be copied."""
        return _allowed(keyword, self.texts(keyword))

    def has(self, keyword: str) -> bool:
        """Return whether the attribute is present, with any value."""
        return any(keyword in place for place in self._places)

    def integer(self, keyword: str, bits: int, signed: bool) -> int | None:
        """Return an integer of ``bits`` bits, restoring a sign that a wrong VR may have lost."""
        for place in self._places:
            try:
                return stored_integer(place[keyword].value, bits, signed)
            except Exception:  # missing, or one of the many kinds that pydicom raises
                continue
        return None


def _texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    if keyword not in dataset:
        return ()
    # Take the raw value, because pydicom would warn about values that violate the standard.
    value: Any = dataset.get_item(keyword).value
    if isinstance(value, bytes) and dictionary_VR(keyword) in ("CS", "DS", "IS", "LO", "UI"):
        value = value.decode("ascii", "replace").split("\\")
    elif isinstance(value, bytes):
        value = dataset[keyword].value
    several = isinstance(value, Iterable) and not isinstance(value, str)
    parts = tuple(str(part).strip(" \0") for part in (value if several else (value,)))
    return parts if value is not None and any(parts) else ()


def _allowed(keyword: str, values: Sequence[str]) -> list[str]:
    """Return those values of an attribute that may be copied; numbers must be all there."""
    multiplicity = dictionary_VM(keyword)
    several = multiplicity.endswith("n")
    if keyword in _TERMS:
        return [one for one in (values if several else values[:1]) if one in _TERMS[keyword]]
    if keyword in _LIST["ranges"]:
        low, high = map(float, _LIST["ranges"][keyword])
        found = [float(one) for one in values[:1] if _decimal(one)]
        return [f"{number:.6g}" for number in found if low < number < high]
    if keyword == "EchoTrainLength":
        return [str(int(one)) for one in values[:1] if re.fullmatch("[0-9]{1,4}", one)]
    if keyword == "PatientOrientation":  # two directions, such as A and FL
        numbers = [one if re.fullmatch("[AFHLPR]{1,3}", one) else "" for one in values]
    else:
        numbers = [_decimal(one) for one in values]
    if not all(numbers) or not (several or len(numbers) == int(multiplicity)):
        return []
    if keyword == "SliceThickness" and not plausible_thickness(float(numbers[0])):
        return []
    return numbers


def _decimal(text: str) -> str:
    """Return a number as written, or rounded if it is too long; empty if it is not a number."""
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        return ""
    return text if len(text) <= _LONGEST else format_number_as_ds(float(text))


def written_class(source: SourceFrame) -> uids.UID:
    """Return the class that a slice is written as; a frame of many becomes a single-frame image.

    Raises:
        WriteError: The source is of a class that cannot be written.
    """
    found = uids.UID(_SINGLE.get(source.sop_class, source.sop_class))
    if found not in _COPIED:
        raise WriteError("its source is not a CT, MR, CR or DX image")
    return found


def copy_attributes(source: SourceFrame, target: Dataset, allow_burned_in: bool = False) -> None:
    """Copy all permitted attributes to a dataset whose SOPClassUID is set.

    Raises:
        WriteError: Text is burned into the source's pixels, and ``allow_burned_in`` is false.
    """
    burned_in = source.text("BurnedInAnnotation").upper() == "YES"
    if burned_in and not allow_burned_in:
        raise WriteError("its source has text burned into the pixels, which may name the patient")
    sop_class = target.SOPClassUID
    for keyword, value in _LIST["fixed"][sop_class.keyword].items():
        setattr(target, keyword, value)
    for keyword in _COPIED[sop_class]:
        values = source.texts(keyword) or source.texts(_ENHANCED_NAMES.get(keyword, keyword))
        _put(target, keyword, _allowed(keyword, values))
    if burned_in:
        target.BurnedInAnnotation = "YES"
    target.ImageType = ["DERIVED", "SECONDARY", *_image_type(source, sop_class)]
    _copy_window(source, target)
    _copy_rescale(source, target)
    _copy_compression(source, target)
    if sop_class == MR:
        _complete_pulses(source, target)
    part = target.get("BodyPartExamined")
    if sop_class not in DX and part not in _TERMS["BodyPartExamined"] - _PAIRED:
        side = source.allowed("Laterality") if part else []
        _put(target, "Laterality", side or [""])
    for keyword in _REQUIRED[sop_class]:
        if keyword not in target:
            setattr(target, keyword, None)


def _put(target: Dataset, keyword: str, values: list[str]) -> None:
    """Set an attribute if there is a value."""
    typed = [int(value) for value in values] if dictionary_VR(keyword) == "SS" else values
    if typed:
        setattr(target, keyword, typed if len(typed) > 1 else typed[0])


def _image_type(source: SourceFrame, sop_class: uids.UID) -> list[str]:
    """Return the third and later values of the image type, as far as they are known."""
    values = (source.texts("FrameType") or source.texts("ImageType"))[2:]
    known = _allowed("ImageType", values)
    if sop_class == CT:
        return known if known[:1] in (["AXIAL"], ["LOCALIZER"]) else ["AXIAL", *known]
    if sop_class == MR:
        return known if known and known[0] == values[0] else ["OTHER", *known]
    return known if sop_class == CR else []


def _copy_window(source: SourceFrame, target: Dataset) -> None:
    centres, widths = source.allowed("WindowCenter"), source.allowed("WindowWidth")
    if 0 < len(centres) == len(widths) <= _MOST_WINDOWS and all(
        plausible_window(float(centre), float(width))
        for centre, width in zip(centres, widths, strict=True)
    ):
        _put(target, "WindowCenter", centres)
        _put(target, "WindowWidth", widths)


def _copy_rescale(source: SourceFrame, target: Dataset) -> None:
    slope, intercept = source.allowed("RescaleSlope"), source.allowed("RescaleIntercept")
    if slope or intercept or target.SOPClassUID in (CT, *DX):
        kind = source.allowed("RescaleType")
        _put(target, "RescaleSlope", slope or ["1"])
        _put(target, "RescaleIntercept", intercept or ["0"])
        _put(target, "RescaleType", kind or ([] if target.SOPClassUID == CT else ["US"]))


def _copy_compression(source: SourceFrame, target: Dataset) -> None:
    """Copy the record of lossy compression, which an image must keep forever."""
    stated = source.text("LossyImageCompression")
    by_jpeg = source.transfer_syntax in _ALWAYS_LOSSY
    if stated == "01" or by_jpeg:
        target.LossyImageCompression = "01"
        method = _allowed(
            "LossyImageCompressionMethod", source.texts("LossyImageCompressionMethod")[:1]
        )
        _put(target, "LossyImageCompressionRatio", source.allowed("LossyImageCompressionRatio"))
        _put(target, "LossyImageCompressionMethod", method or ["ISO_10918_1"] * by_jpeg)
    elif stated == "00":
        target.LossyImageCompression = "00"


def _complete_pulses(source: SourceFrame, target: Dataset) -> None:
    """Translate the pulse sequence of an Enhanced header into single-frame attributes."""
    if "ScanningSequence" not in target:
        echo = {"SPIN": ["SE"], "GRADIENT": ["GR"], "BOTH": ["SE", "GR"]}
        found = echo.get(source.text("EchoPulseSequence"), [])
        found += ["EP"] * (source.text("EchoPlanarPulseSequence") == "YES")
        found += ["IR"] * (source.text("InversionRecovery") == "YES")
        # It must not be empty; research mode is the term for anything else.
        _put(target, "ScanningSequence", found or ["RM"])
    if "SequenceVariant" not in target:
        target.SequenceVariant = "NONE"
    if "IR" in target.ScanningSequence and "InversionTime" not in target:
        target.InversionTime = None
