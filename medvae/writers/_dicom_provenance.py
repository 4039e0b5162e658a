"""Provenance of a synthetic DICOM image: that it is synthetic, its source and how it was made."""

from __future__ import annotations

from importlib.metadata import version

from pydicom import Dataset

from medvae.records import Slice
from medvae.writers._dicom_source import SourceFrame
from medvae.writers._dicom_uids import new_uid
from medvae.writers._synthesis import Synthesis

__all__ = ["state_provenance"]

_VERSION = version("monai-medvae")

_LONGEST = 64
"""Maximum number of characters of a long string."""


def state_provenance(
    native: Slice, source: SourceFrame, synthesis: Synthesis, target: Dataset
) -> None:
    """Record in a dataset what was made, by what software and from which image.

    Args:
        native: Slice whose pixels have changed.
        source: Header of that slice.
        synthesis: Record of how the pixels were changed.
        target: Dataset in which the attributes are set.
    """
    target.SyntheticData = "YES"
    target.SeriesDescription = _description(synthesis)
    target.DerivationDescription = f"medvae {_VERSION}: {synthesis}"
    target.SourceImageSequence = [_source_image(native, source, target, synthesis)]
    target.QualityControlImage = "NO"
    target.PatientIdentityRemoved = "YES"
    target.DeidentificationMethod = "Attributes are new or come from an allow-list"
    target.DeidentificationMethodCodeSequence = [
        _code("113100", "Basic Application Confidentiality Profile")
    ]
    target.LongitudinalTemporalInformationModified = "REMOVED"
    equipment = Dataset()
    for item in (target, equipment):
        item.Manufacturer = item.ManufacturerModelName = "medvae"
        item.SoftwareVersions = _VERSION
    equipment.PurposeOfReferenceCodeSequence = [_code("109100", "Synthesizing Equipment")]
    equipment.ContributionDescription = "Made the pixels"
    target.ContributingEquipmentSequence = [equipment]


def _description(synthesis: Synthesis) -> str:
    warning = " - NOT FOR DIAGNOSTIC USE"
    what = f"SYNTHETIC {synthesis.render} copy {synthesis.copy}"
    return what[: _LONGEST - len(warning)] + warning


def _source_image(
    native: Slice, source: SourceFrame, target: Dataset, synthesis: Synthesis
) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = source.sop_class
    # The same in all runs, so that everything made from one image can be found.
    item.ReferencedSOPInstanceUID = new_uid("source image", native.source.uid)
    if source.sop_class != target.SOPClassUID:
        item.ReferencedFrameNumber = native.source.frame + 1
    item.SpatialLocationsPreserved = "YES" if synthesis.preserves_locations else "NO"
    item.PurposeOfReferenceCodeSequence = [
        _code("121322", "Source image for image processing operation")
    ]
    return item


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = "DCM"
    item.CodeMeaning = meaning
    return item
