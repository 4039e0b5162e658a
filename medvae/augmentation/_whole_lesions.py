"""Insertion of whole lesions into series of other patients that look similar around the site."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medvae.augmentation._encode import Encoded
from medvae.augmentation._inserters import HostCache
from medvae.augmentation._plan import Draw, Section, area_of, largest
from medvae.errors import DecodeError, UsageProblem
from medvae.gates import Draft
from medvae.records import Series, Slice, pseudonym
from medvae.render import (
    Lesion,
    Refused,
    Rendered,
    Scene,
    Vicinity,
    is_absolute,
    most_similar,
    transplant_volume,
)
from medvae.sources import Sources

_TRIES = 40
"""Number of tries; a whole lesion is harder to fit than one on a single slice."""

_FEWEST_HOSTS = 8
"""Number of series from which one is drawn, at least."""

_GROWTH = 1.5
"""Upper bound of the factor by which a variation of strength 1 enlarges a lesion."""


@dataclass(frozen=True)
class Axis:
    """Positions of the slices of a series along their normal.

    Attributes:
        places: Positions of the slices, all distinct.
        gap: Distance between adjacent slices.
        in_space: Whether positions are in millimetres, increasing in the same direction through the
            patient in all series of one orientation; otherwise they are slice numbers.
    """

    places: Sequence[float]
    gap: float
    in_space: bool

    @classmethod
    def of(cls, series: Series) -> Axis:
        """Return the axis of a series: in space if the positions of its slices are monotonic."""
        normal = series.slices[0].geometry.normal
        positions = [native.geometry.position for native in series.slices]
        known = [position for position in positions if position is not None]
        if normal is None or len(known) < max(2, len(positions)):
            return cls.counted(series)
        upwards = np.sign(max(normal, key=abs))
        places = upwards * (np.array(known) * normal).sum(axis=1)
        steps = np.diff(places)
        if not ((steps > 0).all() or (steps < 0).all()):
            return cls.counted(series)
        return cls(places.tolist(), float(np.median(np.abs(steps))), True)

    @classmethod
    def counted(cls, series: Series) -> Axis:
        """Return the axis whose positions are slice numbers."""
        return cls([float(place) for place in range(len(series.slices))], 1.0, False)

    @classmethod
    def of_both(cls, one: Series, other: Series) -> tuple[Axis, Axis]:
        """Return the axes of two series: in space if both can be, otherwise both counted."""
        axes = cls.of(one), cls.of(other)
        known = all(axis.in_space for axis in axes)
        return axes if known else (cls.counted(one), cls.counted(other))

    def room(self, below: float, above: float) -> list[int]:
        """Return the indices of slices with at least ``below`` and ``above`` on either side."""
        first, last = min(self.places) - self.gap / 2, max(self.places) + self.gap / 2
        return [
            index
            for index, place in enumerate(self.places)
            if place - below >= first and place + above <= last
        ]

    def ends(self, sections: Sequence[Section]) -> tuple[float, float]:
        """Return the extent of a lesion below and above its centre, if this is its own axis."""
        places = [self.places[native.place] for native, _ in sections]
        weights = [area_of(section) for section in sections]
        centre = float(np.average(places, weights=weights))
        return centre - min(places) + self.gap / 2, max(places) + self.gap / 2 - centre


@dataclass(frozen=True, eq=False)
class _Host:
    """A series that a lesion may be inserted into, and the location.

    Attributes:
        slices: Slices of the series.
        axis: Positions of the slices.
        donor: Positions of the slices of the lesion's own series, in the same unit.
        middle: Index of the slice that looks most similar to the slice that shows most of the
            lesion; the centre of the lesion goes there.
    """

    slices: Sequence[Slice]
    axis: Axis
    donor: Axis
    middle: int

    @property
    def at(self) -> float:
        """The position for the centre of the lesion along the axis."""
        return self.axis.places[self.middle]

    def within(self, reach: float) -> list[int]:
        """Return the slices within ``reach`` of the centre, and the next one on either side."""
        reach += max(np.abs(np.diff(self.axis.places)), default=0.0)
        return [i for i, place in enumerate(self.axis.places) if abs(place - self.at) <= reach]


@dataclass(frozen=True, eq=False)
class _WholeLesion:
    """A whole lesion, prepared for insertion.

    Attributes:
        lesion: Lesion through all its slices.
        sections: Position of each slice along the axis, the slice, and its largest finding.
    """

    lesion: Lesion
    sections: Sequence[tuple[float, Scene, int]]

    @classmethod
    def of(cls, draw: Draw, axis: Axis, scenes: Mapping[str, Scene]) -> _WholeLesion | Refused:
        """Prepare the lesion of a draw, or return the reason why that is impossible."""
        own = [scenes[name] for name in draw.needed]
        if _spacings([scene.slice for scene in own]) > 1:
            return Refused("lesion on slices of several spacings")
        places = [axis.places[scene.slice.place] for scene in own]
        findings = [found for _, found in draw.lesion]
        lesion = Lesion.through(own, findings, places, axis.gap)
        if isinstance(lesion, Refused):
            return lesion
        shown = [
            max(found, key=lambda index: scene.labels.findings[index].area)
            for scene, found in zip(own, findings, strict=True)
        ]
        return cls(lesion, list(zip(places, own, shown, strict=True)))

    def reach(self, strength: float) -> float:
        """Return the maximum distance from the centre to an end of the varied lesion."""
        ends = (abs(end - self.lesion.position) for end in self.lesion.extent)
        return float(max(ends) * _GROWTH**strength)

    def nearest(self, place: float) -> tuple[Scene, int]:
        """Return the slice and finding that are nearest to a position on the axis."""
        _, scene, finding = min(self.sections, key=lambda section: abs(section[0] - place))
        return scene, finding


class LesionInserter:
    """Inserter of lesions, through all their slices, into series.

    Args:
        draws: Draws of whole lesions.
        sources: Slices of the donors, and series of all slices.
        hosts: Slices that are free of findings; only series that are complete can be hosts.
        encoded: What is known of the hosts.
        cache: Cache that decodes hosts.

    Raises:
        UsageProblem: If there is no host of another patient.
    """

    def __init__(
        self,
        draws: Sequence[Draw],
        sources: Sources,
        hosts: Sequence[Slice],
        encoded: Encoded,
        cache: HostCache,
    ) -> None:
        # The slices of a host must have the same spacing.
        self._series = [own for own in sources.whole_series(hosts) if _spacings(own) == 1]
        by_name = sources.by_name
        groups = {own[0].group for own in self._series}
        if not any(groups - {by_name[draw.source].group} for draw in draws):
            raise UsageProblem(
                "there is no whole series of another patient that is known to "
                "be free of findings; give some as hosts, or draw single slices",
                parameter="hosts",
            )
        self._sources, self._cache = sources, cache
        self._choice = encoded.hosts([native for own in self._series for native in own])
        self._similar: dict[object, list[_Host]] = {}

    def insert(
        self,
        draw: Draw,
        scenes: Mapping[str, Scene],
        randoms: Callable[[int], np.random.Generator],
        strength: float,
    ) -> list[Draft] | Refused:
        """Insert a lesion into one of the series that look similar around its site."""
        if draw.lesion not in self._similar:
            self._similar[draw.lesion] = self._similar_to(draw, scenes)
        hosts = self._similar[draw.lesion]
        if not hosts:
            return Refused("no host of another patient with room for it")
        prepared: dict[bool, _WholeLesion | Refused] = {}
        refused = None
        for number in range(1, _TRIES + 1):
            random = randoms(number)
            host = hosts[int(random.integers(len(hosts)))]
            in_space = host.axis.in_space
            if in_space not in prepared:
                prepared[in_space] = _WholeLesion.of(draw, host.donor, scenes)
            lesion = prepared[in_space]
            if isinstance(lesion, Refused):
                return lesion
            try:
                shown = self._inserted(lesion, host, random, strength)
                if not isinstance(shown, Refused):
                    return list(self._drafts(draw, lesion, host, shown))
            except DecodeError as error:
                refused = refused or Refused(f"no host can be decoded: {error.kind}")
                continue
            refused = shown
        assert refused is not None
        return refused

    def _similar_to(self, draw: Draw, scenes: Mapping[str, Scene]) -> list[_Host]:
        """Return the hosts for a lesion, and where in each of them it fits best."""
        sections = [(scenes[name].slice, findings) for name, findings in draw.lesion]
        source, findings = largest(sections)
        scene = scenes[source.name]
        shown = max(findings, key=lambda index: scene.labels.findings[index].area)
        vicinity = Vicinity.of(scene, shown)
        found: list[_Host] = []
        differences: list[float] = []
        start = 0
        for slices in self._series:
            first, start = start, start + len(slices)
            if slices[0].group == source.group or is_absolute(slices[0]) != vicinity.absolute:
                continue
            own, theirs = (self._sources.series[one.series] for one in (source, slices[0]))
            donor, axis = Axis.of_both(own, theirs)
            room = axis.room(*donor.ends(sections))
            if room:
                apart = self._choice.differences(vicinity, [first + place for place in room])
                found.append(_Host(slices, axis, donor, room[int(apart.argmin())]))
                differences.append(apart.min())
        return [found[row] for row in most_similar(np.array(differences), _FEWEST_HOSTS)]

    def _inserted(
        self, lesion: _WholeLesion, host: _Host, random: np.random.Generator, strength: float
    ) -> dict[int, Rendered] | Refused:
        """Insert a lesion into a host, decoding only the slices that the lesion may reach."""
        near = host.within(lesion.reach(strength))
        grounds = [self._cache.ground(host.slices[i]) for i in near]
        places = [host.axis.places[i] for i in near]
        shown = transplant_volume(lesion.lesion, grounds, places, host.at, random, strength)
        if isinstance(shown, Refused):
            return shown
        return {near[i]: rendered for i, rendered in shown.items()}

    def _drafts(
        self, draw: Draw, lesion: _WholeLesion, host: _Host, shown: Mapping[int, Rendered]
    ) -> Iterator[Draft]:
        """Yield drafts of all slices of a host, with the lesion where it shows."""
        for index, native in enumerate(host.slices):
            scene, rendered = self._cache.scene(native), shown.get(index)
            key = pseudonym("draw", draw.key, native.key)
            if rendered is None:
                unchanged = Rendered(scene.values, scene.labels)
                yield Draft(scene, unchanged, in_series=True, key=key)
                continue
            along = (host.axis.places[index] - host.at) / rendered.numbers["scale"]
            donor, finding = lesion.nearest(along + lesion.lesion.position)
            yield Draft(scene, rendered, donor, finding, in_series=True, key=key)


def _spacings(slices: Sequence[Slice]) -> int:
    return len({native.geometry.spacing for native in slices})
