"""Sorting the slices of a series: into stacks of one orientation, time points, and by place."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medvae.readers._files import natural_key
from medvae.readers._headers import FileHeader, FrameHeader

__all__ = ["Member", "Stack", "StackRefused", "sort_stack"]

_SAME_PLACE = 0.01
"""Slices nearer to each other than this, in millimetres, lie at the same place."""


_MOST_MISSING = 20
"""When more slices than this would be missing for each that is there, the gaps are just uneven."""


@dataclass(frozen=True, eq=False)
class Member:
    """One slice that is to find its place."""

    path: Path
    file: FileHeader
    frame: FrameHeader


@dataclass
class Stack:
    """Slices in order, each at a place of its own where places are known.

    Attributes:
        copies: slices that were left out, each with the one it is a copy of.
    """

    members: list[Member]
    name: str = ""
    flags: list[str] = field(default_factory=list)
    copies: list[tuple[Member, Member]] = field(default_factory=list)


class StackRefused(Exception):
    """The slices contradict each other."""


Digest = Callable[[Member], str]


def sort_stack(members: Sequence[Member], digest: Digest) -> list[Stack]:
    """Sort slices that share series, shape and orientation.

    Args:
        members: the slices, in any order.
        digest: decodes a slice and hashes its stored pixels; asked only about slices that lie at
            the same place.

    Returns:
        One stack, or several where the slices lie at the same places at different times. Slices
        without a position stand in the order of their InstanceNumber and their names.

    Raises:
        StackRefused: different slices lie at the same place and nothing tells them apart.
    """
    known = [m for m in members if m.frame.position is not None]
    if len(known) < len(members):
        if known:
            raise StackRefused("some of its slices have a position and some have none")
        return [Stack(sorted(members, key=_by_number))]
    places = _places(known)
    points = _time_points(known, places) or [("", known)]
    stacks = []
    for name, part in points:
        own = {id(member): places[id(member)] for member in part}
        stack = _drop_copies(part, own, digest)
        if len(Counter(own[id(m)] for m in stack.members)) < len(stack.members):
            stacks += _repeats(stack, own)
        else:
            stacks.append(Stack(stack.members, name, stack.flags, stack.copies))
    for i, stack in enumerate(stacks):
        stack.members.sort(key=lambda member: places[id(member)])
        if len(stacks) > 1:
            stack.flags.insert(0, f"time point {i + 1} of {len(stacks)}")
        stack.flags += _geometry_flags(stack.members)
    return stacks


def _by_number(member: Member) -> tuple[int, list[tuple[int, str]], int]:
    number = member.file.instance
    return (0 if number is None else number, natural_key(member.path), member.frame.frame)


def _places(members: Iterable[Member]) -> dict[int, int]:
    """Number the places along the common normal: equal numbers lie at the same place."""
    members = list(members)
    along = [_along(member) for member in members]
    place, last, numbers = -1, -math.inf, {}
    for i in sorted(range(len(members)), key=lambda i: along[i]):
        if along[i] - last > _SAME_PLACE:
            place += 1
            last = along[i]
        numbers[id(members[i])] = place
    return numbers


def _along(member: Member) -> float:
    """Return how far along its normal a slice lies."""
    frame = member.frame
    assert frame.along_row is not None
    assert frame.along_column is not None
    assert frame.position is not None
    (a, b, c), (d, e, f) = frame.along_row, frame.along_column
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    return sum(n * p for n, p in zip(normal, frame.position, strict=True))


def _time_points(
    members: Sequence[Member], places: dict[int, int]
) -> list[tuple[str, list[Member]]] | None:
    """Split slices at repeated places by the attributes that tell them apart; None if none do.

    An attribute takes part when most of its values occur at half of the places or more: an echo
    number does, the time at which each single slice was taken does not.
    """
    count = len(set(places.values()))
    if count == len(members):
        return None
    names = sorted({name for member in members for name in member.frame.when})
    telling = []
    for name in names:
        at = defaultdict(set)
        for member in members:
            at[member.frame.when.get(name)].add(places[id(member)])
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


def _drop_copies(members: Sequence[Member], places: dict[int, int], digest: Digest) -> Stack:
    """Leave out slices that lie at the place of another and have the same pixels."""
    at = defaultdict(list)
    for member in members:
        at[places[id(member)]].append(member)
    stack = Stack([])
    for found in at.values():
        first: dict[str, Member] = {}
        for member in sorted(found, key=lambda m: (m.file.uid, natural_key(m.path))):
            kept = first.setdefault(digest(member) if len(found) > 1 else "", member)
            if kept is member:
                stack.members.append(member)
            else:
                stack.copies.append((member, kept))
    if stack.copies:
        stack.flags.append(f"duplicates: {len(stack.copies)} left out")
    return stack


def _repeats(stack: Stack, places: dict[int, int]) -> list[Stack]:
    """Split what is repeated as often at every place, in order of InstanceNumber."""
    at = defaultdict(list)
    for member in stack.members:
        at[places[id(member)]].append(member)
    counts = {len(found) for found in at.values()}
    numbers = {(m.file.instance, m.frame.frame) for m in stack.members}
    if len(counts) > 1 or len(at) < 2 or len(numbers) < len(stack.members):
        often = max(len(found) for found in at.values())
        raise StackRefused(
            f"up to {often} different slices lie at the same place, and neither time nor "
            "acquisition tells them apart"
        )
    rows = [sorted(found, key=_by_number) for found in at.values()]
    return [
        Stack([row[i] for row in rows], f"repeat {i}", list(stack.flags), stack.copies * (not i))
        for i in range(counts.pop())
    ]


def _geometry_flags(members: Sequence[Member]) -> list[str]:
    """Say what is unusual about the places of slices in order."""
    if len(members) < 3:
        return []
    positions = np.array([member.frame.position for member in members])
    frame = members[0].frame
    normal = np.cross(np.array(frame.along_row), np.array(frame.along_column))
    steps = np.diff(positions, axis=0)
    gaps = np.abs(steps @ normal)
    return _tilt_flags(steps, gaps, normal) + _gap_flags(gaps)


def _tilt_flags(
    steps: NDArray[np.float64], gaps: NDArray[np.float64], normal: NDArray[np.float64]
) -> list[str]:
    aside = np.linalg.norm(steps - np.outer(steps @ normal, normal), axis=1)
    angles = np.degrees(np.arctan2(aside, gaps))
    if np.median(angles) < 0.5:
        return []
    spread = (
        f" (varies from {angles.min():.1f} to {angles.max():.1f})" if np.ptp(angles) > 1 else ""
    )
    return [f"tilt: slices are shifted by {np.median(angles):.1f} degrees{spread}"]


def _gap_flags(gaps: NDArray[np.float64]) -> list[str]:
    least = float(gaps.min())
    if np.ptp(gaps) <= max(0.02 * least, _SAME_PLACE):
        return []
    steps = np.round(gaps / least)
    missing = int((steps - 1).sum())
    if np.abs(gaps / least - steps).max() < 0.1 and missing < _MOST_MISSING * len(gaps):
        return [f"gaps: {missing} slices missing at {int((steps > 1).sum())} places"]
    return [f"uneven: from {least:.2f} to {gaps.max():.2f} mm between slices"]
