"""The sets of an audit: their slices, with labels and patients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medvae.errors import DecodeError, ReadError, UsageProblem
from medvae.labels import Outlines, attach_labels, check_outlines
from medvae.readers import open_studies
from medvae.records import Pixels, Slice, Study

__all__ = ["Member", "SliceSet", "in_order", "read_studies"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Member:
    """A slice of a set.

    Attributes:
        native: The slice.
        series: Key of its series.
        place: Index in the series, from 0.
        groups: All patients in the slice.
        sources: Keys of the real slices that it declares as its sources, the host last; None if it
            declares none.
        scale: Slope and intercept of its pixels, if a comment in its file states them.
    """

    native: Slice
    series: str
    place: int
    groups: tuple[str, ...]
    sources: tuple[str, ...] | None = None
    scale: tuple[float, float] | None = None

    @property
    def order(self) -> tuple[str, int, str]:
        """A sort key among all slices that does not depend on how files were given."""
        return (self.series, self.place, self.native.key)

    def pixels(self, found: Pixels | DecodeError) -> Pixels | DecodeError:
        """Return pixels as read, converted to the units stated in the comment of the file."""
        if self.scale is None or isinstance(found, DecodeError):
            return found
        slope, intercept = self.scale
        values = (found.stored.astype(np.float64) * slope + intercept).astype(np.float32)
        return replace(found, values=values)


@dataclass(frozen=True, eq=False)
class SliceSet:
    """One of the sets of an audit.

    Attributes:
        name: One of ``real``, ``synthetic`` and ``held-out``.
        members: Slices of the set, in an order that does not depend on arguments.
        problems: Files and labels that could not be used, one line each.
        order: Settings of the augmentation; None for other slices.
        outlines: Result of attaching the outlines, if there were any.
    """

    name: str
    members: tuple[Member, ...]
    problems: tuple[str, ...] = ()
    order: Mapping[str, Any] | None = None
    outlines: Outlines | None = None

    @property
    def patients(self) -> frozenset[str]:
        """All patients in the set."""
        return frozenset(group for member in self.members for group in member.groups)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The known modalities, sorted."""
        return tuple(sorted({m.native.modality for m in self.members if m.native.modality}))

    @property
    def categories(self) -> tuple[str, ...]:
        """The names of the labelled categories, sorted."""
        findings = (finding for m in self.members for finding in m.native.labels or ())
        return tuple(sorted({finding.category.name for finding in findings}))

    @property
    def labelled(self) -> bool:
        """Whether any of its slices has labels."""
        return any(member.native.labels is not None for member in self.members)


def read_studies(
    name: str,
    paths: Sequence[str | Path],
    labels: Path | None = None,
    *,
    outlines: Path | None = None,
    modality: str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    may_lack_labels: bool = False,
) -> SliceSet:
    """Read the headers and labels of studies.

    Args:
        name: Name of the set, for messages.
        paths: Files and folders of the studies.
        labels: Labels of their slices.
        outlines: Masks for the boxes of the labels, as in ``attach_labels``.
        modality: Modality assumed for files that do not state one.
        workers: Number of reading processes; by default those already running.
        progress: Called with (done, total) as files are read.
        may_lack_labels: Whether the labels may belong to none of the slices.

    Raises:
        ReadError: If none of the files can be read.
        UsageProblem: If the labels belong to none of the slices.
    """
    check_outlines(labels, outlines)
    scan = open_studies(paths, modality=modality, workers=workers, progress=progress)
    problems = [f"{file.path}: {file.reason}" for file in scan.files if file.outcome == "refused"]
    studies = scan.studies
    if not studies:
        raise ReadError(
            f"{', '.join(map(str, paths))}: the {name} set is empty: none of the files can be "
            "read; see what 'medvae inspect' says"
        )
    joined: Outlines | None = None
    if labels is not None:
        attached = attach_labels(studies, labels, outlines)
        problems += [f"{problem.where}: {problem.what}" for problem in attached.problems]
        studies, joined = attached.studies, attached.outlines
    found = SliceSet(name, in_order(_members(studies)), tuple(problems), outlines=joined)
    if labels is not None and not found.labelled and not may_lack_labels:
        raise UsageProblem(f"{labels}: none of its labels belongs to a slice of the {name} set")
    if outlines is not None and joined is not None and not may_lack_labels:
        joined.check(outlines)
    return found


def _members(studies: Iterable[Study]) -> Iterator[Member]:
    for study in studies:
        for series in study.series:
            for place, native in enumerate(series.slices):
                yield Member(native, series.key, place, (native.group,))


def in_order(members: Iterable[Member]) -> tuple[Member, ...]:
    """Return members in an order that does not depend on arguments."""
    return tuple(sorted(members, key=lambda member: member.order))
