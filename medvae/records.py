"""The records that pass between the rooms: studies, series, slices, their pixels and labels.

Coordinates on a slice are (x, y) in pixel edges: x runs along the columns, y down the rows,
and the pixel at row 0, column 0 covers the square from (0, 0) to (1, 1). Positions in space
are millimetres in the patient's LPS system (x to the left, y to the back, z to the head).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvae.errors import UsageProblem

__all__ = [
    "Box",
    "Category",
    "Finding",
    "Geometry",
    "Labels",
    "Layout",
    "Mask",
    "Pixels",
    "Series",
    "Slice",
    "Source",
    "Study",
    "box_overlap",
    "check_secret",
    "pseudonym",
    "secret_fingerprint",
]

Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1) in pixel edges."""

Vector = tuple[float, float, float]


def box_overlap(one: Box, other: Box) -> float:
    """Return the share that two boxes have in common of what they cover together."""
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    total = sum(areas) - width * height
    return width * height / total if total > 0 else 0.0


def pseudonym(kind: str, *identity: str) -> str:
    """Return a stable name of 20 hexadecimal digits for something that must not be named.

    The same identity gives the same name on every machine. A team that does not want others to
    find an identifier by trying them all sets the environment variable ``MEDVAE_SECRET``.

    Args:
        kind: what is named, so that a patient and a study of the same id differ.
        identity: the parts that together identify it.
    """
    secret = os.fsencode(os.environ.get("MEDVAE_SECRET", ""))
    longest = hashlib.blake2b.MAX_KEY_SIZE
    if len(secret) > longest:
        raise UsageProblem(f"MEDVAE_SECRET is {len(secret)} bytes long: give at most {longest}")
    digest = hashlib.blake2b(digest_size=10, key=secret, person=b"medvae")
    for part in (kind, *identity):
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def secret_fingerprint() -> str:
    """Return what two runs have in common whose pseudonyms are of the same ``MEDVAE_SECRET``.

    It is a keyed hash of a constant, so it may lie beside the pseudonyms: whoever reads it can try
    secrets one by one, which each of the pseudonyms allows as well, and learns nothing else.
    """
    return pseudonym("fingerprint of the secret")


def check_secret(where: object, fingerprint: str | None) -> None:
    """Refuse pseudonyms that cannot be compared with those that are made now.

    Args:
        where: The file that holds them.
        fingerprint: What ``secret_fingerprint`` gave then; None in files that are older than it.

    Raises:
        UsageProblem: They were made with another secret, or one of them without any.
    """
    if fingerprint in (None, secret_fingerprint()):
        return
    if os.environ.get("MEDVAE_SECRET"):
        raise UsageProblem(
            f"{where}: was written without MEDVAE_SECRET or with another one, so its patients have "
            "other names: set it as it was then"
        )
    raise UsageProblem(
        f"{where}: was written with a MEDVAE_SECRET, which is not set now, so its patients have "
        "other names: set it as it was then"
    )


@dataclass(frozen=True)
class Category:
    """A class of findings, such as ``glioma`` of the supercategory ``lesion``.

    Half of a surrogate pair, which no file can hold, becomes an escape such as ``\\ud800``.
    """

    name: str
    supercategory: str = ""

    def __post_init__(self) -> None:
        for field_name in ("name", "supercategory"):
            written = getattr(self, field_name).encode("utf-8", "backslashreplace").decode()
            object.__setattr__(self, field_name, written)


