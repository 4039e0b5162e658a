"""Scan headers, sort slices into studies, and account for every file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from medvae.errors import DecodeError
from medvae.files import (
    FileReport,
    Found,
    Paths,
    as_paths,
    find_files,
    is_mask_folder,
    is_mask_name,
    natural_key,
)
from medvae.progress import Progress, ignore_progress
from medvae.readers._assembly import Assembly
from medvae.readers._contract import BURNED_IN, FileHeader
from medvae.readers._pixels import PixelLoader, read_pixels
from medvae.readers._stacks import geometry_flags, without_geometry_flags
from medvae.readers._workers import Workers, workers_for
from medvae.records import Slice, Study

_AT_ONCE = 16
"""Number of headers requested from a worker at once."""


@dataclass(frozen=True)
class Scan:
    """The result of a scan: the studies found, and a report on every file."""

    studies: tuple[Study, ...]
    files: tuple[FileReport, ...]

    @property
    def slices(self) -> Iterator[Slice]:
        """All slices of all studies."""
        return (s for study in self.studies for s in study.slices)


def open_studies(
    paths: Paths,
    *,
    modality: str | None = None,
    nan_as_padding: bool = False,
    workers: int | None = None,
    progress: Progress = ignore_progress,
) -> Scan:
    """Find the studies in files and folders, by their headers alone.

    Args:
        paths: Files and folders, in any mixture of formats and patients.
        modality: Modality of files that do not state one, such as NIfTI files and pictures.
        nan_as_padding: Whether to treat NaN as padding instead of refusing slices that contain it.
        workers: Number of processes that read; by default, those already running are used.
        progress: Called with (stage, done, total, note) as headers are read.

    Raises:
        ReadError: If a given path does not exist.
    """
    found, reports = find_files(as_paths(paths))
    with workers_for(workers) as pool:
        headers, not_read = _scan(found, pool, progress)
        assembly = Assembly(headers, pool, PixelLoader(nan_as_padding), modality)
    files = sorted(reports + not_read + assembly.reports(), key=lambda r: natural_key(r.path))
    return Scan(assembly.studies(), tuple(files))


def verify_pixels(
    scan: Scan, *, workers: int | None = None, progress: Progress = ignore_progress
) -> Scan:
    """Decode every slice once, and refuse the files in which one cannot be decoded.

    Args:
        scan: Result of ``open_studies``.
        workers: Number of processes that decode; by default, those already running are used.
        progress: Called with (stage, done, total, note) as slices are decoded.
    """
    broken: dict[Path, str] = {}
    slices = list(scan.slices)
    for done, (item, pixels) in enumerate(read_pixels(slices, workers), 1):
        if isinstance(pixels, DecodeError):
            broken.setdefault(item.source.path, pixels.reason)
        progress("Decoding slices", done, len(slices), "")
    return _refused(scan, broken)


def refuse_burned_in(scan: Scan) -> Scan:
    """Refuse the files whose headers state that text is burned into their pixels.

    Images made from such pixels may name the patient, whatever their header says.

    Args:
        scan: Result of ``open_studies``.
    """
    marked = {
        item.source.path: f"{BURNED_IN} and may name the patient"
        for item in scan.slices
        if item.burned_in
    }
    return _refused(scan, marked) if marked else scan


def _refused(scan: Scan, broken: dict[Path, str]) -> Scan:
    """Refuse files that were read, each for the reason given in ``broken``."""
    files = (
        FileReport(report.path, "refused", broken[report.path])
        if report.path in broken and report.outcome == "read"
        else report
        for report in scan.files
    )
    return Scan(tuple(_without(scan.studies, broken)), tuple(files))


def _without(studies: Iterable[Study], broken: dict[Path, str]) -> Iterator[Study]:
    for study in studies:
        kept = []
        for series in study.series:
            slices = tuple(s for s in series.slices if s.source.path not in broken)
            if slices:
                flags = (*without_geometry_flags(series.flags), *geometry_flags(slices))
                kept.append(replace(series, slices=slices, flags=flags))
        if kept:
            yield replace(study, series=tuple(kept))


def _scan(
    found: Sequence[Found], pool: Workers, progress: Progress
) -> tuple[list[tuple[Found, FileHeader]], list[FileReport]]:
    """Read all headers; return those that were read, and reports on all other files."""
    headers: list[tuple[Found, FileHeader]] = []
    reports: list[FileReport] = []

    batches = (found[i : i + _AT_ONCE] for i in range(0, len(found), _AT_ONCE))
    answers = chain.from_iterable(
        pool.map(lambda files: pool.ask_many([file.path for file in files]), batches)
    )
    for done, (file, answer) in enumerate(zip(found, answers, strict=True), 1):
        if isinstance(answer, FileReport):
            reports.append(answer)
        elif isinstance(answer, FileHeader) and (file.named or not _looks_like_mask(file, answer)):
            headers.append((file, answer))
        else:
            reason = "its name is that of a mask; pass masks as labels"
            reports.append(FileReport(file.path, "skipped", reason))
        progress("Reading headers", done, len(found), "")
    voxels = {f.path.parent / header.beside: f.path for f, header in headers if header.beside}
    reports = [
        FileReport(report.path, "read", f"the voxels of {voxels[report.path].name}")
        if report.path in voxels
        else report
        for report in reports
    ]
    return headers, reports


def _looks_like_mask(file: Found, header: FileHeader) -> bool:
    folders = file.inside.parent.parts
    return header.format != "dicom" and (
        any(map(is_mask_folder, folders)) or is_mask_name(file.path.name)
    )
