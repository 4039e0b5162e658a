"""Attaches the labels of a file or a folder, in whatever format it is, to slices."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from medvae.errors import LabelError
from medvae.files import find_files
from medvae.labels._coco import is_coco, read_coco
from medvae.labels._datalist import is_datalist, read_datalist
from medvae.labels._json import load_json
from medvae.labels._ledger import Ledger
from medvae.labels._outlines import Outlines, join_outlines
from medvae.labels._pictures import PICTURES, read_mask_pictures
from medvae.labels._problem import Problem, UnplacedError
from medvae.labels._regroup import labelled_studies
from medvae.labels._seg import is_segmentation, read_segmentations
from medvae.labels._tables import read_table, table_format
from medvae.labels._volumes import VOLUMES, read_nifti_masks
from medvae.labels._yolo import CLASS_FILES, is_yolo_line, read_yolo
from medvae.mask_names import is_mask_name
from medvae.records import Study

__all__ = ["Labelled", "attach_labels", "label_format"]

_HEAD = 2**16
_KNOWN = "COCO, MONAI datalist, YOLO, CSV, mask pictures, NIfTI masks or DICOM SEG"


@dataclass(frozen=True)
class Labelled:
    """Studies with the labels of a file.

    Attributes:
        studies: the slices, labelled, without masks that were opened as images; pictures are
            grouped by the patients in the file.
        format: of the file, such as ``COCO``.
        problems: every label that could not be used as it stands.
        files: the label files that were used.
        outlines: What came of the outlines, if there were any.
    """

    studies: tuple[Study, ...]
    format: str
    problems: tuple[Problem, ...]
    files: tuple[Path, ...]
    outlines: Outlines | None = None


def attach_labels(studies: Sequence[Study], path: Path, outlines: Path | None = None) -> Labelled:
    """Attach the labels of a file or folder to the slices that they speak of.

    A slice that the file names and has nothing on becomes known to be empty; one that it does not
    name stays as it was, and so does one that may have what the file has on no known slice.
    Labels that slices have already are kept.

    Args:
        studies: the studies.
        path: a label file, or a folder of YOLO files, masks or DICOM segmentations.
        outlines: Masks of the findings whose boxes the labels have, in any format that has masks.
            Each box gets the mask that overlaps it best, by half or more, and then follows it.

    Raises:
        LabelError: when it is in none of the known formats, or cannot be read as a whole.
    """
    # Not resolved: the names in a tree of links are what labels speak of.
    path = Path(os.path.abspath(path))  # noqa: PTH100
    ledger, name = _read(studies, path)
    ledger.say_what_is_in_doubt(path.name)
    rebuilt = labelled_studies(studies, ledger)
    labelled = Labelled(rebuilt, name, tuple(ledger.problems), tuple(ledger.files))
    if outlines is None:
        return labelled
    return _with_outlines(labelled, Path(os.path.abspath(outlines)))  # noqa: PTH100


def _with_outlines(labelled: Labelled, path: Path) -> Labelled:
    ledger, name = _read([_unlabelled(study) for study in labelled.studies], path)
    made = join_outlines(labelled.studies, ledger, name, path.name)
    return replace(
        labelled,
        studies=made.studies,
        problems=(*labelled.problems, *made.problems),
        outlines=made.outlines,
    )


def _unlabelled(study: Study) -> Study:
    series = (
        replace(one, slices=tuple(replace(slice_, labels=None) for slice_ in one.slices))
        for one in study.series
    )
    return replace(study, series=tuple(series))


def _read(studies: Sequence[Study], path: Path) -> tuple[Ledger, str]:
    """Read what a path says of slices, and name its format."""
    ledger = Ledger(studies)
    try:
        return ledger, _reader(path, ledger)(path, ledger)
    except OSError as error:
        raise LabelError(f"{path}: cannot be read: {error.strerror}") from error


def _reader(path: Path, ledger: Ledger) -> Callable[[Path, Ledger], str]:
    """Choose how to read a path that is said to hold labels."""
    if path.is_dir():
        return _folder_reader(path, _files(path, ledger), ledger)
    if not path.is_file():
        raise LabelError(f"{path}: there is no such file or folder")
    name = path.name.lower()
    if name.endswith(VOLUMES):
        return partial(read_nifti_masks, files=[path])
    if name.endswith(PICTURES):
        return partial(read_mask_pictures, files=[path])
    if is_segmentation(path):
        return partial(read_segmentations, files=[path])
    if name.endswith(".txt"):
        return partial(read_yolo, files=[path])
    head = _head(path)
    if head.lstrip()[:1] in ("{", "["):
        return _read_json
    if name.endswith(".csv") or table_format(_first_line(head)):
        return read_table
    raise LabelError(f"{path}: is none of {_KNOWN}")


def _files(folder: Path, ledger: Ledger) -> list[Path]:
    """Return all files below a folder, and note what cannot be seen there."""
    found, reports = find_files([folder], every_name=True)
    for report in sorted(reports, key=lambda report: report.path):
        if report.path == folder:
            raise LabelError(f"{folder}: {report.reason.removeprefix('it ')}")
        with ledger.record(Path(os.path.relpath(report.path, folder)).as_posix()):
            # Labels that nobody can see may be of any slice.
            among = None if report.outcome == "refused" else ()
            raise UnplacedError(report.reason.removeprefix("it "), among)
    return sorted(one.path for one in found)


def _folder_reader(
    path: Path, files: Sequence[Path], ledger: Ledger
) -> Callable[[Path, Ledger], str]:
    names = [file.name.lower() for file in files]
    if any(_may_be_yolo(file) for file in files):
        return partial(read_yolo, files=files)
    if any(name.endswith(VOLUMES) for name in names):
        return partial(read_nifti_masks, files=files)
    if any(name.endswith(PICTURES) for name in names):
        return partial(read_mask_pictures, files=files)
    if any(is_segmentation(file) for file in files):
        return partial(read_segmentations, files=files)
    unseen = "".join(f" ({problem.where}: {problem.what})" for problem in ledger.problems[:1])
    raise LabelError(
        f"{path}: holds no YOLO files, masks or DICOM SEG; for others name the file{unseen}"
    )


def _may_be_yolo(path: Path) -> bool:
    """Tell whether a file in a folder is YOLO's: an empty one says that there is nothing."""
    if not path.name.endswith(".txt") or path.name in CLASS_FILES:
        return False
    try:
        line = _first_line(_head(path))
    except OSError:
        return False
    return not line or is_yolo_line(line)


