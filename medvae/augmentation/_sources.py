"""What an augmentation starts from: labelled slices, hosts, and who may be drawn from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from medvae.atomic import write_text
from medvae.bundle import Run
from medvae.errors import ReadError, UsageProblem
from medvae.labels import Outlines, attach_labels, check_outlines, folded
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
    """A slice and where it stands.

    Attributes:
        native: the slice.
        series: that it belongs to.
        place: in the series, from 0.
    """

    native: Slice
    series: Series
    place: int

    @property
    def order(self) -> tuple[str, int, str]:
        """A place among all slices that does not depend on how files were given."""
        return (self.series.key, self.place, self.native.key)


@dataclass(frozen=True, eq=False)
class Sources:
    """The slices of an augmentation, each list in an order that arguments do not change.

    Attributes:
        sources: to be augmented, with their labels.
        hosts: known to be free of findings, of ``--hosts``.
        targets: to align to.
        problems: files and labels that could not be used: a line for each file, and one for all
            labels that have the same thing wrong with them.
        outlines: What came of the outlines, if there were any.
    """

    sources: tuple[Located, ...]
    hosts: tuple[Located, ...]
    targets: tuple[Located, ...]
    problems: tuple[str, ...]
    outlines: Outlines | None = None


class Fingerprints:
    """What the pixels of a run are: noted when it begins, compared when it is resumed.

    Args:
        items: All its slices.
    """

    def __init__(self, items: Iterable[Located]) -> None:
        self._files = {_name(item): item.native.source.path for item in items}
        self._found: dict[str, str] = {}

    def note(self, item: Located, pixels: Pixels) -> None:
        """Note a slice that was decoded."""
        self._found[_name(item)] = pixel_fingerprint(item.native, pixels)

    def check(self, out: Path) -> None:
        """Write down what was noted, or compare it with what is there.

        Args:
            out: The folder of the run.

        Raises:
            UsageProblem: A slice is not what it was when the run began.
            ReadError: What is there is damaged.
            WriteError: The file system refuses.
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
    run: Run,
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
        ReadError: there is nothing that can be read.
        UsageProblem: labels belong to none of the slices, a patient is not one to learn from, or
            slices are of another modality than the model's.
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
    """Return all slices of studies in an order of their own."""
    return tuple(sorted(_all_slices(studies), key=lambda item: item.order))


def by_series(items: Iterable[Located]) -> list[list[Located]]:
    """Return slices, which stand in their order, series by series."""
    return [list(series) for _, series in groupby(items, key=lambda item: item.series.key)]


def _all_slices(studies: Iterable[Study]) -> Iterator[Located]:
    for study in studies:
        for series in study.series:
            for place, native in enumerate(series.slices):
                yield Located(native, series, place)


def _check_hosts(hosts: Sequence[Located], positive: Sequence[Located]) -> None:
    """Refuse hosts that have findings, and those that no lesion can be set into."""
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
    """Refuse patients that a split holds out: a detector must not have seen them."""
    there = {item.native.group for item in items} & held_out
    if there:
        raise UsageProblem(
            f"{len(there)} of the patients among the {what} are held out by the split, such as "
            f"{min(there)}: leave their studies out"
        )
