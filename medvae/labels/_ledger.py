"""Collect the labels of a label file for each slice, and the problems with them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from medvae.files import file_identity
from medvae.geometry import Box
from medvae.labels._match import SliceIndex
from medvae.labels._problem import Problem, UnplacedError, UnusableError
from medvae.records import Category, Finding, Labels, Mask, Slice, Study, pseudonym

__all__ = ["Ledger", "Patient"]

Patient = tuple[str, str]
"""Group that a label record assigns to a picture, and the origin of the group."""

# In pixels. A box may extend this far over the edge due to rounding, which is not reported.
_ROUNDING = 0.01
_PATIENT_FIELDS = ("patient", "patient_id", "case", "patientId")
_PSEUDONYM = re.compile(r"[0-9a-f]{20}")


class Ledger:
    """Collected contents of a label file.

    Attributes:
        index: Index of the slices that can be labelled.
        problems: Labels that could not be used as they stand, in the order of the file.
        files: Label files that were used.
        patients: Patients of pictures, whose own files do not name the patient.
    """

    def __init__(self, studies: Iterable[Study]) -> None:
        self.index = SliceIndex(series.slices for study in studies for series in study.series)
        self.problems: list[Problem] = []
        self.files: list[Path] = []
        self.patients: dict[Slice, Patient] = {}
        self._findings: dict[Slice, list[Finding]] = {}
        self._claims: dict[object, Path] = {}
        self._doubtful: set[Slice] = set()
        self._all_doubtful = False

    @contextmanager
    def record(self, where: str, on: Sequence[Slice] = ()) -> Iterator[None]:
        """Turn an `UnusableError` into a problem of the record ``where``.

        Args:
            where: Name of the record, for messages.
            on: Slices that the record labels. If it cannot be used, they do not become known to
                be empty.
        """
        try:
            yield
        except UnusableError as error:
            self.problem(where, str(error))
            self._doubtful.update(on)
            if isinstance(error, UnplacedError):
                self._doubtful.update(error.among or ())
                self._all_doubtful |= error.among is None

    def problem(self, where: str, what: str) -> None:
        """Add a problem for something that could not be used as it stands."""
        self.problems.append(Problem(where, what))

    def claim(self, file: Path, *slices: Slice) -> None:
        """Register a file as the source of labels of some slices.

        Without slices, the file itself names those that it labels.

        Raises:
            UnusableError: The same file was registered for one of them under another name.
        """
        identity = file_identity(file)
        for slice_ in slices or (None,):
            first = self._claims.setdefault((identity, slice_), file)
            if first != file:
                raise UnusableError(f"is the same file as {first}, which was read before; ignored")

    def mention(self, *slices: Slice) -> None:
        """Note that the label file lists these slices, that is, that they were examined."""
        for slice_ in slices:
            self._findings.setdefault(slice_, [])

    def add_mask(self, slice_: Slice, category: Category, mask: Mask) -> None:
        """Add a finding with a mask, whose bounding box becomes its box."""
        self._findings.setdefault(slice_, []).append(Finding(category, mask.box, mask))

    def add_box(self, where: str, slice_: Slice, category: Category, box: Box) -> None:
        """Add a finding with a box, cropped to the slice."""
        with self.record(where, on=[slice_]):
            fitted = _fit(box, slice_.shape)
            if max(abs(a - b) for a, b in zip(fitted, box, strict=True)) > _ROUNDING:
                self.problem(where, "extends beyond the edge of the slice; cropped")
            self._findings.setdefault(slice_, []).append(Finding(category, fitted))

    def add_solid(
        self,
        where: str,
        slices: Sequence[Slice],
        category: Category,
        box_on: Callable[[Slice], Box | None],
    ) -> None:
        """Add a three-dimensional finding, with a box on each slice that it intersects."""
        with self.record(where, on=slices):
            cuts = [(slice_, box) for slice_ in slices if (box := box_on(slice_)) is not None]
            if not cuts:
                raise UnusableError("intersects no slice of its series; ignored")
            for slice_, box in cuts:
                self.add_box(where, slice_, category, box)

    def add_patient(self, where: str, slice_: Slice, record: Mapping[str, object]) -> None:
        """Add the patient that a record names; it is ignored unless the slice is a picture."""
        field = next((f for f in _PATIENT_FIELDS if record.get(f) not in (None, "")), None)
        if field is None or slice_.source.format != "picture":
            return
        name = str(record[field])
        # Files written by this library name the patient by the pseudonym. A pseudonym of that
        # would separate synthetic pictures from the patient that they were made from.
        ours = bool(record.get("medvae_key")) and _PSEUDONYM.fullmatch(name)
        group = name if ours else pseudonym("patient", name)
        first, _ = self.patients.setdefault(slice_, (group, f"label record's `{field}`"))
        if first != group:
            self.problem(
                where, f"`{field}` differs from that of an earlier record; the earlier one is kept"
            )

    def labels(self, slice_: Slice) -> Labels | None:
        """Return the labels of a slice: those that it already had, and those of the file."""
        before = slice_.labels
        found = self._findings.get(slice_)
        if found is None or (not found and (self._all_doubtful or slice_ in self._doubtful)):
            return before
        return Labels((*(before or ()), *found))

    def say_what_is_in_doubt(self, where: str) -> None:
        """Report how many slices are not taken as empty due to records that may be of any slice."""
        empty = sum(not found for found in self._findings.values())
        if self._all_doubtful and empty:
            self.problem(
                where,
                "some of its records may belong to any slice, so "
                f"the {empty} slices without findings are not treated as empty",
            )


def _fit(box: Box, shape: tuple[int, int]) -> Box:
    """Crop a box to a slice."""
    rows, columns = shape
    x0, y0, x1, y1 = box
    if not all(map(math.isfinite, box)):
        raise UnusableError("its box is not finite; ignored")
    if min(box.width, box.height) < _ROUNDING:
        raise UnusableError("its box has no area; ignored")
    fitted = Box(max(x0, 0.0), max(y0, 0.0), min(x1, float(columns)), min(y1, float(rows)))
    if min(fitted.width, fitted.height) < _ROUNDING:
        raise UnusableError(f"its box lies outside the slice of {rows}x{columns}; ignored")
    return fitted
