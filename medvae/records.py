"""The records that subpackages exchange: studies, series and slices with pixels and labels.

The systems of coordinates are those of ``geometry``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvae.errors import UsageProblem
from medvae.geometry import Box, Geometry

__all__ = [
    "Category",
    "Finding",
    "Labels",
    "Layout",
    "Mask",
    "Pixels",
    "Series",
    "Slice",
    "Source",
    "Study",
    "check_secret",
    "pseudonym",
    "secret_fingerprint",
]


def pseudonym(kind: str, *identity: str) -> str:
    """Return a stable pseudonym of 20 hexadecimal digits for an identity that must stay hidden.

    The same identity gives the same pseudonym on every machine. To prevent others from finding an
    identifier by trying all of them, set the environment variable ``MEDVAE_SECRET``.

    Args:
        kind: Kind of object, so that a patient and a study with the same ID differ.
        identity: Parts that together identify the object.
    """
    secret = os.fsencode(os.environ.get("MEDVAE_SECRET", ""))
    longest = hashlib.blake2b.MAX_KEY_SIZE
    if len(secret) > longest:
        raise UsageProblem(f"MEDVAE_SECRET is {len(secret)} bytes long; use at most {longest}")
    digest = hashlib.blake2b(digest_size=10, key=secret, person=b"medvae")
    for part in (kind, *identity):
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def secret_fingerprint() -> str:
    """Return a fingerprint that runs with the same ``MEDVAE_SECRET`` share.

    It is a keyed hash of a constant, so it can be stored with the pseudonyms: a reader can only
    use it to try secrets one by one, which each of the pseudonyms allows as well.
    """
    return pseudonym("fingerprint of the secret")


def check_secret(where: object, fingerprint: str | None) -> None:
    """Check that stored pseudonyms can be compared with those that are made now.

    Args:
        where: File that holds the pseudonyms.
        fingerprint: Value of ``secret_fingerprint`` at that time; None for older files.

    Raises:
        UsageProblem: If the secrets differ, or only one of the two sets was made with a secret.
    """
    if fingerprint in (None, secret_fingerprint()):
        return
    how = "with a MEDVAE_SECRET, which is not set now"
    if os.environ.get("MEDVAE_SECRET"):
        how = "without MEDVAE_SECRET or with another one"
    raise UsageProblem(
        f"{where}: was written {how}, so its patients have other names; set MEDVAE_SECRET to the "
        "value used then"
    )


@dataclass(frozen=True)
class Category:
    """A class of findings, such as ``glioma`` of the supercategory ``lesion``.

    An unpaired surrogate, which no file can hold, is replaced by an escape such as ``\\ud800``.
    """

    name: str
    supercategory: str = ""

    def __post_init__(self) -> None:
        for field_name in ("name", "supercategory"):
            written = getattr(self, field_name).encode("utf-8", "backslashreplace").decode()
            object.__setattr__(self, field_name, written)


@dataclass(frozen=True, eq=False)
class Mask:
    """A binary mask on a slice, stored as its bounding rectangle.

    Attributes:
        row, column: First row and first column of the rectangle.
        crop: Boolean array ``[rows, columns]`` whose outermost rows and columns are not empty.
    """

    row: int
    column: int
    crop: NDArray[np.bool_]

    @classmethod
    def of(cls, full: NDArray[Any]) -> Mask | None:
        """Crop ``full``, ``[rows, columns]``, to its set pixels; return None if there are none."""
        rows = np.flatnonzero(full.any(axis=1))
        if not len(rows):
            return None
        columns = np.flatnonzero(full.any(axis=0))
        row, column = int(rows[0]), int(columns[0])
        crop = full[row : rows[-1] + 1, column : columns[-1] + 1]
        return cls(row, column, np.ascontiguousarray(crop, dtype=np.bool_))

    def on(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the mask on a slice of this shape, as a Boolean array ``[rows, columns]``."""
        full = np.zeros(shape, dtype=np.bool_)
        height, width = self.crop.shape
        full[self.row : self.row + height, self.column : self.column + width] = self.crop
        return full

    @property
    def box(self) -> Box:
        """The bounding box of the mask."""
        height, width = self.crop.shape
        return Box(*map(float, (self.column, self.row, self.column + width, self.row + height)))

    @property
    def area(self) -> int:
        """The number of pixels that are set."""
        return int(self.crop.sum())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mask) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def _values(self) -> tuple[object, ...]:
        return (self.row, self.column, self.crop.shape, self.crop.tobytes())


@dataclass(frozen=True)
class Finding:
    """One labelled object on one slice; if it has a mask, the box follows the mask."""

    category: Category
    box: Box
    mask: Mask | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.box, Box):
            raise TypeError(f"the box of a finding must be a Box, not {self.box!r}")

    @property
    def area(self) -> float:
        """The number of pixels of the mask, or the area of the box if there is no mask."""
        return self.box.area if self.mask is None else float(self.mask.area)


