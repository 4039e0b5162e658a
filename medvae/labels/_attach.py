"""Attach labels in any known format to slices, and outlines to the boxes of the labels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from medvae.errors import LabelError, UsageProblem, check_choice
from medvae.files import find_files
from medvae.labels._coco import Coco
from medvae.labels._datalist import Datalist
from medvae.labels._format import LabelFormat, LabelSource
from medvae.labels._ledger import Ledger, Patient, Problem
from medvae.labels._masks import MaskPictures
from medvae.labels._match import UnplacedError
from medvae.labels._seg import Segmentations
from medvae.labels._tables import Table
from medvae.labels._volumes import NiftiMasks
from medvae.labels._yolo import Yolo
from medvae.records import Finding, Labels, Slice, Study, pseudonym

LABEL_FORMATS: list[LabelFormat] = [
    *(Yolo(), NiftiMasks(), MaskPictures(), Segmentations()),
    *(Coco(), Datalist(), Table()),
]
"""Label formats, in the order in which they are tried.

YOLO comes before mask pictures because its files may lie beside the pictures that they label.
"""


_SAME = 0.5
"""Minimum IoU of a box and the bounding box of a mask that belong to the same finding."""

_SAME_CATEGORY = 1e-6
"""Bonus for an equal category, which decides between masks that overlap a box equally."""


@dataclass(frozen=True)
class Outlines:
    """Result of matching boxes with masks.

    Attributes:
        format: Format of the masks, such as ``mask pictures``.
        files: Mask files that were used.
        boxes: Number of boxes.
        masks: Number of boxes that got a mask.
    """

    format: str
    files: tuple[Path, ...]
    boxes: int
    masks: int

    def __str__(self) -> str:
        return f"{self.masks} of {self.boxes} boxes got a mask"

    def to_json(self) -> dict[str, str | int]:
        """Return the format and the counts."""
        return {"format": self.format, "boxes": self.boxes, "masks": self.masks}

    def check(self, path: Path) -> None:
        """Raise a `UsageProblem` if there are boxes but none of them got a mask."""
        if self.boxes and not self.masks:
            raise UsageProblem(f"{path}: none of its masks matches a box of the labels")


@dataclass(frozen=True)
class Labelled:
    """Studies with the labels of a file.

    Attributes:
        studies: The labelled studies, without masks that were opened as images; pictures are
            grouped by the patients named in the file.
        format: Name of the label format, such as ``COCO``.
        problems: All labels that could not be used as they stand.
        files: Label files that were used.
        outlines: Result of matching the outlines, if there are any.
    """

    studies: tuple[Study, ...]
    format: str
    problems: tuple[Problem, ...]
    files: tuple[Path, ...]
    outlines: Outlines | None = None


def attach_labels(
    studies: Sequence[Study], path: str | Path, outlines: str | Path | None = None
) -> Labelled:
    """Attach the labels of a file or folder to the slices that they refer to.

    A slice that the file lists without findings becomes known to be empty. A slice that it does
    not list is unchanged, and so is one to which a record whose slice is unknown may belong.
    Existing labels of slices are kept.

    Args:
        studies: Studies to be labelled.
        path: Label file, or folder of YOLO files, masks or DICOM segmentations.
        outlines: Masks of the findings whose boxes are in the labels, in any format with masks.
            Each box is matched with the mask that overlaps it best, with an IoU of at least 0.5,
            and is then replaced by the bounding box of that mask.

    Raises:
        LabelError: The file or folder is in none of the known formats, or cannot be read at all.
    """
    # Not resolved, because labels refer to the names in a tree of links.
    path = Path(os.path.abspath(path))  # noqa: PTH100
    ledger, name = _read(studies, path)
    ledger.say_what_is_in_doubt(path.name)
    rebuilt = tuple(new for study in ledger.images(studies) for new in _of_patients(study, ledger))
    labelled = Labelled(rebuilt, name, tuple(ledger.problems), tuple(ledger.files))
    if outlines is None:
        return labelled
    path = Path(os.path.abspath(outlines))  # noqa: PTH100
    unlabelled = [study.map(lambda slice_: replace(slice_, labels=None)) for study in rebuilt]
    ledger, name = _read(unlabelled, path)
    rebuilt, joined = _join_outlines(rebuilt, ledger, name, path.name)
    problems = (*labelled.problems, *ledger.problems)
    return replace(labelled, studies=rebuilt, problems=problems, outlines=joined)


def _read(studies: Sequence[Study], path: Path) -> tuple[Ledger, str]:
    """Read the labels at a path, and return them with the name of their format."""
    ledger = Ledger(studies)
    try:
        if not (path.is_dir() or path.is_file()):
            raise LabelError(f"{path}: there is no such file or folder")
        source = LabelSource(path, tuple(_files(path, ledger)) if path.is_dir() else (path,))
        return ledger, _format(source, ledger).read(source, ledger)
    except OSError as error:
        raise LabelError(f"{path}: cannot be read: {error.strerror}") from error


def _format(source: LabelSource, ledger: Ledger) -> LabelFormat:
    """Return the format of a source that is given as labels."""
    for known in LABEL_FORMATS:
        if known.holds(source):
            return known
    if source.is_folder:
        unseen = "".join(f" ({problem.where}: {problem.what})" for problem in ledger.problems[:1])
        raise LabelError(
            f"{source.path}: folder holds no YOLO files, masks or DICOM SEG; for other formats, "
            f"give the file{unseen}"
        )
    if source.is_json:
        raise LabelError(f"{source.path}: is JSON, but neither COCO nor a MONAI datalist")
    names = ", ".join(known.name for known in LABEL_FORMATS)
    raise LabelError(f"{source.path}: is in none of the known formats: {names}")


def _files(folder: Path, ledger: Ledger) -> list[Path]:
    """Return all files below a folder, and add a problem for each entry that is left out."""
    found, reports = find_files([folder], every_name=True)
    for report in sorted(reports, key=lambda report: report.path):
        if report.path == folder:
            raise LabelError(f"{folder}: {report.reason.removeprefix('it ')}")
        with ledger.record(Path(os.path.relpath(report.path, folder)).as_posix()):
            # Labels that cannot be read may belong to any slice.
            among = None if report.outcome == "refused" else ()
            raise UnplacedError(report.reason.removeprefix("it "), among)
    return sorted(one.path for one in found)


def _of_patients(study: Study, ledger: Ledger) -> Iterator[Study]:
    """Yield a study with the ledger's labels, assigned to the patients whom the file names.

    A study of pictures whose records name one patient is assigned to that patient as a whole; one
    whose records name several is split into one study for each.
    """
    named = [ledger.patients.get(s) for s in study.slices]
    patients = dict.fromkeys(p for p in named if p is not None)
    if len(patients) <= 1:
        yield _rebuilt(study, ledger, next(iter(patients), None))
        return
    for patient in patients:
        own = {slice_ for slice_ in study.slices if ledger.patients.get(slice_) == patient}
        part = study.part(own.__contains__)
        series = (replace(one, key=pseudonym("series", one.key, patient[0])) for one in part.series)
        key = pseudonym("study", study.key, patient[0])
        yield _rebuilt(replace(part, key=key, series=tuple(series)), ledger, patient)
    if rest := named.count(None):
        ledger.problem(
            f"{rest} pictures beside those of {len(patients)} patients",
            f"no record names their patient; they remain grouped by {study.group_from}",
        )
        yield _rebuilt(study.part(lambda s: s not in ledger.patients), ledger, None)


def _rebuilt(study: Study, ledger: Ledger, patient: Patient | None) -> Study:
    """Return a study with the ledger's labels, assigned to a patient if there is one."""
    group, group_from = patient or (study.group, study.group_from)

    def labelled(slice_: Slice) -> Slice:
        own = group if patient else slice_.group
        return replace(slice_, labels=ledger.labels(slice_), group=own)

    return replace(study, group=group, group_from=group_from).map(labelled)