@dataclass(frozen=True, eq=False)
class Mask:
    """A binary mask on a slice, kept as the rectangle that holds it.

    Attributes:
        row, column: where the rectangle begins.
        crop: ``[rows, columns]`` bool, with something set in its outermost rows and columns.
    """

    row: int
    column: int
    crop: NDArray[np.bool_]

    @classmethod
    def of(cls, full: NDArray[Any]) -> Mask | None:
        """Cut ``full``, ``[rows, columns]``, to what is set; None where nothing is."""
        rows = np.flatnonzero(full.any(axis=1))
        if not len(rows):
            return None
        columns = np.flatnonzero(full.any(axis=0))
        row, column = int(rows[0]), int(columns[0])
        crop = full[row : rows[-1] + 1, column : columns[-1] + 1]
        return cls(row, column, np.ascontiguousarray(crop, dtype=np.bool_))

    def on(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the mask on a slice of this shape, ``[rows, columns]`` bool."""
        full = np.zeros(shape, dtype=np.bool_)
        height, width = self.crop.shape
        full[self.row : self.row + height, self.column : self.column + width] = self.crop
        return full

    @property
    def box(self) -> Box:
        """The box around the mask."""
        height, width = self.crop.shape
        return (
            float(self.column),
            float(self.row),
            float(self.column + width),
            float(self.row + height),
        )

    @property
    def area(self) -> int:
        """How many pixels are set."""
        return int(self.crop.sum())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        return (self.row, self.column) == (other.row, other.column) and np.array_equal(
            self.crop, other.crop
        )

    def __hash__(self) -> int:
        return hash((self.row, self.column, self.crop.shape, self.crop.tobytes()))


@dataclass(frozen=True)
class Finding:
    """One labelled thing on one slice; where it has a mask, the box follows the mask."""

    category: Category
    box: Box
    mask: Mask | None = None


@dataclass(frozen=True)
class Labels:
    """All findings of one slice. Empty means: looked at, and nothing found."""

    findings: tuple[Finding, ...] = ()

    def __len__(self) -> int:
        return len(self.findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    @property
    def boxes(self) -> NDArray[np.float64]:
        """The boxes as ``[N, 4]``."""
        return np.array([f.box for f in self.findings], dtype=np.float64).reshape(-1, 4)


@dataclass(frozen=True)
class Geometry:
    """Where a slice lies in the patient, as far as its file says.

    Attributes:
        spacing: millimetres between rows and between columns, in DICOM's order.
        position: the centre of the first pixel.
        along_row: unit vector in which the column index grows.
        along_column: unit vector in which the row index grows.
        thickness: of the slice, in millimetres.
    """

    spacing: tuple[float, float] | None = None
    position: Vector | None = None
    along_row: Vector | None = None
    along_column: Vector | None = None
    thickness: float | None = None

    @property
    def normal(self) -> Vector | None:
        """The unit vector perpendicular to the slice."""
        if self.along_row is None or self.along_column is None:
            return None
        x, y, z = np.cross(self.along_row, self.along_column)
        return (float(x), float(y), float(z))


@dataclass(frozen=True)
class Layout:
    """Where uncompressed pixels stand in a file, and what their numbers mean.

    Attributes:
        offset: of the first byte of the first frame.
        dtype: of a number, such as ``<i2``.
        unused: how many of a number's highest bits mean nothing.
        shape: rows and columns of a frame.
        slope, intercept: real values are ``slope * stored + intercept``.
        padding: first and last number that mark padding.
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
    """Where the pixels of a slice are. It names files and ids of patients: never written out.

    Attributes:
        path: the file.
        format: ``dicom``, ``nifti``, ``itk`` (NRRD, MetaImage) or ``picture``.
        frame: index of the slice in its file: the frame, the page, or the place along ``axis``.
        axis: for a volume, the voxel axis that runs through the slices.
        time: for a volume of four dimensions, the index along the fourth.
        uid: SOPInstanceUID, or a fingerprint of the file's content.
        series_uid: SeriesInstanceUID, or empty.
        layout: of the pixels, where they need no decoder.
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
        stored: the numbers as they are in the file.
        values: float32 in real units (HU for CT), after rescale slope and intercept or the
            modality table.
        padding: true where the file says that there is no image; None where it says nothing.
    """

    stored: NDArray[Any]
    values: NDArray[np.float32]
    padding: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Slice:
    """One native slice, whose pixels are decoded when asked for.

    Attributes:
        key: stable name of the slice, independent of folders and order.
        group: pseudonym of the patient.
        shape: rows and columns.
        modality: DICOM's code, such as ``MR``; None where neither file nor user says.
        inverted: low values are shown bright (MONOCHROME1); ``values`` are never inverted.
        burned_in: The file says that text is burned into its pixels, which may name the patient.
        window: centre and width that the file proposes for display.
        labels: None where nobody has said what is on the slice.
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

    def pixels(self) -> Pixels:
        """Decode the pixels.

        Raises:
            DecodeError: when they cannot be decoded, or not within the limits.
        """
        return self.load(self.source)


@dataclass(frozen=True)
class Series:
    """Slices of one acquisition with one orientation and shape, in order through the patient.

    Attributes:
        flags: what is unusual, in words: a tilt, gaps, duplicates, a time point.
    """

    key: str
    slices: tuple[Slice, ...]
    flags: tuple[str, ...] = ()

    @property
    def modality(self) -> str | None:
        """The modality of its slices."""
        return self.slices[0].modality

    @property
    def gap(self) -> float | None:
        """The median distance in millimetres from slice to slice, along their normal."""
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
        group: pseudonym of the patient.
        group_from: what the group was taken from, such as ``PatientID`` or ``folder``.
    """

    key: str
    group: str
    group_from: str
    series: tuple[Series, ...]

    @property
    def slices(self) -> Iterator[Slice]:
        """All slices, series by series."""
        return (s for series in self.series for s in series.slices)
