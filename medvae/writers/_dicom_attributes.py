"""Allow-lists, one per class of image, of the attributes copied from the header of a source.

Numbers are copied if they are within the range of scanners, and words if they are known terms.
Nothing else is copied: no free text, dates, names, UIDs or private attributes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pydicom import Dataset
from pydicom import uid as uids
from pydicom.datadict import dictionary_VR

from medvae.errors import WriteError
from medvae.readers import plausible_thickness, plausible_window
from medvae.writers import _dicom_terms as terms
from medvae.writers._dicom_source import SourceFrame
from medvae.writers._dicom_terms import Rule, about, count, directions, exact, word, words

__all__ = ["KEYWORDS", "copy_attributes", "written_class"]

CT, MR, CR = uids.CTImageStorage, uids.MRImageStorage, uids.ComputedRadiographyImageStorage
DX = (uids.DigitalXRayImageStorageForPresentation, uids.DigitalXRayImageStorageForProcessing)


def _thickness(values: Sequence[str]) -> list[str]:
    """Return the thickness if a slice can have it."""
    return [number for number in exact(1)(values) if plausible_thickness(float(number))]


_ALL: Mapping[str, Rule] = {
    "BurnedInAnnotation": word({"NO"}),
    "RecognizableVisualFeatures": word({"YES", "NO"}),
    "VOILUTFunction": word({"LINEAR", "LINEAR_EXACT", "SIGMOID"}),
}

_TUBE: Mapping[str, Rule] = {"KVP": about(0, 500)}

_PART: Mapping[str, Rule] = {"BodyPartExamined": word(terms.BODY_PARTS)}

_SECTION: Mapping[str, Rule] = {
    "PatientPosition": word(terms.PATIENT_POSITIONS),
    "ImagePositionPatient": exact(3),
    "ImageOrientationPatient": exact(6),
    "PixelSpacing": exact(2),
    "SliceThickness": _thickness,
}

_PULSES: Mapping[str, Rule] = {
    "ScanningSequence": words(terms.SCANNING_SEQUENCES),
    "SequenceVariant": words(terms.SEQUENCE_VARIANTS),
    "ScanOptions": words(terms.SCAN_OPTIONS),
    "MRAcquisitionType": word({"2D", "3D"}),
    "RepetitionTime": about(0, 1e5),
    "EchoTime": about(0, 1e4),
    "EchoTrainLength": count,
    "InversionTime": about(0, 1e5),
}

_PROJECTION: Mapping[str, Rule] = {
    "PatientOrientation": directions,
    "PixelSpacing": exact(2),
    "ImagerPixelSpacing": exact(2),
    "ViewPosition": word(terms.VIEWS),
}

_DETECTOR: Mapping[str, Rule] = {
    "ImageLaterality": word({"R", "L", "U", "B"}),
    "PixelIntensityRelationship": word({"LIN", "LOG"}),
    "PixelIntensityRelationshipSign": word({"1", "-1"}),
    "PresentationLUTShape": word({"IDENTITY", "INVERSE"}),
    "DetectorType": word({"DIRECT", "SCINTILLATOR", "STORAGE", "FILM"}),
    "PositionerType": word({"CARM", "COLUMN", "RIGID", "NONE"}),
}

_RULES: Mapping[uids.UID, Mapping[str, Rule]] = MappingProxyType(
    {
        CT: {**_ALL, **_PART, **_SECTION, **_TUBE},
        MR: {**_ALL, **_PART, **_SECTION, **_PULSES},
        CR: {**_ALL, **_PART, **_PROJECTION, **_TUBE},
        # Digital radiographs require a coded body part instead of this attribute.
        **{digital: {**_ALL, **_PROJECTION, **_TUBE, **_DETECTOR} for digital in DX},
    }
)

_FIXED: Mapping[uids.UID, Mapping[str, str]] = {
    CT: {"Modality": "CT"},
    MR: {"Modality": "MR"},
    CR: {"Modality": "CR"},
    DX[0]: {"Modality": "DX", "PresentationIntentType": "FOR PRESENTATION"},
    DX[1]: {"Modality": "DX", "PresentationIntentType": "FOR PROCESSING"},
}
"""Attributes that the class alone determines."""

_EMPTY_DX = (
    "DetectorType",
    "PositionerType",
    "AnatomicRegionSequence",
    "AcquisitionContextSequence",
)

_EMPTY: Mapping[uids.UID, tuple[str, ...]] = {
    CT: ("SliceThickness", "PatientPosition", "KVP", "AcquisitionNumber"),
    MR: (
        *("SliceThickness", "PatientPosition", "ScanOptions", "MRAcquisitionType"),
        *("RepetitionTime", "EchoTime", "EchoTrainLength"),
    ),
    CR: ("BodyPartExamined", "ViewPosition", "PatientOrientation"),
    DX[0]: _EMPTY_DX,
    DX[1]: _EMPTY_DX,
}
"""Attributes that must be present, and are left empty if their value is unknown."""

_SINGLE: Mapping[str, str] = {
    uids.EnhancedCTImageStorage: CT,
    uids.LegacyConvertedEnhancedCTImageStorage: CT,
    uids.EnhancedMRImageStorage: MR,
    uids.LegacyConvertedEnhancedMRImageStorage: MR,
}
"""Single-frame class that corresponds to each multi-frame class."""

_ENHANCED_NAMES = {"EchoTime": "EffectiveEchoTime", "InversionTime": "InversionTimes"}
"""Attributes that have a different name in functional groups."""

_ALWAYS_LOSSY = {uids.JPEGBaseline8Bit, uids.JPEGExtended12Bit}

_MOST_WINDOWS = 8

KEYWORDS = (
    *dict.fromkeys(keyword for rules in _RULES.values() for keyword in rules),
    *_ENHANCED_NAMES.values(),
    *("ImageType", "FrameType", "Laterality", "WindowCenter", "WindowWidth"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType"),
    *("EchoPulseSequence", "EchoPlanarPulseSequence", "InversionRecovery"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
)
"""Attributes that are read from the source."""


def written_class(source: SourceFrame) -> uids.UID:
    """Return the class that a slice is written as; a frame of many becomes a single-frame image.

    Raises:
        WriteError: The source is of a class that cannot be written.
    """
    found = uids.UID(_SINGLE.get(source.sop_class, source.sop_class))
    if found not in _RULES:
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
    for keyword, value in _FIXED[sop_class].items():
        setattr(target, keyword, value)
    for keyword, rule in _RULES[sop_class].items():
        values = source.texts(keyword) or source.texts(_ENHANCED_NAMES.get(keyword, keyword))
        _put(target, keyword, rule(values))
    if burned_in:
        target.BurnedInAnnotation = "YES"
    target.ImageType = ["DERIVED", "SECONDARY", *_image_type(source, sop_class)]
    _copy_window(source, target)
    _copy_rescale(source, target)
    _copy_compression(source, target)
    if sop_class == MR:
        _complete_pulses(source, target)
    part = target.get("BodyPartExamined")
    if sop_class not in DX and part not in terms.BODY_PARTS - terms.PAIRED_BODY_PARTS:
        side = word({"R", "L"})(source.texts("Laterality")) if part else []
        _put(target, "Laterality", side or [""])
    for keyword in _EMPTY[sop_class]:
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
    known = words(terms.IMAGE_TYPES)(values)
    if sop_class == CT:
        return known if known[:1] in (["AXIAL"], ["LOCALIZER"]) else ["AXIAL", *known]
    if sop_class == MR:
        return known if known and known[0] == values[0] else ["OTHER", *known]
    return known if sop_class == CR else []


def _copy_window(source: SourceFrame, target: Dataset) -> None:
    centres, widths = source.texts("WindowCenter"), source.texts("WindowWidth")
    rule = exact(len(centres))
    good = rule(centres), rule(widths)
    pairs = zip(*([float(number) for number in numbers] for numbers in good), strict=False)
    if len(centres) <= _MOST_WINDOWS and all(good) and all(plausible_window(*p) for p in pairs):
        _put(target, "WindowCenter", good[0])
        _put(target, "WindowWidth", good[1])


def _copy_rescale(source: SourceFrame, target: Dataset) -> None:
    slope = exact(1)(source.texts("RescaleSlope"))
    intercept = exact(1)(source.texts("RescaleIntercept"))
    kind = word(terms.RESCALE_TYPES)(source.texts("RescaleType"))
    if slope or intercept or target.SOPClassUID in (CT, *DX):
        _put(target, "RescaleSlope", slope or ["1"])
        _put(target, "RescaleIntercept", intercept or ["0"])
        _put(target, "RescaleType", kind or ([] if target.SOPClassUID == CT else ["US"]))


def _copy_compression(source: SourceFrame, target: Dataset) -> None:
    """Copy the record of lossy compression, which an image must keep forever."""
    stated = source.text("LossyImageCompression")
    by_jpeg = source.transfer_syntax in _ALWAYS_LOSSY
    if stated == "01" or by_jpeg:
        target.LossyImageCompression = "01"
        ratio = about(1, 1000)(source.texts("LossyImageCompressionRatio"))
        method = word(terms.COMPRESSIONS)(source.texts("LossyImageCompressionMethod"))
        _put(target, "LossyImageCompressionRatio", ratio)
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