def _join_outlines(
    studies: Sequence[Study], ledger: Ledger, masks_format: str, name: str
) -> tuple[tuple[Study, ...], Outlines]:
    """Assign to boxes the masks that lie in them; return the studies, and the counts.

    Patients, categories and the slices that are known to be empty remain those of the labels.
    Boxes and masks are matched one to one, with an IoU of at least 0.5, so that the sum of the
    overlaps is largest. A matched box is replaced by the bounding box of its mask.

    Args:
        studies: Labelled studies.
        ledger: Outlines, read for the same slices without their labels; gets the problems.
        masks_format: Format of the outlines.
        name: Name of the outlines, for problems.
    """
    boxes = joined = without = 0

    def join(slice_: Slice) -> Slice:
        nonlocal boxes, joined, without
        drawn = ledger.labels(replace(slice_, labels=None)) or ()
        masks = [finding for finding in drawn if finding.mask is not None]
        findings = list(slice_.labels or ())
        pairs = _pairs(findings, masks)
        for row, column in pairs:
            findings[row] = replace(findings[row], mask=masks[column].mask, box=masks[column].box)
        if unused := len(masks) - len(pairs):
            where = f"{name}, slice {slice_.source.frame} of {slice_.source.path.name}"
            what = "a mask matches" if unused == 1 else f"{unused} masks match"
            ledger.problem(where, f"{what} no box of the labels; ignored")
        boxes, joined = boxes + len(findings), joined + len(pairs)
        without += len(drawn) - len(masks)
        return replace(slice_, labels=Labels(tuple(findings))) if pairs else slice_

    made = tuple(study.map(join) for study in ledger.images(studies))
    if without:
        ledger.problem(name, f"{without} of its findings have no mask; ignored")
    return made, Outlines(masks_format, tuple(ledger.files), boxes, joined)


