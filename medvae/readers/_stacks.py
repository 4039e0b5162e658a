"""Sorting of the slices of a series into stacks, by time point and position."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medvae.files import natural_key
from medvae.readers._contract import FileHeader, FileRefused, FrameHeader
from medvae.records import Slice, Source

_SAME_PLACE = 0.01
"""Slices closer to each other than this, in millimetres, lie at the same position."""

_EVEN = 0.01
"""Gaps that differ by less than this, in millimetres, count as even."""

_MOST_MISSING = 20
"""Gaps count as uneven if more slices than this would be missing per gap."""

_KINDS = ("tilt:", "gaps:", "uneven:")


@dataclass(eq=False)
class ScannedSlice:
    """One slice to be sorted, the group of its patient, and the number of its position."""

    path: Path
    file: FileHeader
    frame: FrameHeader
    group: str
    group_from: str
    place: int = 0

    @property
    def source(self) -> Source:
        """The location of its pixels."""
        return Source(
            path=self.path,
            format=self.file.format,
            frame=self.frame.frame,
            axis=self.frame.axis,
            time=self.frame.time,
            uid=self.file.uid,
            series_uid=self.file.series_uid,
            layout=self.file.layout,
        )


@dataclass
class Stack:
    """Slices in order, each at a position of its own if positions are known.

    Attributes:
        copies: Slices that were left out, each with the slice that it is a copy of.
    """

    members: list[ScannedSlice]
    name: str = ""
    flags: list[str] = field(default_factory=list)
    copies: list[tuple[ScannedSlice, ScannedSlice]] = field(default_factory=list)


Digest = Callable[[ScannedSlice], str]


def sort_stack(members: Sequence[ScannedSlice], digest: Digest) -> list[Stack]:
    """Sort slices that share series, shape and orientation.

    Args:
        members: Slices, in any order.
        digest: Function that decodes a slice and hashes its stored pixels; called only for slices
            that lie at the same position.

    Returns:
        One stack, or several if the slices lie at the same positions at different times. Slices
        without a position are in the order of their InstanceNumber and their names.

    Raises:
        FileRefused: If different slices lie at the same position and nothing distinguishes them.
    """
    if members[0].frame.geometry.position is None:
        flags = ["no positions: sorted by InstanceNumber and name"]
        return [Stack(sorted(members, key=_by_number), flags=flags if len(members) > 1 else [])]
    _number_places(members)
    points = _time_points(members) or [("", list(members))]
    stacks = [stack for name, part in points for stack in _settled(name, part, digest)]
    for i, stack in enumerate(stacks):
        stack.members.sort(key=lambda member: member.place)
        if len(stacks) > 1:
            stack.flags.insert(0, f"time point {i + 1} of {len(stacks)}")
    return stacks


def _settled(name: str, members: Sequence[ScannedSlice], digest: Digest) -> list[Stack]:
    """Resolve slices at the same position within a time point: repeats, or copies to drop."""
    at: dict[int, list[ScannedSlice]] = defaultdict(list)
    for member in members:
        at[member.place].append(member)
    shared = [found for found in at.values() if len(found) > 1]
    if not shared:
        return [Stack(list(members), name)]
    digests = {member: digest(member) for found in shared for member in found}
    differ = any(len({digests[member] for member in found}) > 1 for found in shared)
    repeats = _repeats(name, at) if differ else None
    # Empty slices at the end of a head are equal at all times, but are not copies then.
    return repeats or [_without_copies(name, at, digests)]


def _by_number(member: ScannedSlice) -> tuple[int, list[tuple[int, str]], int]:
    number = member.file.instance
    return (0 if number is None else number, natural_key(member.path), member.frame.frame)


def _number_places(members: Sequence[ScannedSlice]) -> None:
    """Number the positions along the common normal; equal positions get equal numbers."""
    normals = [n for member in members if (n := member.frame.geometry.normal) is not None]
    positions = np.array([member.frame.geometry.position for member in members])
    along = positions @ np.mean(normals, axis=0)
    place, last = -1, -math.inf
    for i in np.argsort(along, kind="stable"):
        if along[i] - last > _SAME_PLACE:
            place, last = place + 1, along[i]
        members[i].place = place


def _time_points(members: Sequence[ScannedSlice]) -> list[tuple[str, list[ScannedSlice]]] | None:
    """Split slices at repeated positions by attributes that distinguish them, or return None.

    An attribute is used if most of its values occur at half of the positions or more: an echo
    number is, the time at which each single slice was acquired is not.
    """
    count = len({member.place for member in members})
    if count == len(members):
        return None
    names = sorted({name for member in members for name in member.frame.when})
    telling = []
    for name in names:
        at = defaultdict(set)
        for member in members:
            at[member.frame.when.get(name)].add(member.place)
        full = sum(2 * len(found) >= count for found in at.values())
        if len(at) > 1 and 2 * full > len(at):
            telling.append(name)
    parts = defaultdict(list)
    for member in members:
        parts[tuple(member.frame.when.get(name, "") for name in telling)].append(member)
    if len(parts) < 2:
        return None
    ordered = sorted(parts.items(), key=lambda item: [_number_first(text) for text in item[0]])
    return [(repr(key), part) for key, part in ordered]


def _number_first(text: str) -> tuple[float, str]:
    try:
        return (float(text), text)
    except ValueError:
        return (math.inf, text)


def _without_copies(
    name: str, at: dict[int, list[ScannedSlice]], digests: dict[ScannedSlice, str]
) -> Stack:
    """Leave out slices that have the same position and pixels as another slice."""
    stack = Stack([], name)
    for found in at.values():
        first: dict[str, ScannedSlice] = {}
        for member in sorted(found, key=lambda m: (m.file.uid, natural_key(m.path))):
            kept = first.setdefault(digests.get(member, ""), member)
            if kept is member:
                stack.members.append(member)
            else:
                stack.copies.append((member, kept))
        if len(first) > 1:
            raise FileRefused(
                f"up to {len(first)} different slices are at the same position, and neither time "
                "nor acquisition distinguishes them"
            )
    stack.flags.append(f"duplicates: {len(stack.copies)} left out")
    return stack


def _repeats(name: str, at: dict[int, list[ScannedSlice]]) -> list[Stack] | None:
    """Split slices repeated equally often at every position by InstanceNumber, or return None."""
    members = [member for found in at.values() for member in found]
    counts = {len(found) for found in at.values()}
    numbers = {(m.file.instance, m.frame.frame) for m in members}
    if len(counts) > 1 or len(at) < 2 or len(numbers) < len(members):
        return None
    rows = [sorted(found, key=_by_number) for found in at.values()]
    return [Stack([row[i] for row in rows], f"{name} repeat {i}") for i in range(counts.pop())]


def geometry_flags(slices: Sequence[Slice]) -> list[str]:
    """Return flags for unusual positions of slices, which are given in order."""
    places = [item.geometry.position for item in slices if item.geometry.position is not None]
    normals = [item.geometry.normal for item in slices if item.geometry.normal is not None]
    if min(len(places), len(normals)) < len(slices) or len(slices) < 3:
        return []
    normal = np.mean(normals, axis=0)
    normal /= np.linalg.norm(normal)
    steps = np.diff(np.array(places), axis=0)
    gaps = np.abs(steps @ normal)
    return _tilt(steps, gaps, normal) + _gaps(gaps)


def without_geometry_flags(flags: Sequence[str]) -> list[str]:
    """Return the flags that do not concern positions."""
    return [flag for flag in flags if not flag.startswith(_KINDS)]


def _tilt(
    steps: NDArray[np.float64], gaps: NDArray[np.float64], normal: NDArray[np.float64]
) -> list[str]:
    aside = np.linalg.norm(steps - np.outer(steps @ normal, normal), axis=1)
    angles = np.degrees(np.arctan2(aside, gaps))
    if np.median(angles) < 0.5:
        return []
    spread = f" ({angles.min():.1f} to {angles.max():.1f})" if np.ptp(angles) > 1 else ""
    return [f"tilt: slices are shifted by {np.median(angles):.1f} degrees{spread}"]


def _gaps(gaps: NDArray[np.float64]) -> list[str]:
    least = float(gaps.min())
    if np.ptp(gaps) <= max(0.02 * least, _EVEN):
        return []
    steps = np.round(gaps / max(least, _EVEN))
    missing = int((steps - 1).sum())
    if np.abs(gaps / least - steps).max() < 0.1 and missing < _MOST_MISSING * len(gaps):
        return [f"gaps: {missing} slices missing at {int((steps > 1).sum())} places"]
    return [f"uneven: from {least:.2f} to {gaps.max():.2f} mm between slices"]
