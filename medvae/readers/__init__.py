"""Readers for studies: every file is accounted for, and unreliable files are refused."""

from __future__ import annotations

from medvae.files import FileReport
from medvae.readers._contract import (
    Decode,
    Decoded,
    FileHeader,
    FileRefused,
    FileSkipped,
    FormatReader,
    FrameHeader,
    fingerprint,
)
from medvae.readers._limits import plausible_thickness, plausible_window
from medvae.readers._pixels import check_unchanged, pixel_fingerprint, read_pixels
from medvae.readers._studies import Scan, open_studies, refuse_burned_in, verify_pixels

__all__ = [
    "Decode",
    "Decoded",
    "FileHeader",
    "FileRefused",
    "FileReport",
    "FileSkipped",
    "FormatReader",
    "FrameHeader",
    "Scan",
    "check_unchanged",
    "fingerprint",
    "open_studies",
    "pixel_fingerprint",
    "plausible_thickness",
    "plausible_window",
    "read_pixels",
    "refuse_burned_in",
    "verify_pixels",
]
