"""A set on the model's canvas: each slice is decoded once, and its picture is kept on disk."""

from __future__ import annotations

import math
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medvae.audit._estimate import Pool
from medvae.audit._sets import Member, SliceSet
from medvae.errors import DecodeError, ReadError, WriteError
from medvae.intensity import Canvas
from medvae.readers import read_pixels
from medvae.render import Scene

__all__ = ["Canvases", "decode"]

Watch = Callable[[Member, Scene, NDArray[np.float32]], None]
"""Called with a slice, its scene as gates see it, and its picture ``[size, size]``."""


@dataclass(frozen=True, eq=False)
class Canvases:
    """The N slices of a set that can be decoded.

    Attributes:
        set: The set, with only those members that can be decoded, in their order.
        pictures: Pictures ``[N, size, size]``, uint8, on disk.
        canvases: Position of each slice on its picture.
    """

    set: SliceSet
    pictures: NDArray[np.uint8]
    canvases: tuple[Canvas, ...]

    @property
    def pool(self) -> Pool:
        """The slices in the form that the statistics take."""
        members = self.set.members
        seen: Counter[str] = Counter()
        keys = []
        for member in members:
            # The same file may have been given twice.
            seen[member.native.key] += 1
            number = seen[member.native.key]
            keys.append(member.native.key + (f".{number}" if number > 1 else ""))
        return Pool(self.pictures, tuple(member.groups for member in members), tuple(keys))

    def __len__(self) -> int:
        return len(self.canvases)


def decode(
    slices: SliceSet,
    size: int,
    spec: str | None,
    room: Path,
    *,
    workers: int | None = None,
    watch: Watch | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Canvases:
    """Decode a set; memory use does not grow with the size of the set.

    Args:
        slices: Set to decode.
        size: Side of the canvas in pixels.
        spec: Intensity map, as in ``intensity_rule``; None for the one of each modality.
        room: Folder on whose disk the pictures are stored, in an unnamed file that disappears when
            the process ends.
        workers: Number of decoding processes; by default, those already running.
        watch: Called with each decoded slice, in order.
        progress: Called with (done, total) as work proceeds.

    Raises:
        ReadError: If none of the slices can be decoded.
        WriteError: If there is no space for the pictures.
    """
    members: list[Member] = []
    canvases: list[Canvas] = []
    problems: list[str] = []
    count = len(slices.members)
    pictures = _on_disk(room, (count, size, size))
    pixels = read_pixels((member.native for member in slices.members), workers)
    for done, (member, (_, read)) in enumerate(zip(slices.members, pixels, strict=True), 1):
        if progress is not None:
            progress(done, count)
        found = member.pixels(read)
        if isinstance(found, DecodeError):
            problems.append(str(found))
            continue
        scene = Scene.of(member.native, found, size, spec)
        unit = scene.picture()
        pictures[len(members)] = (unit * 255).round()
        members.append(member)
        canvases.append(scene.canvas)
        if watch is not None:
            watch(member, scene, unit)
    if not members:
        raise ReadError(f"{problems[0]} (nor can any other slice of the {slices.name} set)")
    there = replace(slices, members=tuple(members), problems=(*slices.problems, *problems))
    return Canvases(there, pictures[: len(members)], tuple(canvases))


def _on_disk(room: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    try:
        room.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=room) as file:
            # Without allocated blocks, writing to a mapped file on a full disk kills the process.
            os.posix_fallocate(file.fileno(), 0, math.prod(shape))
            return np.memmap(file, np.uint8, "w+", shape=shape)
    except OSError as error:
        raise WriteError(f"{room}: has no room for the pictures: {error.strerror}") from error
