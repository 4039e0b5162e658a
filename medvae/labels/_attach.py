"""Attach the labels in a file or folder, in any known format, to slices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medvae.errors import LabelError, UsageProblem
from medvae.files import find_files
from medvae.labels._coco import Coco
from medvae.labels._datalist import Datalist
from medvae.labels._format import LabelFormat, LabelSource
from medvae.labels._ledger import Ledger
from medvae.labels._masks import MaskPictures
from medvae.labels._outlines import Outlines, join_outlines
from medvae.labels._problem import Problem, UnplacedError
from medvae.labels._regroup import labelled_studies
from medvae.labels._seg import Segmentations
from medvae.labels._tables import Table
from medvae.labels._volumes import NiftiMasks
from medvae.labels._yolo import Yolo
from medvae.records import Study

__all__ = ["LABEL_FORMATS", "Labelled", "attach_labels", "label_format", "written_formats"]

LABEL_FORMATS: list[LabelFormat] = [
    Yolo(),
    NiftiMasks(),
    MaskPictures(),
    Segmentations(),
    Coco(),
    Datalist(),
    Table(),
]
"""Label formats, in the order in which they are tried.

YOLO comes before mask pictures because its files may lie beside the pictures that they label.
"""


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
    rebuilt = labelled_studies(studies, ledger)
    labelled = Labelled(rebuilt, name, tuple(ledger.problems), tuple(ledger.files))
    if outlines is None:
        return labelled
    return _with_outlines(labelled, Path(os.path.abspath(outlines)))  # noqa: PTH100


def _with_outlines(labelled: Labelled, path: Path) -> Labelled:
    unlabelled = [study.map(lambda s: replace(s, labels=None)) for study in labelled.studies]
    ledger, name = _read(unlabelled, path)
    studies, problems, outlines = join_outlines(labelled.studies, ledger, name, path.name)
    problems = (*labelled.problems, *problems)
    return replace(labelled, studies=studies, problems=problems, outlines=outlines)


def _read(studies: Sequence[Study], path: Path) -> tuple[Ledger, str]:
    """Read the labels at a path, and return them with the name of their format."""
    ledger = Ledger(studies)
    try:
        source = _source(path, ledger)
        return ledger, _format(source, ledger).read(source, ledger)
    except OSError as error:
        raise LabelError(f"{path}: cannot be read: {error.strerror}") from error


def _source(path: Path, ledger: Ledger) -> LabelSource:
    """Return the files at a path that is given as labels."""
    if path.is_dir():
        return LabelSource(path, tuple(_files(path, ledger)))
    if not path.is_file():
        raise LabelError(f"{path}: there is no such file or folder")
    return LabelSource(path, (path,))


def _format(source: LabelSource, ledger: Ledger) -> LabelFormat:
    """Return the format of a source that is given as labels."""
    for known in LABEL_FORMATS:
        if known.holds(source):
            return known
    if source.is_folder:
        unseen = "".join(f" ({problem.where}: {problem.what})" for problem in ledger.problems[:1])
        raise LabelError(
            f"{source.path}: folder holds no YOLO files, masks or DICOM SEG; for other "
            "formats, give the "
            f"file{unseen}"
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
    unknown = [name for name in options if name not in known]
    if unknown or not options:
        found = f"unknown format {unknown[0]!r}" if unknown else "no format is given"
        raise UsageProblem(f"{found}; choose from {', '.join(known)}", parameter="label_formats")
    return [known[name] for name in options]
