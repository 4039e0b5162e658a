"""Report what would be read from a set of files and with which labels; no file is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from medvae.files import Outcome, Paths
from medvae.labels import Labelled, attach_labels, check_outlines, label_format
from medvae.progress import Progress, ignore_progress
from medvae.readers import FileReport, open_studies, verify_pixels
from medvae.records import Series, Slice, Study

__all__ = ["Inspection", "count_labels", "inspect_studies"]


@dataclass(frozen=True)
class Inspection:
    """The studies that would be read, a report on each file, and the result of attaching labels."""

    studies: tuple[Study, ...]
    files: tuple[FileReport, ...]
    labels: Labelled | None = None

    @property
    def slices(self) -> list[Slice]:
        """All slices of all studies."""
        return [s for study in self.studies for s in study.slices]

    @property
    def counts(self) -> dict[str, int]:
        """The numbers of files that were read, skipped and refused."""
        counts = Counter(report.outcome for report in self.files)
        return {outcome: counts[outcome] for outcome in get_args(Outcome)}

    @property
    def totals(self) -> dict[str, int]:
        """The numbers of patients, studies, series and slices."""
        return {
            "patients": len({study.group for study in self.studies}),
            "studies": len(self.studies),
            "series": sum(len(study.series) for study in self.studies),
            "slices": len(self.slices),
        }

    def to_json(self) -> dict[str, Any]:
        """Return the whole inspection as plain JSON values."""
        return {
            "counts": {**self.counts, **self.totals},
            "files": [{**vars(report), "path": str(report.path)} for report in self.files],
            "studies": [_study_json(study) for study in self.studies],
            "labels": self.labels
            and {
                "format": self.labels.format,
                **count_labels(self.slices),
                "outlines": self.labels.outlines and self.labels.outlines.to_json(),
                "problems": [vars(problem) for problem in self.labels.problems],
            },
        }


def inspect_studies(
    paths: Paths,
    *,
    labels: str | Path | None = None,
    outlines: str | Path | None = None,
    decode: bool = False,
    modality: str | None = None,
    nan_as_padding: bool = False,
    workers: int | None = None,
    progress: Progress = ignore_progress,
) -> Inspection:
    """Report what would be read from files and folders.

    Args:
        paths: Files and folders to read.
        labels: Label file, or a folder of masks or of YOLO text files.
        outlines: Masks for the boxes in the labels, as in ``attach_labels``.
        decode: Whether to decode every slice as well, to find files with damaged pixels.
        modality, nan_as_padding, workers: Same as in ``open_studies``.
        progress: Called with (stage, done, total, note) as work proceeds.

    Raises:
        ReadError, LabelError: If a path does not exist, or the labels as a whole cannot be used.
    """
    check_outlines(labels, outlines)
    scan = open_studies(
        paths,
        modality=modality,
        nan_as_padding=nan_as_padding,
        workers=workers,
        progress=progress,
    )
    if decode:
        scan = verify_pixels(scan, workers=workers, progress=progress)
    labelled = attach_labels(scan.studies, labels, outlines) if labels is not None else None
    studies = scan.studies if labelled is None else labelled.studies
    return Inspection(studies, tuple(_with_labels(f, labelled) for f in scan.files), labelled)


def _with_labels(report: FileReport, labelled: Labelled | None) -> FileReport:
    """Add to the report on a file that is not an image how it relates to the labels."""
    if labelled is not None and report.path in labelled.files:
        return FileReport(report.path, "read", f"labels ({labelled.format})")
    outlines = None if labelled is None else labelled.outlines
    if outlines is not None and report.path in outlines.files:
        return FileReport(report.path, "read", f"outlines ({outlines.format})")
    if report.outcome == "skipped" and (found := label_format(report.path)) is not None:
        return replace(report, reason=f"it holds labels ({found}); pass it as labels")
    return report


def count_labels(slices: Iterable[Slice]) -> dict[str, Any]:
    """Count the labelled slices, and the findings by category."""
    known = [s.labels for s in slices if s.labels is not None]
    findings = [finding for labels in known for finding in labels]
    return {
        "labelled_slices": len(known),
        "positive_slices": sum(len(labels) > 0 for labels in known),
        "findings": len(findings),
        "masks": sum(finding.mask is not None for finding in findings),
        "categories": dict(sorted(Counter(f.category.name for f in findings).items())),
    }


def _study_json(study: Study) -> dict[str, Any]:
    slices = list(study.slices)
    return {
        "key": study.key,
        "patient": study.group,
        "patient_from": study.group_from,
        "slices": len(slices),
        "flags": list(dict.fromkeys(flag for series in study.series for flag in series.flags)),
        "labels": count_labels(slices),
        "series": [_series_json(series) for series in study.series],
    }


def _series_json(series: Series) -> dict[str, Any]:
    first = series.slices[0]
    return {
        "key": series.key,
        "modality": series.modality,
        "format": first.source.format,
        "slices": len(series.slices),
        "shape": list(first.shape),
        "spacing": first.geometry.spacing and list(first.geometry.spacing),
        "between_slices": series.gap,
        "flags": list(series.flags),
        "labels": count_labels(series.slices),
    }
