"""The output of ``medvae augment`` as a set: its slices, described by the manifest."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from PIL import Image

from medvae.auditing._sets import AuditedSlice, SliceSet, sorted_slices
from medvae.errors import ReadError
from medvae.manifest import Manifest, ManifestLine, read_order
from medvae.progress import Progress, ignore_progress
from medvae.readers import open_studies
from medvae.records import Slice

_SETTINGS = "run.json"
_LINES = "manifest.jsonl"
_BEST_FIRST = ("dicom", "nifti", "png")
"""Output formats by preference: DICOM and NIfTI state the position of a slice in the patient."""

_UNITS = re.compile(r"value = (\S+) \* pixel \+ (\S+)")


def was_augmented(folder: Path) -> bool:
    """Return whether a folder was written by ``medvae augment``."""
    return (folder / _SETTINGS).is_file() and (folder / _LINES).is_file()


def read_augmented(
    folder: Path,
    real: SliceSet,
    *,
    workers: int | None = None,
    progress: Progress = ignore_progress,
) -> SliceSet:
    """Read the slices that an augmentation kept, and all else about them from its manifest.

    What a file does not state, such as the spacing of a PNG, is taken from the host, which
    is the last of the declared source slices.

    Args:
        folder: Output folder of the augmentation.
        real: The real slices, among which the sources are looked up.
        workers: Number of reading processes; by default, those already running.
        progress: Called with (stage, done, total, note) as files are read.

    Raises:
        ReadError: If no slice was kept, a file is missing, or the manifest is damaged.
    """
    kept = [line for line in Manifest(folder) if line.kept]
    if not kept:
        raise ReadError(f"{folder}: the synthetic set is empty: no slice was kept")
    settings = read_order(folder)
    formats = [name for name in _BEST_FIRST if (folder / "images" / name).is_dir()]
    if not formats:
        raise ReadError(f"{folder / 'images'}: holds no slices; give the folder as it was written")
    scan = open_studies(
        [folder / "images" / formats[0]],
        workers=workers,
        progress=lambda stage, done, total, _: progress(stage, done, total, "synthetic"),
    )
    files = {(_absolute(s.source.path), s.source.frame): s for s in scan.slices}
    hosts = {one.native.key: one.native for one in real.slices}
    slices = _kept(folder, kept, formats[0], files, hosts)
    return SliceSet("synthetic", sorted_slices(slices), (), settings)


def _kept(
    folder: Path,
    lines: Iterable[ManifestLine],
    written: str,
    files: Mapping[tuple[str, int], Slice],
    hosts: Mapping[str, Slice],
) -> Iterator[AuditedSlice]:
    """Yield a slice for each line; the lines of a volume follow the order of its slices."""
    frames: dict[str, int] = {}
    for line in lines:
        file = next((name for name in line.files if name.split("/")[1:2] == [written]), None)
        if file is None:
            raise ReadError(f"{folder}: the manifest names no {written} file for {line.key}")
        path = _absolute(folder / file)
        frame = frames[path] = frames.get(path, -1) + 1
        found = files.get((path, frame))
        if found is None:
            raise ReadError(f"{path}: cannot be read, but the manifest says that it was written")
        native = _described(found, line, frame)
        host = hosts.get(line.sources[-1])
        if host is not None:
            native = replace(native, modality=native.modality or host.modality)
        scale = None
        if written == "png":
            scale = _scale(Path(path))
            low_is_bright = scale is not None and scale[0] < 0
            geometry = native.geometry if host is None else host.geometry
            native = replace(native, geometry=geometry, inverted=low_is_bright)
        yield AuditedSlice(native, line.groups, line.sources, scale)


def _described(found: Slice, line: ManifestLine, frame: int) -> Slice:
    """Return a slice as its line of the manifest describes it."""
    rows, columns = line.shape
    if found.shape != (rows, columns):
        raise ReadError(
            f"{found.source.path}: has {found.shape[0]}x{found.shape[1]} pixels, but the manifest "
            f"says {rows}x{columns}"
        )
    return replace(
        found,
        key=line.key,
        group=line.groups[0],
        labels=line.labels if line.labelled else None,
        series=line.batch,
        place=frame,
    )


def _scale(path: Path) -> tuple[float, float] | None:
    """Return slope and intercept of the pixels from the comment of a PNG; None without them."""
    with Image.open(path) as picture:
        units = _UNITS.fullmatch(str(picture.info.get("Comment", "")))
    if units is None:
        return None
    try:
        slope, intercept = float(units[1]), float(units[2])
    except ValueError:
        slope = intercept = math.nan
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise ReadError(f"{path}: its comment must give the units of its pixels as finite numbers")
    return slope, intercept


def _absolute(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100  # symbolic links must not be resolved
