"""Inputs of an augmentation: labelled slices, hosts, and the patients that may be used."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from medvae.atomic import write_text
from medvae.errors import ReadError, UsageProblem
from medvae.labels import Outlines, attach_labels, check_outlines, folded
from medvae.models import TrainedModel
from medvae.readers import (
    check_unchanged,
    open_studies,
    pixel_fingerprint,
    refuse_burned_in,
)
from medvae.records import Labels, Pixels, Series, Slice, Study
from medvae.schema import read_object
from medvae.split import read_held_out

__all__ = ["Fingerprints", "Located", "Sources", "by_series", "find_sources", "located"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Located:
    """A slice and its position.

    Attributes:
        native: The slice.
        series: The series that it belongs to.
        place: Index of the slice in the series, from 0.
    """

    native: Slice
    series: Series
    place: int

    @property
    def order(self) -> tuple[str, int, str]:
        """Sort key among all slices that does not depend on how the files were given."""
        return (self.series.key, self.place, self.native.key)


@dataclass(frozen=True, eq=False)
class Sources:
    """The slices of an augmentation, in an order that does not depend on that of the arguments.

    Attributes:
        sources: Slices to augment, with their labels.
        hosts: Slices from ``--hosts``, known to be free of findings.
        targets: Slices to align to.
        problems: Files and labels that could not be used: one line per file, and one for all
            labels with the same problem.
        outlines: Result of matching the outlines, if there were any.
    """

    sources: tuple[Located, ...]
    hosts: tuple[Located, ...]
    targets: tuple[Located, ...]
    problems: tuple[str, ...]
    outlines: Outlines | None = None


class Fingerprints:
    """Fingerprints of the pixels of a run, recorded when it begins and compared when it resumes.

    Args:
        items: All slices of the run.
    """

    def __init__(self, items: Iterable[Located]) -> None:
        self._files = {_name(item): item.native.source.path for item in items}
        self._found: dict[str, str] = {}

    def note(self, item: Located, pixels: Pixels) -> None:
        """Record the fingerprint of a decoded slice."""
        self._found[_name(item)] = pixel_fingerprint(item.native, pixels)

    def check(self, out: Path) -> None:
        """Write the fingerprints, or compare them with those already written.

        Args:
            out: The folder of the run.

        Raises:
            UsageProblem: If a slice has changed since the run began.
            ReadError: If the existing file is damaged.
            WriteError: If the file system refuses.
        """
        path = out / "sources.json"
        if path.is_file():
            check_unchanged(read_object(path).strings(), self._found, self._files, out)
        else:
            write_text(path, json.dumps(self._found, indent=1, sort_keys=True) + "\n")


def _name(item: Located) -> str:
    return f"{item.series.key}/{item.native.key}"


def find_sources(
    paths: Iterable[str | Path],
    run: TrainedModel,
    *,
    labels: Path | None = None,
    outlines: Path | None = None,
    hosts: Iterable[str | Path] = (),
    align_to: Iterable[str | Path] = (),
    split: Path | None = None,
    modality: str | None = None,
    allow_burned_in: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
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

    def scan(option: str, paths: Iterable[str | Path]) -> tuple[Study, ...]:
        what = list(paths)
        if option and not what:
            return ()
        found = open_studies(what, modality=modality, workers=workers, progress=progress)
        if not found.studies:
            raise ReadError(
                f"none of the files given{option} can be read: see what 'medvae inspect' says"
            )
        if not allow_burned_in:
            found = refuse_burned_in(found)
        if not found.studies:
            raise ReadError(
                f"all images given{option} have text burned into their pixels, which may name "
                "patients; allow burned-in text if you know that it does not"
            )
        problems.extend(f"{f.path}: {f.reason}" for f in found.files if f.outcome == "refused")
        run.check_modalities(found.slices)
        return found.studies

    studies = scan("", paths)
    if labels is not None:
        attached = attach_labels(studies, labels, outlines)
        problems.extend(folded(attached.problems))
        studies, joined = attached.studies, attached.outlines
        if all(item.labels is None for study in studies for item in study.slices):
            raise UsageProblem(f"{labels}: none of its labels belongs to a slice that was given")
        if outlines is not None and joined is not None:
            joined.check(outlines)
    sources = located(studies)
    free = tuple(
        replace(item, native=replace(item.native, labels=Labels()))
        for item in located(scan(" with --hosts", hosts))
    )
    _check_hosts(free, [item for item in sources if item.native.labels])
    if split is not None:
        held_out = read_held_out(split)
        _check_split(held_out, sources, "sources")
        _check_split(held_out, free, "hosts")
    return Sources(
        sources, free, located(scan(" with --align-to", align_to)), tuple(problems), joined
    )


def located(studies: Iterable[Study]) -> tuple[Located, ...]:
    """Return all slices of studies, sorted by ``Located.order``."""
    return tuple(sorted(_all_slices(studies), key=lambda item: item.order))


def by_series(items: Iterable[Located]) -> list[list[Located]]:
    """Return slices, given in their order, grouped by series."""
    return [list(series) for _, series in groupby(items, key=lambda item: item.series.key)]


def _all_slices(studies: Iterable[Study]) -> Iterator[Located]:
    for study in studies:
        for series in study.series:
            for place, native in enumerate(series.slices):
                yield Located(native, series, place)


def _check_hosts(hosts: Sequence[Located], positive: Sequence[Located]) -> None:
    """Refuse hosts that have findings, and hosts of a modality that no lesion has."""
    marred = {item.native.key for item in hosts} & {item.native.key for item in positive}
    if marred:
        raise UsageProblem(
            f"{len(marred)} of the hosts have findings by the labels, such as {min(marred)}: "
            "leave them out of --hosts"
        )
    own, known = ({item.native.modality or "" for item in items} for items in (hosts, positive))
    if own and known and "" not in own | known and not own & known:
        raise UsageProblem(
            f"the hosts are {', '.join(sorted(own))}, the slices with findings "
            f"{', '.join(sorted(known))}: give hosts of their modality"
        )


def _check_split(held_out: frozenset[str], items: Sequence[Located], what: str) -> None:
    """Refuse patients that a split holds out: a detector must not be trained on them."""
    there = {item.native.group for item in items} & held_out
    if there:
        raise UsageProblem(
            f"{len(there)} of the patients among the {what} are held out by the split, such as "
            f"{min(there)}: leave their studies out"
        )
