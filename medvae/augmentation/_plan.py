"""Plan of an augmentation: the draws, in batches, in a fixed order."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path

from medvae.atomic import write_text
from medvae.augmentation._settings import Settings
from medvae.errors import UsageProblem
from medvae.records import Slice, pseudonym
from medvae.render import trace_lesions
from medvae.schema import Fields, read_object
from medvae.sources import by_series

BATCH = 16
"""Number of slices processed together."""

Section = tuple[Slice, tuple[int, ...]]
"""A slice that shows a lesion, and the indices of its findings there."""


@dataclass(frozen=True)
class Draw:
    """One synthetic slice to generate, or a series into which one whole lesion is transplanted.

    Attributes:
        key: Name of the result, which also determines its random numbers.
        source: Name of the slice that is varied, or whose lesion is transplanted; for a whole
            lesion, the slice that shows most of it.
        series: Name of the synthetic series: one for each source series and copy.
        copy: Number of this copy of the source, from 1.
        seed: Random seed of the run.
        lesion: Whole lesion that is transplanted: the name of each slice that shows it, and the
            indices of its findings there. Empty for a single slice.
    """

    key: str
    source: str
    series: str
    copy: int
    seed: int
    lesion: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @property
    def needed(self) -> tuple[str, ...]:
        """The names of the slices whose pixels the draw needs."""
        return tuple(name for name, _ in self.lesion) or (self.source,)

    def series_of(self, native: Slice) -> str:
        """Return the name of the synthetic series of a slice that is made from ``native``.

        With a transplanted lesion, the result is a series of its own.
        """
        return self.series if native.name == self.source else self.key


@dataclass(frozen=True)
class Batch:
    """Draws that are processed together, and whose manifest lines are adjacent.

    Attributes:
        draws: Draws of single slices, of one copy of a whole series, or of one whole lesion.
        in_series: Whether the result is a series, drawn as a unit.
    """

    draws: tuple[Draw, ...]
    in_series: bool = False

    @cached_property
    def key(self) -> str:
        """The name of the batch in the manifest."""
        return pseudonym("batch", *(draw.key for draw in self.draws))


@dataclass(frozen=True)
class Plan:
    """All batches of an augmentation, in the order of its manifest."""

    batches: tuple[Batch, ...]

    @property
    def draws(self) -> list[Draw]:
        """The draws of all batches."""
        return [draw for batch in self.batches for draw in batch.draws]

    def write(self, path: Path) -> None:
        """Write the plan as JSON.

        Raises:
            WriteError: If the file system refuses.
        """
        write_text(path, json.dumps(asdict(self)) + "\n")

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read a plan.

        Raises:
            ReadError: If the file does not exist or is damaged.
        """
        return cls(tuple(map(_read_batch, read_object(path).objects("batches"))))


def _read_batch(fields: Fields) -> Batch:
    return Batch(tuple(map(_read_draw, fields.objects("draws"))), fields.flag("in_series"))


def _read_draw(fields: Fields) -> Draw:
    lesion = tuple((name, tuple(map(int, found))) for name, found in fields.content["lesion"])
    key, source, series = (fields.text(name) for name in ("key", "source", "series"))
    return Draw(key, source, series, fields.whole("copy"), fields.whole("seed"), lesion)


def plan(slices: Sequence[Slice], settings: Settings, transplants: bool) -> Plan:
    """Plan the draws of all slices.

    Args:
        slices: Slices in the order of ``Slice.order``.
        settings: Settings with the number of draws, and whether slices or series are drawn.
        transplants: Whether lesions are drawn, so that only slices with a finding can be sources.

    Raises:
        UsageProblem: If no slice can be a source.
    """
    positive_alone = transplants or settings.only_positive
    chosen = [native for native in slices if not positive_alone or native.labels]
    if not chosen:
        raise UsageProblem(
            "none of the slices has a finding; give their labels, or leave out the render "
            "transplant and the restriction to slices with a finding",
            parameter="labels",
        )
    by_patient = transplants and settings.balance == "patients"
    if settings.per == "study":
        if not transplants:
            return Plan(tuple(_of_series(slices, chosen, settings)))
        lesions = [
            (largest(sections)[0], partial(_of_lesion, settings.seed, number, sections))
            for number, sections in _lesions(slices)
        ]
        draws = _spread(lesions, settings.copies * len(lesions), by_patient)
        return Plan(tuple(Batch((draw,), in_series=True) for draw in draws))
    wanted = settings.copies * len(chosen)
    if settings.ratio is not None:
        wanted = max(1, round(settings.ratio * len(slices)))
    single = [(native, partial(_of_slice, settings.seed, native)) for native in chosen]
    draws = _spread(single, wanted, by_patient)
    return Plan(tuple(Batch(tuple(draws[i : i + BATCH])) for i in range(0, len(draws), BATCH)))


