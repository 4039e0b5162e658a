"""Slices to make synthetic ones from: labelled slices, hosts, and the patients that may be used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path

from medvae.errors import ReadError, UsageProblem
from medvae.files import Paths, as_paths
from medvae.labels import Outlines, attach_labels, check_outlines, folded
from medvae.models import TrainedModel
from medvae.progress import Progress, ignore_progress
from medvae.readers import open_studies, refuse_burned_in
from medvae.records import Labels, Series, Slice, Study
from medvae.split import read_held_out

__all__ = ["Sources", "by_series", "find_sources"]


@dataclass(frozen=True, eq=False)
class Sources:
    """Slices to start from, in an order that does not depend on that of the arguments.

    Attributes:
        slices: Slices to augment, with their labels.
        hosts: Slices given as hosts, known to be free of findings.
        targets: Slices to align to.
        series: Series of all these slices, by key.
        problems: Files and labels that could not be used: one line per file, and one for all
            labels with the same problem.
        outlines: Result of matching the outlines, if there were any.
    """

    slices: tuple[Slice, ...]
    hosts: tuple[Slice, ...]
    targets: tuple[Slice, ...]
    series: Mapping[str, Series]
    problems: tuple[str, ...]
    outlines: Outlines | None = None

    @property
    def free(self) -> tuple[Slice, ...]:
        """The slices that are known to be free of findings."""
        own = (one for one in self.slices if one.labels is not None and not one.labels)
        return (*own, *self.hosts)

    @cached_property
    def by_name(self) -> Mapping[str, Slice]:
        """The slices to augment, by name."""
        return {native.name: native for native in self.slices}

    def whole_series(self, slices: Iterable[Slice]) -> list[list[Slice]]:
        """Return the series all of whose slices are among some slices, which are in order."""
        found = by_series(slices)
        return [own for own in found if len(own) == len(self.series[own[0].series].slices)]


def find_sources(
    paths: Paths,
    model: TrainedModel,
    *,
    labels: Path | None = None,
    outlines: Path | None = None,
    hosts: Paths = (),
    align_to: Paths = (),
    split: Path | None = None,
    modality: str | None = None,
    allow_burned_in: bool = False,
    workers: int | None = None,
    progress: Progress = ignore_progress,
) -> Sources:
    """Read all headers and labels.

    Raises:
        ReadError: If nothing can be read.
        UsageProblem: If the labels match none of the slices, a patient is held out, or slices are
            of another modality than the model's.
    """
    check_outlines(labels, outlines)
    problems: list[str] = []
    joined: Outlines | None = None

    def scan(paths: Paths, parameter: str | None = None) -> tuple[Study, ...]:
        what = as_paths(paths)
        if parameter and not what:
            return ()
        found = open_studies(what, modality=modality, workers=workers, progress=progress)
        if not found.studies:
            raise ReadError(
                "none of the files can be read; see what 'medvae inspect' says about them",
                parameter=parameter,
            )
        if not allow_burned_in:
            found = refuse_burned_in(found)
        if not found.studies:
            raise ReadError(
                "all images have text burned into their pixels, which may name patients; allow "
                "burned-in text if you know that it does not",
                parameter=parameter,
            )
        problems.extend(f"{f.path}: {f.reason}" for f in found.files if f.outcome == "refused")
        model.check_modalities(found.slices)
        return found.studies

    studies = scan(paths)
    if labels is not None:
        attached = attach_labels(studies, labels, outlines)
        problems.extend(folded(attached.problems))
        studies, joined = attached.studies, attached.outlines
        if all(item.labels is None for study in studies for item in study.slices):
            raise UsageProblem(f"{labels}: none of its labels belongs to a slice that was given")
        if outlines is not None and joined is not None:
            joined.check(outlines)
    free = scan(hosts, "hosts")
    aligned = scan(align_to, "align_to")
    slices = _in_order(studies)
    empty = tuple(replace(native, labels=Labels()) for native in _in_order(free))
    _check_hosts(empty, [native for native in slices if native.labels])
    if split is not None:
        held_out = read_held_out(split)
        _check_split(held_out, slices, "sources")
        _check_split(held_out, empty, "hosts")
    every = {one.key: one for study in (*aligned, *free, *studies) for one in study.series}
    return Sources(slices, empty, _in_order(aligned), every, tuple(problems), joined)


def by_series(slices: Iterable[Slice]) -> list[list[Slice]]:
    """Return slices, given in their order, grouped by series."""
    return [list(series) for _, series in groupby(slices, key=lambda native: native.series)]


def _in_order(studies: Iterable[Study]) -> tuple[Slice, ...]:
    slices = (native for study in studies for native in study.slices)
    return tuple(sorted(slices, key=lambda native: native.order))


def _check_hosts(hosts: Sequence[Slice], positive: Sequence[Slice]) -> None:
    """Refuse hosts that have findings, and hosts of a modality that no lesion has."""
    marred = {native.key for native in hosts} & {native.key for native in positive}
    if marred:
        raise UsageProblem(
            f"{len(marred)} of the slices have findings by the labels, such as {min(marred)}; "
            "leave them out",
            parameter="hosts",
        )
    own, known = ({native.modality or "" for native in slices} for slices in (hosts, positive))
    if own and known and "" not in own | known and not own & known:
        raise UsageProblem(
            f"are {', '.join(sorted(own))}, but the slices with findings are "
            f"{', '.join(sorted(known))}; give hosts of their modality",
            parameter="hosts",
        )


def _check_split(held_out: frozenset[str], slices: Sequence[Slice], what: str) -> None:
    """Refuse patients that a split holds out: a detector must not be trained on them."""
    there = {native.group for native in slices} & held_out
    if there:
        raise UsageProblem(
            f"holds out {len(there)} of the patients among the {what}, such as {min(there)}; leave "
            "their studies out",
            parameter="split",
        )
