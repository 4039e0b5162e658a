"""Registries of the image formats that medvae reads and writes; to add a format, register it here.

This module imports no decoder. The module of a format is imported when a file needs it, so that
help texts appear at once, and a process that reads DICOM needs no memory for other formats.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from medvae.gzips import GZIP

__all__ = [
    "HEAD",
    "READERS",
    "WRITERS",
    "Reader",
    "Writer",
    "titles",
]

HEAD = 8192
"""Number of bytes at the beginning of a file from which its format is recognised."""

_PICTURES = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    *(b"II*\0", b"MM\0*", b"II+\0"),  # TIFF and BigTIFF
)


@dataclass(frozen=True)
class Reader:
    """A format of images that medvae reads.

    Attributes:
        title: Name of the format for users, or several, separated by commas.
        sniff: Function of a module that returns whether a file that begins with the given bytes is
            in the format, whatever its name.
        module: Name of the module that reads the format, as ``readers.FormatReader`` describes.
    """

    title: str
    sniff: Callable[[bytes], bool]
    module: str

    def __post_init__(self) -> None:
        if "__main__" in (self.sniff.__module__, self.module) or "<" in self.sniff.__qualname__:
            raise ValueError(
                "a reader runs in other processes: define its functions in a module that can be "
                "imported, not in a script or as a lambda"
            )


@dataclass(frozen=True)
class Writer:
    """A format in which medvae writes slices.

    Attributes:
        title: Name of the format for users.
        module: Name of the module that writes the format, as ``writers.FormatWriter`` describes.
        volumes: Whether the slices of a series are written to one file.
        synthetic: Whether each file states that it is synthetic, so that real slices cannot be
            written in the format.
    """

    title: str
    module: str
    volumes: bool = False
    synthetic: bool = False


def titles(formats: Mapping[str, Reader | Writer]) -> str:
    """Return the names of all formats for users, as an enumeration."""
    names = ", ".join(one.title for one in formats.values())
    return " and ".join(names.rsplit(", ", 1))


def is_dicom(head: bytes) -> bool:
    """Return whether a file is DICOM, with or without a preamble.

    Without a preamble, the file starts in group 2 or 8: the first element is a tag, then two
    capitals (explicit VR) or a small 32-bit length (implicit VR).
    """
    if head[128:132] == b"DICM":
        return True
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    if head[:2] in (b"\0\x02", b"\0\x08"):  # big-endian, which is always explicit
        return explicit
    length = int.from_bytes(head[4:8], "little")
    return head[:2] in (b"\x02\0", b"\x08\0") and (explicit or length < 2**10)


def is_nifti(head: bytes) -> bool:
    """Return whether a file is NIfTI, compressed or not."""
    if head.startswith(GZIP):
        try:
            head = zlib.decompressobj(31).decompress(head, 1024)
        except zlib.error:
            return False
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def is_picture(head: bytes) -> bool:
    """Return whether a file is PNG, JPEG or TIFF."""
    return head.startswith(_PICTURES)


def is_itk(head: bytes) -> bool:
    """Return whether a file is NRRD or MetaImage."""
    first = head.lstrip()[:32].replace(b" ", b"")
    meta = first.startswith((b"ObjectType=Image", b"NDims=", b"Comment="))
    return head.startswith(b"NRRD") or (meta and b"NDims" in head)


READERS: dict[str, Reader] = {
    "dicom": Reader("DICOM", is_dicom, "medvae.readers._dicom"),
    "nifti": Reader("NIfTI", is_nifti, "medvae.readers._nifti"),
    "itk": Reader("NRRD, MetaImage", is_itk, "medvae.readers._itk"),
    "picture": Reader("PNG, JPEG, TIFF", is_picture, "medvae.readers._picture"),
}
"""Formats that are read, in the order in which they are tried, by their name in a ``Source``."""

WRITERS: dict[str, Writer] = {
    "dicom": Writer("DICOM", "medvae.writers._dicom", synthetic=True),
    "nifti": Writer("NIfTI", "medvae.writers._nifti", volumes=True),
    "png": Writer("PNG", "medvae.writers._png"),
}
"""Formats that are written, by the name that a user gives."""