def largest(sections: Iterable[Section]) -> Section:
    """Return the section with most of a lesion."""
    return max(sections, key=area_of)


def area_of(section: Section) -> float:
    """Return the number of pixels of a lesion on one slice."""
    native, findings = section
    return sum(native.labels.findings[i].area for i in findings) if native.labels else 0.0


def _of_slice(
    seed: int,
    native: Slice,
    copy: int,
    name: tuple[str, ...] = (),
    lesion: tuple[tuple[str, tuple[int, ...]], ...] = (),
) -> Draw:
    """Return a draw of a slice, or of a lesion, which has a name of its own."""
    key = pseudonym("draw", str(seed), native.series, native.key, str(copy), *name)
    series = pseudonym("series", str(seed), native.series, str(copy))
    return Draw(key, native.name, series, copy, seed, lesion)


def _of_lesion(seed: int, number: int, sections: Sequence[Section], copy: int) -> Draw:
    lesion = tuple((native.name, findings) for native, findings in sections)
    return _of_slice(seed, largest(sections)[0], copy, (f"lesion {number}",), lesion)


def _lesions(slices: Iterable[Slice]) -> Iterator[tuple[int, tuple[Section, ...]]]:
    """Yield each lesion: its number in the series, and the slices that show it, in order."""
    for series in by_series(slices):
        for number, shown in enumerate(trace_lesions([native.labels for native in series])):
            yield number, tuple((series[i], shown[i]) for i in sorted(shown))


def _spread(
    sources: Sequence[tuple[Slice, Callable[[int], Draw]]], wanted: int, over_patients: bool
) -> list[Draw]:
    """Return the wanted number of draws, in the order of their sources.

    Args:
        sources: Each source, with a function that returns the draw of a copy of it.
        wanted: The number of draws.
        over_patients: Whether to spread draws evenly over patients, and over the sources of each
            patient; otherwise they are spread evenly over sources, regardless of the patient.
    """
    parts: dict[str, list[int]] = {}
    for place, (native, _) in enumerate(sources):
        parts.setdefault(native.group if over_patients else "", []).append(place)

    def rank(place: int, copy: int) -> bytes:
        return hashlib.blake2b(sources[place][1](copy).key.encode()).digest()

    # If the number does not divide evenly, an order that depends on the seed decides who gets one
    # more.
    everyone = sorted(parts.values(), key=lambda part: rank(part[0], 1))
    drawn: list[tuple[int, int]] = []
    for number, part in enumerate(everyone):
        share = wanted // len(parts) + (number < wanted % len(parts))
        copies = max(1, math.ceil(share / len(part)))
        drawn += [(place, copy) for place in part for copy in range(1, copies)]
        last = sorted(part, key=lambda place: rank(place, copies))
        drawn += [(place, copies) for place in last[: share - (copies - 1) * len(part)]]
    return [sources[place][1](copy) for place, copy in sorted(drawn)]


def _of_series(
    slices: Sequence[Slice], chosen: Sequence[Slice], settings: Settings
) -> Iterator[Batch]:
    wanted = {native.series for native in chosen}
    for series in by_series(slices):
        if series[0].series in wanted:
            for copy in range(1, settings.copies + 1):
                draws = (_of_slice(settings.seed, native, copy) for native in series)
                yield Batch(tuple(draws), in_series=True)
