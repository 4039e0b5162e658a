"""The sets of an audit: their slices with labels and patients, and whether they are comparable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medvae.errors import DecodeError, ReadError, UsageProblem
from medvae.labels import Outlines, attach_labels, check_outlines
from medvae.progress import Progress, ignore_progress
from medvae.readers import open_studies
from medvae.records import Pixels, Slice

_UNLIKE = 0.1
"""Difference between shares from which it is reported."""


@dataclass(frozen=True, eq=False)
class AuditedSlice:
    """A slice of a set.

    Attributes:
        native: The slice.
        groups: All patients in the slice.
        sources: Keys of the real slices that it declares as its sources, the host last; None if it
            declares none.
        scale: Slope and intercept of its pixels, if a comment in its file states them.
    """

    native: Slice
    groups: tuple[str, ...]
    sources: tuple[str, ...] | None = None
    scale: tuple[float, float] | None = None

    def in_units(self, found: Pixels | DecodeError) -> Pixels | DecodeError:
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
        slices: Slices of the set, in an order that does not depend on arguments.
        problems: Files and labels that could not be used, one line each.
        augmentation: Settings of the augmentation that wrote it; None for other slices.
        outlines: Result of attaching the outlines, if there were any.
    """

    name: str
    slices: tuple[AuditedSlice, ...]
    problems: tuple[str, ...] = ()
    augmentation: Mapping[str, Any] | None = None
    outlines: Outlines | None = None

    @property
    def patients(self) -> frozenset[str]:
        """All patients in the set."""
        return frozenset(group for one in self.slices for group in one.groups)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The known modalities, sorted."""
        return tuple(sorted({s.native.modality for s in self.slices if s.native.modality}))

    @property
    def categories(self) -> tuple[str, ...]:
        """The names of the labelled categories, sorted."""
        findings = (finding for one in self.slices for finding in one.native.labels or ())
        return tuple(sorted({finding.category.name for finding in findings}))

    @property
    def labelled(self) -> bool:
        """Whether any of its slices has labels."""
        return any(one.native.labels is not None for one in self.slices)


def read_studies(
    name: str,
    paths: Sequence[str | Path],
    labels: str | Path | None = None,
    outlines: str | Path | None = None,
    *,
    modality: str | None = None,
    workers: int | None = None,
    progress: Progress = ignore_progress,
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
        progress: Called with (stage, done, total, note) as files are read.
        may_lack_labels: Whether the labels may belong to none of the slices.

    Raises:
        ReadError: If none of the files can be read.
        UsageProblem: If the labels belong to none of the slices.
    """
    check_outlines(labels, outlines)
    scan = open_studies(
        paths,
        modality=modality,
        workers=workers,
        progress=lambda stage, done, total, _: progress(stage, done, total, name),
    )
    problems = [f"{file.path}: {file.reason}" for file in scan.files if file.outcome == "refused"]
    studies = scan.studies
    if not studies:
        raise ReadError(
            f"{', '.join(map(str, paths))}: the {name} set is empty: none of the files can be "
            "read; 'medvae inspect' gives the reason for each"
        )
    joined: Outlines | None = None
    if labels is not None:
        attached = attach_labels(studies, labels, outlines)
        problems += [f"{problem.where}: {problem.what}" for problem in attached.problems]
        studies, joined = attached.studies, attached.outlines
    slices = (AuditedSlice(s, (s.group,)) for study in studies for s in study.slices)
    found = SliceSet(name, sorted_slices(slices), tuple(problems), outlines=joined)
    if labels is not None and not found.labelled and not may_lack_labels:
        raise UsageProblem(f"{labels}: none of its labels belongs to a slice of the {name} set")
    if outlines is not None and joined is not None and not may_lack_labels:
        joined.check(Path(outlines))
    return found


def sorted_slices(slices: Iterable[AuditedSlice]) -> tuple[AuditedSlice, ...]:
    """Return slices in an order that does not depend on arguments."""
    return tuple(sorted(slices, key=lambda one: one.native.order))


def with_one_modality(sets: Sequence[SliceSet]) -> list[SliceSet]:
    """Assign the modality of all other slices to those that do not state one."""
    known = {modality for one in sets for modality in one.modalities}
    if len(known) != 1:
        return list(sets)
    (modality,) = known
    return [
        replace(
            one,
            slices=tuple(
                replace(s, native=replace(s.native, modality=s.native.modality or modality))
                for s in one.slices
            ),
        )
        for one in sets
    ]


def check_comparable(sets: Sequence[SliceSet]) -> None:
    """Check that the real, the synthetic and, if given, the held-out set can be compared.

    Raises:
        UsageProblem: If a set differs in modality or has one patient only, if held-out patients are
            among the real ones, or if the sets have no category in common.
    """
    real, synthetic, *held_out = sets
    for one in sets:
        if one.modalities != real.modalities:
            raise UsageProblem(
                f"the real slices are {_listed(real.modalities)} and the {one.name} ones "
                f"{_listed(one.modalities)}; compare slices of the same modality"
            )
        if len(one.patients) < 2:
            raise UsageProblem(
                f"the {one.name} slices are of one patient, but all sets are split by patient; "
                "give slices of two or more, in a folder for each or with labels that name them"
            )
    if held_out and (shared := real.patients & held_out[0].patients):
        raise UsageProblem(
            f"{len(shared)} of the held-out patients are among the real ones, such as "
            f"{min(shared)}; hold out other patients"
        )
    known, made = real.categories, synthetic.categories
    if known and made and not set(known) & set(made):
        raise UsageProblem(
            f"the labels do not match: those of the real set are {_listed(known)}, those of the "
            f"synthetic set {_listed(made)}; use the same names for both"
        )


def notes_on(sets: Sequence[SliceSet]) -> Iterator[str]:
    """Yield notes on the sets for readers of the report, one sentence each."""
    real, synthetic = sets[:2]
    for one in sets:
        if one.outlines is not None:
            yield f"Outlines: {one.outlines} in the {one.name} set."
    shapes = {one.name: Counter(s.native.shape for s in one.slices) for one in sets}
    usual = {name: counts.most_common(1)[0][0] for name, counts in shapes.items()}
    if len(set(usual.values())) > 1:
        each = ", ".join(f"{name} {rows}x{columns}" for name, (rows, columns) in usual.items())
        yield f"Slices differ in size ({each}): all are compared on the same canvas."
    if synthetic.augmentation is None:
        yield "The synthetic slices have no manifest, so their source slices are unknown."
    else:
        known = {one.native.key for one in real.slices}
        lost = sum(not known.issuperset(one.sources or ()) for one in synthetic.slices)
        if lost:
            yield (
                f"{lost} synthetic slices name a source that is not among the real slices: their "
                "findings are judged without it."
            )
    share, other = _share_with_findings(real), _share_with_findings(synthetic)
    if abs(share - other) > _UNLIKE:
        yield (
            f"{100 * share:.0f} % of the real slices have a finding, and "
            f"{100 * other:.0f} % of the synthetic ones: part of the difference between the "
            "sets is due to what the slices show, not to how they look."
        )
    shared = len(synthetic.patients & real.patients)
    if shared:
        yield (
            f"{shared} of the {len(synthetic.patients)} patients in the synthetic slices are also "
            "in the real set."
        )
    else:
        yield "None of the real patients is known to be in a synthetic slice."


def _share_with_findings(one: SliceSet) -> float:
    """Return the share of labelled slices with a finding; NaN if no slice is labelled."""
    labels = [s.native.labels for s in one.slices if s.native.labels is not None]
    return sum(len(found) > 0 for found in labels) / len(labels) if labels else np.nan


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "of unknown kind"
