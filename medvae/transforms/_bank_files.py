"""The files of a transplant bank: memory-mapped native pixels, and everything else as JSON.

::

    values.npy      the values of all slices in real units, one after another, float32
    padding.npy     whether a pixel is padding according to its file, in the same order, bool
    bank.json       shape, geometry, intensity and findings of each slice; donors and their hosts
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvae.atomic import write_json
from medvae.errors import ReadError, WriteError
from medvae.geometry import Geometry
from medvae.intensity import IntensityMap
from medvae.labels import finding_from_record, finding_record
from medvae.records import Labels, Pixels, Slice, check_secret, secret_fingerprint
from medvae.render import Scene
from medvae.schema import Fields, read_object

Contents = tuple[int, list["Stored"], list["Donor"], NDArray[np.float32], NDArray[np.bool_]]
"""Side of the model's canvas, slices, donors, and the values and padding of all slices."""

_FORMAT = 2
_VALUES, _PADDING, _INDEX = "values.npy", "padding.npy", "bank.json"
_LARGEST_CANVAS = 4096
_DAMAGED = "the transplant bank is damaged: build it anew"


@dataclass(frozen=True)
class Stored:
    """The description of a slice in a bank.

    Attributes:
        key, group: Pseudonyms of the slice and its patient.
        start: Index of its first pixel in the files.
        shape: Numbers of rows and columns.
        geometry: Spacing, position and orientation of the slice.
        intensity: Mapping of its values to those of the model.
        absolute: Whether its units are absolute, as in CT.
        labels: Findings on the slice.
    """

    key: str
    group: str
    start: int
    shape: tuple[int, int]
    geometry: Geometry
    intensity: IntensityMap
    absolute: bool
    labels: Labels

    @classmethod
    def of(cls, native: Slice, scene: Scene) -> Stored:
        """Return the description of a slice whose pixels are not stored yet."""
        seen = scene.intensity, scene.absolute, scene.labels
        return cls(native.key, native.group, 0, native.shape, native.geometry, *seen)

    @classmethod
    def from_record(cls, record: Fields) -> Stored:
        """Return the description that a :attr:`record` holds; raise ReadError if it is invalid."""
        shape, intensity = record.shape("shape"), record.object("intensity")
        findings = (
            finding_from_record(one.content, shape, one.where) for one in record.objects("findings")
        )
        return cls(
            record.text("key"),
            record.text("group"),
            record.whole("start"),
            shape,
            _geometry(record.object("geometry")),
            IntensityMap(intensity.number("low"), intensity.number("high"), intensity.text("name")),
            record.flag("absolute"),
            Labels(tuple(findings)),
        )

    @property
    def record(self) -> dict[str, Any]:
        """The description as plain JSON."""
        return {
            "key": self.key,
            "group": self.group,
            "start": self.start,
            "shape": list(self.shape),
            "geometry": asdict(self.geometry),
            "intensity": asdict(self.intensity),
            "absolute": self.absolute,
            "findings": [finding_record(finding, self.shape) for finding in self.labels],
        }

    @property
    def stop(self) -> int:
        """Index after its last pixel in the files."""
        return self.start + self.shape[0] * self.shape[1]


@dataclass(frozen=True)
class Donor:
    """A slice with lesions that can be transplanted.

    Attributes:
        place: Index of the slice in the bank.
        hosts: For each of these lesions, given by its index among the findings, the indices of the
            slices that may host it.
    """

    place: int
    hosts: Mapping[int, tuple[int, ...]]

    @property
    def needed(self) -> set[int]:
        """The indices of all slices that it needs."""
        return {self.place, *chain.from_iterable(self.hosts.values())}


def write_pixels(folder: Path, pixels: Iterable[Pixels], count: int) -> None:
    """Write the pixels of slices, ``count`` in total, one slice at a time."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _VALUES).open("wb") as values, (folder / _PADDING).open("wb") as padding:
            for file, kind in ((values, "<f4"), (padding, "|b1")):
                header = {"descr": kind, "fortran_order": False, "shape": (count,)}
                np.lib.format.write_array_header_1_0(file, header)
            for one in pixels:
                absent = np.zeros_like(one.values, bool) if one.padding is None else one.padding
                values.write(one.values.astype("<f4").tobytes())
                padding.write(absent.tobytes())
    except OSError as error:
        raise WriteError(f"{folder}: cannot be written: {error.strerror}") from error


def write_index(folder: Path, size: int, slices: Sequence[Stored], donors: Sequence[Donor]) -> None:
    """Write the index, which describes the pixels and completes the bank."""
    document = {
        "format": _FORMAT,
        "secret": secret_fingerprint(),
        "size": size,
        "slices": [one.record for one in slices],
        "donors": [asdict(donor) for donor in donors],
    }
    write_json(folder / _INDEX, document)


def read_bank(folder: Path) -> Contents:
    """Read a bank, which must have been built with the same ``MEDVAE_SECRET``."""
    absent = f"{folder}: holds no transplant bank: make one with TransplantBank.build"
    document = read_object(folder / _INDEX, absent)
    if document.content.get("format") != _FORMAT:
        raise document.wrong("format", str(_FORMAT))
    check_secret(folder, document.text("secret") if "secret" in document else None)
    try:
        contents = (
            document.whole("size", 1, _LARGEST_CANVAS),
            [Stored.from_record(record) for record in document.objects("slices")],
            [
                Donor(one.whole("place"), _hosts(one.object("hosts")))
                for one in document.objects("donors")
            ],
            np.lib.format.open_memmap(folder / _VALUES, mode="r"),
            np.lib.format.open_memmap(folder / _PADDING, mode="r"),
        )
    except FileNotFoundError as error:
        raise ReadError(absent) from error
    except OSError as error:
        raise ReadError(f"{folder}: cannot be read: {error.strerror}") from error
    except ReadError as error:
        raise ReadError(f"{error}: {_DAMAGED}") from error
    except ValueError as error:  # such as those of NumPy, whose messages span several lines
        raise ReadError(f"{folder}: {_DAMAGED}") from error
    if not _are_whole(*contents):
        raise ReadError(f"{folder}: {_DAMAGED}")
    return contents


def _are_whole(
    size: int,
    slices: Sequence[Stored],
    donors: Sequence[Donor],
    values: NDArray[np.float32],
    padding: NDArray[np.bool_],
) -> bool:
    """Return whether the pixels are complete and all indices are valid."""
    count = max((one.stop for one in slices), default=0)
    return (
        values.dtype == np.float32
        and padding.dtype == np.bool_
        and values.shape == padding.shape == (count,)
        and bool(donors)
        and all(
            donor.hosts
            and all(donor.hosts.values())
            and max(donor.needed) < len(slices)
            and max(donor.hosts) < len(slices[donor.place].labels)
            for donor in donors
        )
    )


def _hosts(fields: Fields) -> dict[int, tuple[int, ...]]:
    return {int(finding): fields.wholes(finding) for finding in fields.content}


def _geometry(fields: Fields) -> Geometry:
    counts = {"spacing": 2, "position": 3, "along_row": 3, "along_column": 3}
    known: dict[str, Any] = {
        name: fields.numbers(name, count)
        for name, count in counts.items()
        if not fields.is_null(name)
    }
    thickness = None if fields.is_null("thickness") else fields.number("thickness")
    return Geometry(**known, thickness=thickness)
