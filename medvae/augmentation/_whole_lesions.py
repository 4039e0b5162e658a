"""Finds for a whole lesion a host series that is its neighbour in the latent space."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medvae.augmentation._axis import Axis
from medvae.augmentation._plan import Draw
from medvae.augmentation._scenes import Hosts, Seen
from medvae.augmentation._sources import Located, by_series
from medvae.augmentation._space import Space
from medvae.augmentation._staged import Planted, Staged
from medvae.augmentation._traced import Traced, area
from medvae.errors import DecodeError, UsageProblem
from medvae.latent import nearest
from medvae.render import (
    NEAREST_HOSTS,
    Lesion,
    Refused,
    Rendered,
    is_absolute,
    transplant_volume,
)

__all__ = ["WholeLesions", "whole_series"]

_TRIES = 40
"""Of a whole lesion more must fit than of a single slice."""

_GROWTH = 1.5
"""A variation of strength 1 makes a lesion larger by less than this."""


def whole_series(items: Sequence[Located]) -> list[list[Located]]:
    """Return the series all of whose slices are among these, which stand in their order."""
    return [own for own in by_series(items) if len(own) == len(own[0].series.slices)]


@dataclass(frozen=True, eq=False)
class _Host:
    """A series that a lesion may go to, and where.

    Attributes:
        items: the slices of the series.
        axis: where they lie.
        donor: where the slices of the lesion's own series lie, in the same terms.
        neighbour: the slice that is nearest to the lesion's largest one; its centre goes there.
    """

    items: Sequence[Located]
    axis: Axis
    donor: Axis
    neighbour: int

    @property
    def at(self) -> float:
        """The place of the neighbour along the axis."""
        return self.axis.places[self.neighbour]

    def within(self, reach: float) -> list[int]:
        """Return the slices that are so near to that, and the next one on either side."""
        reach += max(np.abs(np.diff(self.axis.places)), default=0.0)
        return [i for i, place in enumerate(self.axis.places) if abs(place - self.at) <= reach]


@dataclass(frozen=True, eq=False)
class _Donor:
    """A whole lesion, made ready.

    Attributes:
        lesion: through all its slices.
        sections: where along the axis each of them lies, and what it shows.
    """

    lesion: Lesion
    sections: Sequence[tuple[float, Planted]]

    @classmethod
    def of(cls, traced: Traced, axis: Axis, seen: Mapping[Located, Seen]) -> _Donor | Refused:
        """Make it ready, or say what is wrong with it."""
        items = [item for item, _ in traced.sections]
        if _spacings(items) > 1:
            return Refused("lesion on slices of several spacings")
        places = [axis.places[item.place] for item in items]
        lesion = Lesion.through(
            [seen[item].scene for item in items],
            [findings for _, findings in traced.sections],
            places,
            axis.gap,
        )
        if isinstance(lesion, Refused):
            return lesion
        planted = [_largest(seen[item], findings) for item, findings in traced.sections]
        return cls(lesion, list(zip(places, planted, strict=True)))

    def reach(self, strength: float) -> float:
        """Return how far it may be from its centre to its end when it is varied."""
        ends = (abs(end - self.lesion.position) for end in self.lesion.extent)
        return float(max(ends) * _GROWTH**strength)

    def nearest(self, place: float) -> Planted:
        """Return the slice that lies nearest to a place on its axis."""
        return min(self.sections, key=lambda section: abs(section[0] - place))[1]


class WholeLesions:
    """Sets lesions, through all their slices, into series.

    Args:
        lesions: as labels show them.
        hosts: slices that are free of findings; series that are there as a whole can be hosts.
        space: where they all lie.
        ready: decodes hosts.

    Raises:
        UsageProblem: there is no host of another patient.
    """

    def __init__(
        self, lesions: Sequence[Traced], hosts: Sequence[Located], space: Space, ready: Hosts
    ) -> None:
        # The slices of a host must have one frame.
        series = [own for own in whole_series(hosts) if _spacings(own) == 1]
        groups = {own[0].native.group for own in series}
        if not any(groups - {lesion.largest.native.group} for lesion in lesions):
            raise UsageProblem(
                "render transplant: there is no whole series of another patient that is known to "
                "be free of findings: give some with --hosts, or leave --per study out"
            )
        self._ready = ready
        self._hosts = {lesion: _neighbours(lesion, series, space) for lesion in lesions}

    def plant(
        self,
        draw: Draw,
        seen: Mapping[Located, Seen],
        randoms: Callable[[int], np.random.Generator],
        strength: float,
    ) -> list[Staged] | Refused:
        """Set a lesion into one of its neighbours."""
        traced = draw.lesion
        hosts = [] if traced is None else self._hosts[traced]
        if traced is None or not hosts:
            return Refused("no host of another patient with room for it")
        donors: dict[bool, _Donor | Refused] = {}
        refused = None
        for number in range(1, _TRIES + 1):
            random = randoms(number)
            host = hosts[int(random.integers(len(hosts)))]
            in_space = host.axis.in_space
            if in_space not in donors:
                donors[in_space] = _Donor.of(traced, host.donor, seen)
            donor = donors[in_space]
            if isinstance(donor, Refused):
                return donor
            try:
                shown = self._set_in(donor, host, random, strength)
                if not isinstance(shown, Refused):
                    return list(self._staged(draw, donor, host, shown))
            except DecodeError as error:
                refused = refused or Refused(f"no host can be decoded: {error.kind}")
                continue
            refused = shown
        assert refused is not None
        return refused

    def _set_in(
        self, donor: _Donor, host: _Host, random: np.random.Generator, strength: float
    ) -> dict[int, Rendered] | Refused:
        """Set a lesion into a host, of which only the slices that it may reach are decoded."""
        near = host.within(donor.reach(strength))
        grounds = [self._ready.ready(host.items[i])[1] for i in near]
        places = [host.axis.places[i] for i in near]
        shown = transplant_volume(donor.lesion, grounds, places, host.at, random, strength)
        if isinstance(shown, Refused):
            return shown
        return {near[i]: rendered for i, rendered in shown.items()}

    def _staged(
        self, draw: Draw, donor: _Donor, host: _Host, shown: Mapping[int, Rendered]
    ) -> Iterator[Staged]:
        """Yield all slices of a host, those that show the lesion with it."""
        for index, item in enumerate(host.items):
            seen, rendered = self._ready.seen(item), shown.get(index)
            if rendered is None:
                yield Staged(draw, item, seen, Rendered(seen.scene.values, seen.scene.labels))
                continue
            along = (host.axis.places[index] - host.at) / rendered.numbers["scale"]
            planted = donor.nearest(along + donor.lesion.position)
            yield Staged(draw, item, seen, rendered, planted)


def _neighbours(lesion: Traced, series: Sequence[Sequence[Located]], space: Space) -> list[_Host]:
    """Find the series of other patients whose nearest slices, with room around, are the nearest."""
    asking, found = space.of([lesion.largest]), []
    for items in series:
        if is_absolute(items[0].native) != is_absolute(lesion.largest.native):
            continue
        donor, axis = Axis.of_both(lesion.largest.series, items[0].series)
        room = axis.room(*lesion.ends(donor))
        (rows,) = nearest(asking, space.of([items[place] for place in room]), 1)
        found += [_Host(items, axis, donor, room[row]) for row in rows]
    best = space.of([host.items[host.neighbour] for host in found])
    (order,) = nearest(asking, best, NEAREST_HOSTS)
    return [found[row] for row in order]


def _spacings(items: Sequence[Located]) -> int:
    return len({item.native.geometry.spacing for item in items})


def _largest(seen: Seen, findings: Sequence[int]) -> Planted:
    labels = seen.scene.labels.findings
    return Planted(seen, max(findings, key=lambda index: area(labels[index])))