@dataclass(frozen=True)
class Labels:
    """All findings on one slice; empty if the slice was examined and nothing was found."""

    findings: tuple[Finding, ...] = ()

    def __len__(self) -> int:
        return len(self.findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    @property
    def boxes(self) -> NDArray[np.float64]:
        """The boxes of the findings, ``[N, 4]``."""
        return np.array([f.box for f in self.findings], dtype=np.float64).reshape(-1, 4)


@dataclass(frozen=True)
class Layout:
    """The location of uncompressed pixels in a file, and the meaning of their numbers.

    Attributes:
        offset: Offset of the first byte of the first frame.
        dtype: Data type of a number, such as ``<i2``.
        unused: Number of the highest bits of each number that are unused.
        shape: Rows and columns of a frame.
        slope, intercept: Coefficients of the real values, ``slope * stored + intercept``.
        padding: First and last of the numbers that mark padding.
    """

    offset: int
    dtype: str
    unused: int
    shape: tuple[int, int]
    slope: float
    intercept: float
    padding: tuple[float, float] | None


@dataclass(frozen=True)
class Source:
    """The location of a slice's pixels. It is never written out, as paths and IDs name patients.

    Attributes:
        path: Path of the file.
        format: Name of the format, as in ``formats.READERS``.
        frame: Index of the slice in its file: its frame, its page, or its index along ``axis``.
        axis: Voxel axis that runs through the slices of a volume.
        time: Index along the fourth dimension of a four-dimensional volume.
        uid: SOPInstanceUID, or a fingerprint of the file's content.
        series_uid: SeriesInstanceUID, or empty.
        layout: Layout of the pixels, if they need no decoder.
    """

    path: Path
    format: str
    frame: int = 0
    axis: int = 2
    time: int = 0
    uid: str = ""
    series_uid: str = ""
    layout: Layout | None = None


@dataclass(frozen=True, eq=False)
class Pixels:
    """The decoded pixels of one slice, all ``[rows, columns]``.

    Attributes:
        stored: Numbers as stored in the file.
        values: Values in real units (HU for CT) as float32, after rescale slope and intercept or
            the modality table.
        padding: True where the file says that there is no image; None if it does not say.
    """

    stored: NDArray[Any]
    values: NDArray[np.float32]
    padding: NDArray[np.bool_] | None = None


def _decoded(pixels: Pixels, source: Source) -> Pixels:
    """Return pixels that are in memory already."""
    return pixels


@dataclass(frozen=True)
class Slice:
    """One native slice, whose pixels are decoded on request.

    Attributes:
        key: Stable name of the slice, independent of folders and order.
        group: Pseudonym of the patient.
        shape: Rows and columns.
        modality: DICOM code, such as ``MR``; None if neither the file nor the user states it.
        inverted: Whether low values are shown bright (MONOCHROME1); ``values`` are never inverted.
        burned_in: Whether the file reports text burned into its pixels, which may name the patient.
        window: Centre and width that the file proposes for display.
        labels: Findings on the slice; None if the slice is not labelled.
        series: Key of the series that the slice belongs to; empty if it belongs to none.
        place: Index of the slice in its series, from 0.
    """

    key: str
    group: str
    shape: tuple[int, int]
    modality: str | None
    geometry: Geometry
    source: Source
    load: Callable[[Source], Pixels] = field(repr=False, compare=False)
    inverted: bool = False
    burned_in: bool = False
    window: tuple[float, float] | None = None
    labels: Labels | None = None
    series: str = field(default="", compare=False)
    place: int = field(default=0, compare=False)

    @classmethod
    def in_memory(
        cls,
        pixels: Pixels,
        *,
        key: str = "",
        group: str = "",
        modality: str | None = None,
        geometry: Geometry | None = None,
        labels: Labels | None = None,
    ) -> Slice:
        """Return a slice of pixels that are not in a file of their own."""
        rows, columns = pixels.values.shape
        return cls(
            key,
            group,
            (rows, columns),
            modality,
            geometry or Geometry(),
            Source(Path(), "memory"),
            partial(_decoded, pixels),
            labels=labels,
        )

    @property
    def name(self) -> str:
        """The name of the slice among those of all series."""
        return f"{self.series}/{self.key}"

    @property
    def order(self) -> tuple[str, int, str]:
        """Sort key among the slices of all series, which does not depend on how files are given."""
        return (self.series, self.place, self.key)

    def pixels(self) -> Pixels:
        """Decode the pixels.

        Raises:
            DecodeError: If they cannot be decoded, or exceed a time or memory limit.
        """
        return self.load(self.source)


@dataclass(frozen=True)
class Series:
    """Slices of one acquisition with one orientation and shape, in spatial order.

    Slices are numbered by their place in the series.

    Attributes:
        flags: Descriptions of anything unusual: a tilt, gaps, duplicates, a time point.
    """

    key: str
    slices: tuple[Slice, ...]
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        placed = (
            replace(native, series=self.key, place=place)
            for place, native in enumerate(self.slices)
        )
        object.__setattr__(self, "slices", tuple(placed))

    @property
    def modality(self) -> str | None:
        """The modality of the slices."""
        return self.slices[0].modality

    @property
    def gap(self) -> float | None:
        """The median distance between adjacent slices along their normal, in millimetres."""
        normal = self.slices[0].geometry.normal
        positions = [s.geometry.position for s in self.slices]
        known = [p for p in positions if p is not None]
        if normal is None or len(known) < 2:
            return None
        return float(np.median(np.abs(np.diff(np.array(known) @ np.array(normal)))))


@dataclass(frozen=True)
class Study:
    """The series of one examination of one patient.

    Attributes:
        group: Pseudonym of the patient.
        group_from: Origin of the group, such as ``PatientID`` or ``folder``.
    """

    key: str
    group: str
    group_from: str
    series: tuple[Series, ...]

    @property
    def slices(self) -> Iterator[Slice]:
        """All slices, series by series."""
        return (s for series in self.series for s in series.slices)

    def map(self, change: Callable[[Slice], Slice]) -> Study:
        """Return the study with every slice replaced by the result of a function."""
        series = (replace(one, slices=tuple(map(change, one.slices))) for one in self.series)
        return replace(self, series=tuple(series))

    def part(self, wanted: Callable[[Slice], bool]) -> Study:
        """Return the study with only the wanted slices, and without series that have none."""
        parts = (replace(one, slices=tuple(filter(wanted, one.slices))) for one in self.series)
        return replace(self, series=tuple(one for one in parts if one.slices))
