"""What may be copied from a DICOM header: rules for numbers, and the words that are known.

A code string can contain a name instead of a term, so only terms of the standard and of
manufacturers that are listed here are copied.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence, Set

from pydicom.valuerep import format_number_as_ds

__all__ = [
    "BODY_PARTS",
    "COMPRESSIONS",
    "IMAGE_TYPES",
    "PAIRED_BODY_PARTS",
    "PATIENT_POSITIONS",
    "RESCALE_TYPES",
    "SCANNING_SEQUENCES",
    "SCAN_OPTIONS",
    "SEQUENCE_VARIANTS",
    "VIEWS",
    "Rule",
    "about",
    "count",
    "directions",
    "exact",
    "word",
    "words",
]

Rule = Callable[[Sequence[str]], list[str]]
"""Takes the values of an attribute and returns those that may be copied."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

_LONGEST = 16
"""Maximum number of characters of a decimal string."""


def words(known: Set[str]) -> Rule:
    """Return a rule that passes all known words."""
    return lambda values: [value for value in values if value in known]


def word(known: Set[str]) -> Rule:
    """Return a rule that passes the first word if it is known."""
    return lambda values: [value for value in values[:1] if value in known]


def exact(count: int) -> Rule:
    """Return a rule that passes ``count`` numbers as written, or rounded if they are too long."""

    def rule(values: Sequence[str]) -> list[str]:
        numbers = [_decimal(value) for value in values]
        return numbers if len(numbers) == count and all(numbers) else []

    return rule


def about(low: float, high: float) -> Rule:
    """Return a rule that passes a number between limits, rounded to six significant digits."""

    def rule(values: Sequence[str]) -> list[str]:
        found = [float(value) for value in values[:1] if _decimal(value)]
        return [f"{value:.6g}" for value in found if low < value < high]

    return rule


def count(values: Sequence[str]) -> list[str]:
    """Pass an integer of a few digits."""
    return [str(int(value)) for value in values[:1] if re.fullmatch("[0-9]{1,4}", value)]


def directions(values: Sequence[str]) -> list[str]:
    """Pass two directions in the patient, such as ``A`` and ``FL``."""
    good = len(values) == 2 and all(re.fullmatch("[AFHLPR]{1,3}", value) for value in values)
    return list(values) if good else []


def _decimal(text: str) -> str:
    """Return a number as a decimal string, or an empty string if the text is not a number."""
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        return ""
    return text if len(text) <= _LONGEST else format_number_as_ds(float(text))


IMAGE_TYPES = frozenset(
    "AXIAL LOCALIZER HELIX ADD ADC ANGIO AVERAGE B0 CBF CBV CINE CONVERTED DERIVED_FROM DIFFUSION "
    "DIS2D DIS3D DIXON DRR EPI FA FAT FFE FIL FLOW FM FSE GDC GR GRE I IN_PHASE IR M M_FFE M_IR "
    "M_SE MAGNITUDE MEAN MFSPLIT MIN MINIP MIP MNIP MOSAIC MPR MTT NAV ND NONE NORM OPP_PHASE "
    "OTHER OUT_PHASE P PERFUSION PHASE PJN POSDISP PROPELLER PROTON_DENSITY PSIR P_FFE P_IR P_SE "
    "R RAW REAL RECON REFORMATTED RESAMPLED R_FFE R_IR R_SE SE SECONDARY_AXIAL SLAB SPI SUB T1 T2 "
    "T2_STAR TENSOR TMAX TOF TRACE TRACEW TTP VELOCITY VENC VOLUME W WATER".split()
) | {
    *("CSA MPR", "CSA PARALLEL", "CSA RESAMPLED", "DENSITY MAP", "DIFFUSION MAP"),
    *("IMAGE ADDITION", "MIN IP", "MODULUS SUBTRACT", "PHASE MAP", "PHASE SUBTRACT"),
    *("PROJECTION IMAGE", "T1 MAP", "T2 MAP", "T2_STAR MAP", "VELOCITY MAP"),
    *(f"CT_SOM{n} {kind}" for n in (4, 5, 7, 8) for kind in ("SPI", "SEQ", "TOP", "MPR", "SPO")),
}

PATIENT_POSITIONS = frozenset(
    "HFP HFS HFDR HFDL FFDR FFDL FFP FFS LFP LFS RFP RFS AFDR AFDL PFDR PFDL".split()
)

PAIRED_BODY_PARTS = frozenset(
    "ANKLE ARM AXILLA BREAST BUTTOCK CALCANEUS CALF CAROTID CHEEK CLAVICLE EAR ELBOW EXTREMITY EYE "
    "FEMUR FINGER FOOT FOREARM HAND HIP HUMERUS IAC KIDNEY KNEE LEG LOWERLEG ORBIT PATELLA RADIUS "
    "SCAPULA SHOULDER THIGH THUMB TIBIA TMJ TOE ULNA UPPERARM WRIST ZYGOMA".split()
)

BODY_PARTS = PAIRED_BODY_PARTS | set(
    "ABDOMEN ABDOMENPELVIS ADRENAL AORTA BACK BLADDER BRAIN CEREBELLUM CHEST CHESTABDOMEN "
    "CHESTABDPELVIS CIRCLEOFWILLIS COCCYX COLON CORONARYARTERY CSPINE CTSPINE DUODENUM ESOPHAGUS "
    "FACE GALLBLADDER HEAD HEADNECK HEART ILIUM JAW LARYNX LIVER LSPINE LSSPINE LUNG MANDIBLE "
    "MAXILLA MEDIASTINUM MOUTH NECK NECKCHEST NECKCHESTABDOMEN NECKCHESTABDPELV NOSE OVARY "
    "PANCREAS PAROTID PELVIS PHARYNX PROSTATE RECTUM RIB SCALP SKULL SPINE SPLEEN SSPINE STERNUM "
    "STOMACH TESTIS THYMUS THYROID TLSPINE TONGUE TRACHEA TSPINE UTERUS WHOLEBODY".split()
)

VIEWS = frozenset("AP PA LL RL RLD LLD RLO LLO LPO RPO LAO RAO LAT OBL AXIAL".split())

RESCALE_TYPES = frozenset({"HU", "HU_MOD", "US", "OD", "MGML", "PCT", "Z_EFF", "ED", "EDW"})

COMPRESSIONS = frozenset(
    "ISO_10918_1 ISO_14495_1 ISO_15444_1 ISO_15444_15 ISO_13818_2 ISO_14496_10 ISO_23008_2".split()
)

SCANNING_SEQUENCES = frozenset("SE IR GR EP RM".split())

SEQUENCE_VARIANTS = frozenset("SK MTC SS TRSS SP MP OSP TOF NONE".split())

SCAN_OPTIONS = frozenset("PER RG CG PPG FC PFF PFP SP FS CT IR SFS".split())
