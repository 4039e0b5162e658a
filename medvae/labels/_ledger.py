"""Collect the labels of a label file for each slice, and the problems with them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medvae.files import file_identity
from medvae.geometry import Box
from medvae.labels._match import SliceIndex, UnplacedError, UnusableError
from medvae.notices import alike, printable
from medvae.records import Category, Finding, Labels, Mask, Slice, Study, pseudonym

Patient = tuple[str, str]
"""Group that a label record assigns to a picture, and the origin of the group."""

_ROUNDING = 0.01
"""Number of pixels that a box may extend over the edge due to rounding, which is not reported."""

_PATIENT_FIELDS = ("patient", "patient_id", "case", "patientId")
_PSEUDONYM = re.compile(r"[0-9a-f]{20}")


@dataclass(frozen=True)
class Problem:
    """A label that could not be used as it stands, described in one line of printable text.

    Attributes:
        where: Name of the record, such as ``coco.json, annotation 12``.
        what: Description of what is wrong with it, and of what was done.
    """

    where: str
    what: str

    def __post_init__(self) -> None:
        # The text includes names of files and categories, which may contain any character.
        object.__setattr__(self, "where", printable(self.where))
        object.__setattr__(self, "what", printable(self.what))


def folded(problems: Iterable[Problem]) -> Iterator[str]:
    """Yield one line for each group of similar problems: the first, and the number of others.

    Otherwise, the labels of a cohort of which only a part is present would hide everything else.
    """
    for (where, what), *others in alike((problem.where, problem.what) for problem in problems):
        more = f" (and {len(others)} more like this)" if others else ""
        yield f"{where}: {what}{more}"


class Ledger:
    """Collected contents of a label file.

    Attributes:
        index: Index of the slices that can be labelled.
        problems: Labels that could not be used as they stand, in the order of the file.
        files: Label files that were used.
        patients: Patients of pictures, whose own files do not name the patient.
        findings: Findings on the slices that the file lists, that is, that were examined.
    """

    def __init__(self, studies: Iterable[Study]) -> None:
        self.index = SliceIndex(series.slices for study in studies for series in study.series)
        self.problems: list[Problem] = []
        self.files: list[Path] = []
        self.patients: dict[Slice, Patient] = {}
        self.findings: dict[Slice, list[Finding]] = {}
        self._claims: dict[object, Path] = {}
        self._doubtful: set[Slice] = set()
        self._all_doubtful = False

    @contextmanager
    def record(self, where: str, *slices: Slice) -> Iterator[Record]:
        """Read one record of the file; an `UnusableError` becomes a problem of it.

        Args:
            where: Name of the record, for messages.
            slices: Slices that the record labels, if they are known.
        """
        record = Record(self, where, slices)
        try:
            yield record
        except UnusableError as error:
            self.problem(where, str(error))
            self._doubtful.update(record.slices)
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

    def labels(self, slice_: Slice) -> Labels | None:
        """Return the labels of a slice: those that it already had, and those of the file."""
        before = slice_.labels
        found = self.findings.get(slice_)
        if found is None or (not found and (self._all_doubtful or slice_ in self._doubtful)):
            return before
        return Labels((*(before or ()), *found))

    def images(self, studies: Iterable[Study]) -> tuple[Study, ...]:
        """Return the studies without masks that were opened as images."""
        masks = set(self.files)
        parts = (study.part(lambda s: s.source.path not in masks) for study in studies)
        return tuple(part for part in parts if part.series)

    def say_what_is_in_doubt(self, where: str) -> None:
        """Report how many slices are not taken as empty due to records that may be of any slice."""
        empty = sum(not found for found in self.findings.values())
        if self._all_doubtful and empty:
            self.problem(
                where,
                "some of its records may belong to any slice, so "
                f"the {empty} slices without findings are not treated as empty",
            )


@dataclass(eq=False)
class Record:
    """A record of a label file: an annotation, a line, or a mask.

    Attributes:
        ledger: Collected contents of the file.
        where: Name of the record, for messages.
        slices: Slices that the record labels, once they are known. If it cannot be used, they do
            not become known to be empty.
    """

    ledger: Ledger
    where: str
    slices: Sequence[Slice] = ()

    def problem(self, what: str) -> None:
        """Add a problem of this record."""
        self.ledger.problem(self.where, what)

    def mention(self) -> None:
        """Note that the label file lists the slices, that is, that they were examined."""
        for slice_ in self.slices:
            self.ledger.findings.setdefault(slice_, [])

    def add(self, category: Category, place: Box | Mask) -> None:
        """Add a finding on the only slice of the record.

        Args:
            category: Category of the finding.
            place: Mask, whose bounding box becomes the box, or box, which is cropped to the slice.
        """
        (slice_,) = self.slices
        if isinstance(place, Mask):
            finding = Finding(category, place.box, place)
        else:
            finding = Finding(category, _fit(place, slice_.shape))
            if max(abs(a - b) for a, b in zip(finding.box, place, strict=True)) > _ROUNDING:
                self.problem("extends beyond the edge of the slice; cropped")
        self.ledger.findings.setdefault(slice_, []).append(finding)

    def add_solid(self, category: Category, box_on: Callable[[Slice], Box | None]) -> None:
        """Add a three-dimensional finding, with a box on each slice that it intersects."""
        cuts = [(slice_, box) for slice_ in self.slices if (box := box_on(slice_)) is not None]
        if not cuts:
            raise UnusableError("intersects no slice of its series; ignored")
        for slice_, box in cuts:
            with self.ledger.record(self.where, slice_) as cut:
                cut.add(category, box)

    def add_patient(self, fields: Mapping[str, object]) -> None:
        """Add the patient that a field names, unless the slices are not pictures."""
        field = next((f for f in _PATIENT_FIELDS if fields.get(f) not in (None, "")), None)
        if field is None:
            return
        name = str(fields[field])
        # Files written by this library name the patient by the pseudonym. A pseudonym of that
        # would separate synthetic pictures from the patient that they were made from.
        ours = bool(fields.get("medvae_key")) and _PSEUDONYM.fullmatch(name)
        patient = (name if ours else pseudonym("patient", name), f"label record's `{field}`")
        for slice_ in self.slices:
            if slice_.source.format == "picture":
                first, _ = self.ledger.patients.setdefault(slice_, patient)
                if first != patient[0]:
                    self.problem(
                        f"`{field}` differs from that of an earlier record; the earlier one is kept"
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