def _pairs(boxes: Sequence[Finding], masks: Sequence[Finding]) -> list[tuple[int, int]]:
    """Return the indices of each box and mask that belong together."""
    overlaps = np.zeros((len(boxes), len(masks)))
    for (row, finding), (column, mask) in product(enumerate(boxes), enumerate(masks)):
        overlap = finding.box.iou(mask.box)
        if overlap >= _SAME:
            same = finding.category.name == mask.category.name
            overlaps[row, column] = overlap + _SAME_CATEGORY * same
    found = zip(*linear_sum_assignment(overlaps, maximize=True), strict=True)
    return [(int(row), int(column)) for row, column in found if overlaps[row, column]]


def check_outlines(labels: object, outlines: object) -> None:
    """Raise a `UsageProblem` if outlines are given without the labels that have their boxes."""
    if outlines is not None and labels is None:
        raise UsageProblem(
            "masks need the boxes that they belong to; pass labels as well", parameter="outlines"
        )


def label_format(path: Path) -> str | None:
    """Return the name of a label file's format, or None if it does not look like labels.

    Only the name and the beginning of the file are examined, so a mask without a word such as
    ``_seg`` in its name looks like an image.
    """
    if not path.is_file():
        return None
    source = LabelSource(path, (path,))
    try:
        found = (known.resembles(source) for known in LABEL_FORMATS)
        return next((name for name in found if name), None)
    except OSError:
        return None


def written_formats(options: Sequence[str]) -> list[LabelFormat]:
    """Return the formats that a user has chosen for writing.

    Raises:
        UsageProblem: A format is unknown, or none is chosen.
    """
    known = {one.option: one for one in LABEL_FORMATS if one.option is not None}
    check_choice(options, known, "format", "label_formats")
    return [known[name] for name in options]
