"""A set on the model's canvas: each slice is decoded once, and its picture is kept on disk."""

from __future__ import annotations

import math
import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medvae.auditing._findings import SetFindings
from medvae.auditing._sets import AuditedSlice, SliceSet
from medvae.errors import DecodeError, ReadError, WriteError
from medvae.gates import outline
from medvae.intensity import Canvas
from medvae.progress import Progress, ignore_progress
from medvae.readers import read_pixels
from medvae.render import Scene


@dataclass(frozen=True, eq=False)
class Pool:
    """The N slices of a set, as statistics use them.

    Attributes:
        pictures: Pictures ``[N, S, S]`` on the model's canvas, float32 in [0, 1] or uint8 in 0 to
            255. The array may be on disk, and is never read as a whole.
        groups: Patients in each slice, starting with the one of whom it shows most.
        keys: Unique keys of the slices.
    """

    pictures: NDArray[np.float32] | NDArray[np.uint8]
    groups: tuple[tuple[str, ...], ...]
    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        counts = {len(self.pictures), len(self.groups), len(self.keys)}
        if len(counts) > 1 or not all(self.groups):
            raise ValueError(f"a pool needs a picture, a key and patients for each slice: {counts}")

    def __len__(self) -> int:
        return len(self.keys)

    def batch(self, rows: slice | NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the pictures of the given rows in [0, 1], ``[B, S, S]``."""
        pictures = np.asarray(self.pictures[rows])
        if pictures.dtype == np.uint8:
            return pictures.astype(np.float32) / np.float32(255)
        return pictures.astype(np.float32)

    @cached_property
    def shown(self) -> NDArray[np.bool_]:
        """Which slices are not blank, ``[N]``; if all of them are blank, all."""
        shown = np.array([np.ptp(picture) > 0 for picture in self.pictures], np.bool_)
        return shown if shown.any() else ~shown

    @cached_property
    def outlines(self) -> NDArray[np.float32]:
        """The broad shape of each slice, as the gate `copy` compares them, ``[N, 256]``."""
        return np.stack([outline(self.batch(slice(row, row + 1))[0]) for row in range(len(self))])


@dataclass(frozen=True, eq=False)
class DecodedSet:
    """The slices of a set that can be decoded.

    Attributes:
        set: The set, with only those slices that can be decoded, in their order.
        pool: The same slices with their pictures, which are uint8 and on disk.
        canvases: Position of each slice on its picture.
        findings: Findings of the slices.
        features: Features of the slices, ``[N, D]``, by the name of the extractor.
    """

    set: SliceSet
    pool: Pool
    canvases: tuple[Canvas, ...]
    findings: SetFindings
    features: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.canvases)


def decode(
    slices: SliceSet,
    size: int,
    intensity: str | None,
    folder: Path,
    *,
    workers: int | None = None,
    progress: Progress = ignore_progress,
) -> DecodedSet:
    """Decode a set; memory use does not grow with the size of the pictures.

    Args:
        slices: Set to decode.
        size: Side of the canvas in pixels.
        intensity: Intensity map, as in ``intensity_rule``; None for the one of each modality.
        folder: Folder on whose disk the pictures are stored, in an unnamed file that disappears
            when the process ends.
        workers: Number of decoding processes; by default, those already running.
        progress: Called with (stage, done, total, note) as work proceeds.

    Raises:
        ReadError: If none of the slices can be decoded.
        WriteError: If there is no space for the pictures.
    """
    kept: list[AuditedSlice] = []
    canvases: list[Canvas] = []
    problems: list[str] = []
    findings = SetFindings()
    count = len(slices.slices)
    pictures = _on_disk(folder, (count, size, size))
    pixels = read_pixels((one.native for one in slices.slices), workers)
    for done, (one, (native, read)) in enumerate(zip(slices.slices, pixels, strict=True), 1):
        progress("Decoding slices", done, count, slices.name)
        found = one.in_units(read)
        if isinstance(found, DecodeError):
            problems.append(str(found))
            continue
        scene = Scene.of(native, found, size, intensity)
        picture = scene.picture()
        pictures[len(kept)] = (picture * 255).round()
        findings.add(native.series, native.key, one.groups, scene, picture, one.sources or ())
        kept.append(one)
        canvases.append(scene.canvas)
    if not kept:
        raise ReadError(f"{problems[0]} (nor can any other slice of the {slices.name} set)")
    pool = Pool(
        pictures[: len(kept)],
        tuple(one.groups for one in kept),
        _unique([one.native.key for one in kept]),
    )
    decoded = replace(slices, slices=tuple(kept), problems=(*slices.problems, *problems))
    return DecodedSet(decoded, pool, tuple(canvases), findings)


def _unique(keys: list[str]) -> tuple[str, ...]:
    """Number keys that occur again, as when the same file is given twice."""
    seen: Counter[str] = Counter()
    unique = []
    for key in keys:
        seen[key] += 1
        unique.append(f"{key}.{seen[key]}" if seen[key] > 1 else key)
    return tuple(unique)


def _on_disk(folder: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            # Without allocated blocks, writing to a mapped file on a full disk kills the process.
            os.posix_fallocate(file.fileno(), 0, math.prod(shape))
            return np.memmap(file, np.uint8, "w+", shape=shape)
    except OSError as error:
        raise WriteError(f"{folder}: has no space for the pictures: {error.strerror}") from error
