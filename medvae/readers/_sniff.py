"""Detection of the format of a file from its first bytes, regardless of its name."""

from __future__ import annotations

import zlib

from medvae.gzips import GZIP
from medvae.readers._headers import Skipped

__all__ = ["HEAD", "sniff"]

HEAD = 8192
"""Number of bytes that are inspected."""

_PICTURES = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    *(b"II*\0", b"MM\0*", b"II+\0"),  # TIFF and BigTIFF
)
_OTHERS = {
    GZIP: "it is gzip-compressed but not NIfTI: unpack it first",
    b"PK\x03\x04": "it is a zip archive: unpack it first",
    b"%PDF": "it is a PDF document",
    b"GIF8": "it is a GIF picture: convert it to PNG",
    b"MM\0+": "it is a big-endian BigTIFF: convert it to TIFF",
    b"BM": "it is a BMP picture: convert it to PNG",
}


def sniff(head: bytes) -> str:
    """Return the name of the format of a file that begins with ``head``.

    Raises:
        Skipped: If the format is not one that medvae reads.
    """
    if not head:
        raise Skipped("it is empty")
    if not head.strip(b"\0"):
        raise Skipped("it begins with nothing but zero bytes")
    tests = {
        "dicom": head[128:132] == b"DICM",
        "nifti": _is_nifti(head),
        "picture": head.startswith(_PICTURES),
        "itk": head.startswith(b"NRRD") or _is_meta_image(head),
    }
    for name, found in tests.items():
        if found:
            return name
    for magic, reason in _OTHERS.items():
        if head.startswith(magic):
            raise Skipped(reason)
    if _is_bare_dicom(head):
        return "dicom"
    raise Skipped("it is in none of the formats that are read")


def _is_nifti(head: bytes) -> bool:
    if head.startswith(GZIP):
        try:
            head = zlib.decompressobj(31).decompress(head, 1024)
        except zlib.error:
            return False
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def _is_meta_image(head: bytes) -> bool:
    first = head.lstrip()[:32].replace(b" ", b"")
    return first.startswith((b"ObjectType=Image", b"NDims=", b"Comment=")) and b"NDims" in head


def _is_bare_dicom(head: bytes) -> bool:
    """Return whether the file is DICOM without a preamble, starting in group 2 or 8.

    The first element is a tag, then two capitals (explicit) or a small 32-bit length (implicit).
    """
    length = int.from_bytes(head[4:8], "little")
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    if head[:2] in (b"\0\x02", b"\0\x08"):  # big-endian, which is always explicit
        return explicit
    return head[:2] in (b"\x02\0", b"\x08\0") and (explicit or length < 2**10)