def _read_json(path: Path, ledger: Ledger) -> str:
    document = load_json(path)
    if is_coco(document):
        return read_coco(path, document, ledger)
    if is_datalist(document):
        return read_datalist(path, document, ledger)
    raise LabelError(f"{path}: is JSON, but neither COCO nor a MONAI datalist")


def label_format(path: Path) -> str | None:
    """Name the format of a file that looks like labels; None where it does not.

    Only names and beginnings are looked at: a mask without a word such as ``_seg`` in its name
    looks like an image.
    """
    name = path.name.lower()
    if not path.is_file():
        return None
    if name.endswith((*VOLUMES, *PICTURES)):
        kind = "NIfTI masks" if name.endswith(VOLUMES) else "mask pictures"
        return kind if is_mask_name(name) else None
    if is_segmentation(path):
        return "DICOM SEG"
    if path.name in CLASS_FILES:
        return "YOLO"
    try:
        head = _head(path)
    except OSError:
        return None
    if head.lstrip()[:1] == "{":
        return _json_format(head)
    if name.endswith(".txt"):
        return "YOLO" if is_yolo_line(_first_line(head)) else None
    return table_format(_first_line(head))


def _json_format(head: str) -> str | None:
    fields = set(re.findall(r'"(\w+)"\s*:', head))
    if "image_id" in fields or {"images", "file_name"} <= fields:
        return "COCO"
    return "MONAI datalist" if {"image", "box"} <= fields else None


def _head(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_HEAD).decode("utf-8-sig", "replace")


def _first_line(text: str) -> str:
    return text.lstrip().partition("\n")[0].rstrip("\r")
