"""The input of an audit, and checks that its sets can be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medvae.audit._augmented import read_augmented, wrote_augment
from medvae.audit._sets import SliceSet, read_studies
from medvae.errors import UsageProblem
from medvae.models import TrainedModel

__all__ = ["Sets", "read_sets"]

Progress = Callable[[int, int], None]

_UNLIKE = 0.1
"""Difference between shares from which it is reported."""


@dataclass(frozen=True, eq=False)
class Sets:
    """The sets of an audit.

    Attributes:
        real, synthetic: The sets that are compared.
        held_out: Real slices of other patients, for the baseline; None if the baseline comes from
            splits of the real slices.
    """

    real: SliceSet
    synthetic: SliceSet
    held_out: SliceSet | None = None

    @property
    def all(self) -> tuple[SliceSet, ...]:
        """The sets that were given."""
        return (self.real, self.synthetic, *([] if self.held_out is None else [self.held_out]))

    @property
    def problems(self) -> tuple[str, ...]:
        """Files and labels that could not be used, one line each."""
        return tuple(problem for one in self.all for problem in one.problems)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the sets for readers of the report, one sentence each."""
        return tuple(_notes(self))


def read_sets(
    real: Sequence[str | Path],
    synthetic: Path,
    *,
    labels: Path | None = None,
    outlines: Path | None = None,
    synthetic_labels: Path | None = None,
    holdout: Sequence[str | Path] = (),
    modality: str | None = None,
    run: TrainedModel | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Sets:
    """Read the headers and labels of all sets.

    Args:
        real: Files and folders of the real slices.
        synthetic: The output of an augmentation, or a file or folder of other slices.
        labels: Labels of the real slices, which may also cover the held-out slices.
        outlines: Masks for the boxes of these labels.
        synthetic_labels: Labels of synthetic slices that are not the output of an augmentation.
        holdout: Files and folders of the held-out slices.
        modality: Modality assumed for files that do not state one.
        run: The model, whose modality the slices must have.
        workers: Number of reading processes; by default those already running.
        progress: Called with (done, total) for the files of each set.

    Raises:
        ReadError: If a set is empty or cannot be read.
        UsageProblem: If the sets cannot be compared.
    """
    own = read_studies(
        "real",
        real,
        labels,
        outlines=outlines,
        modality=modality,
        workers=workers,
        progress=progress,
    )
    if wrote_augment(synthetic):
        if synthetic_labels is not None:
            raise UsageProblem(
                f"{synthetic}: has its labels in its manifest: leave the synthetic labels out"
            )
        made = read_augmented(synthetic, own, workers=workers, progress=progress)
    else:
        made = read_studies(
            "synthetic",
            [synthetic],
            synthetic_labels,
            modality=modality,
            workers=workers,
            progress=progress,
        )
    others = None
    if holdout:
        others = read_studies(
            "held-out",
            holdout,
            labels,
            outlines=outlines,
            modality=modality,
            workers=workers,
            progress=progress,
            may_lack_labels=True,
        )
    sets = _of_one_modality(Sets(own, made, others))
    _check(sets, run)
    return sets


def _of_one_modality(sets: Sets) -> Sets:
    """Assign the modality of all other slices to those that do not state one."""
    known = {modality for one in sets.all for modality in one.modalities}
    if len(known) != 1:
        return sets
    (modality,) = known

    def said(one: SliceSet) -> SliceSet:
        members = (
            replace(m, native=replace(m.native, modality=m.native.modality or modality))
            for m in one.members
        )
        return replace(one, members=tuple(members))

    held_out = None if sets.held_out is None else said(sets.held_out)
    return Sets(said(sets.real), said(sets.synthetic), held_out)


def _check(sets: Sets, run: TrainedModel | None) -> None:
    for one in sets.all:
        if run is not None:
            run.check_modalities(member.native for member in one.members)
        if one.modalities != sets.real.modalities:
            raise UsageProblem(
                f"the real slices are {_listed(sets.real.modalities)} and the {one.name} ones "
                f"{_listed(one.modalities)}: compare slices of the same modality"
            )
        if len(one.patients) < 2:
            raise UsageProblem(
                f"the {one.name} slices are of one patient, and everything is split by patient: "
                "give those of two at least, in a folder for each or with labels that name them"
            )
    if sets.held_out is not None and (both := sets.real.patients & sets.held_out.patients):
        raise UsageProblem(
            f"{len(both)} of the held-out patients are among the real ones, such as {min(both)}: "
            "hold others out"
        )
    real, made = sets.real.categories, sets.synthetic.categories
    if real and made and not set(real) & set(made):
        raise UsageProblem(
            f"the labels do not match: those of the real set are {_listed(real)}, those of the "
            f"synthetic one {_listed(made)}: give them the same names"
        )


def _notes(sets: Sets) -> Iterator[str]:
    for one in sets.all:
        if one.outlines is not None:
            yield f"Outlines: {one.outlines} in the {one.name} set."
    shapes = {one.name: Counter(m.native.shape for m in one.members) for one in sets.all}
    usual = {name: counts.most_common(1)[0][0] for name, counts in shapes.items()}
    if len(set(usual.values())) > 1:
        each = ", ".join(f"{name} {rows}x{columns}" for name, (rows, columns) in usual.items())
        yield f"Slices differ in size ({each}): all are compared on the same canvas."
    made = sets.synthetic
    if made.order is None:
        yield (
            "The synthetic slices have no manifest: which real slices they come from is not known."
        )
    else:
        known = {member.native.key for member in sets.real.members}
        lost = sum(not known.issuperset(member.sources or ()) for member in made.members)
        if lost:
            yield (
                f"{lost} synthetic slices name a source that is not among the real slices: their "
                "findings are judged without it."
            )
    real, share = _share_with_findings(sets.real), _share_with_findings(made)
    if real is not None and share is not None and abs(real - share) > _UNLIKE:
        yield (
            f"{100 * real:.0f} % of the real slices have a finding, and {100 * share:.0f} % of the "
            "synthetic ones: some of what tells them apart is what they show, not how."
        )
    shared = len(made.patients & sets.real.patients)
    if shared:
        yield f"{shared} of the {len(made.patients)} patients in synthetic slices are real ones."
    else:
        yield "None of the real patients is known to be in a synthetic slice."


def _share_with_findings(one: SliceSet) -> float | None:
    """Return the share of labelled slices with a finding; None if no slice is labelled."""
    known = [member.native.labels for member in one.members if member.native.labels is not None]
    return sum(map(bool, map(len, known))) / len(known) if known else None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "of unknown kind"
