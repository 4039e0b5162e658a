"""Transplants of whole lesions into host series that are neighbours in the latent space."""

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
from medvae.augmentation._traced import Traced
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
"""Number of tries; a whole lesion is harder to fit than one on a single slice."""

_GROWTH = 1.5
"""Upper bound of the factor by which a variation of strength 1 enlarges a lesion."""


def whole_series(items: Sequence[Located]) -> list[list[Located]]:
    """Return the series all of whose slices are among the items, which are in their order."""
    return [own for own in by_series(items) if len(own) == len(own[0].series.slices)]


@dataclass(frozen=True, eq=False)
class _Host:
    """A series that a lesion may be inserted into, and the location.

    Attributes:
        items: Slices of the series.
        axis: Positions of the slices.
        donor: Positions of the slices of the lesion's own series, in the same unit.
        neighbour: Index of the slice nearest, in the latent space, to the slice that shows most of
            the lesion; the centre of the lesion goes there.
    """

    items: Sequence[Located]
    axis: Axis
    donor: Axis
    neighbour: int

    @property
    def at(self) -> float:
        """The position of the neighbour along the axis."""
        return self.axis.places[self.neighbour]

    def within(self, reach: float) -> list[int]:
        """Return the slices within ``reach`` of the neighbour, and the next one on either side."""
        reach += max(np.abs(np.diff(self.axis.places)), default=0.0)
        return [i for i, place in enumerate(self.axis.places) if abs(place - self.at) <= reach]


@dataclass(frozen=True, eq=False)
class _Donor:
    """A whole lesion, prepared for insertion.

    Attributes:
        lesion: Lesion through all its slices.
        sections: Position of each slice along the axis, and the finding that it shows.
    """

    lesion: Lesion
    sections: Sequence[tuple[float, Planted]]

    @classmethod
    def of(cls, traced: Traced, axis: Axis, seen: Mapping[Located, Seen]) -> _Donor | Refused:
        """Prepare a lesion, or return the reason why that is impossible."""
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
        """Return the maximum distance from the centre to an end of the varied lesion."""
        ends = (abs(end - self.lesion.position) for end in self.lesion.extent)
        return float(max(ends) * _GROWTH**strength)

    def nearest(self, place: float) -> Planted:
        """Return the section that is nearest to a position on the axis."""
        return min(self.sections, key=lambda section: abs(section[0] - place))[1]


class WholeLesions:
    """Inserter of lesions, through all their slices, into series.

    Args:
        lesions: Lesions traced from the labels.
        hosts: Slices that are free of findings; only series that are complete can be hosts.
        space: Latents of donors and hosts.
        ready: Cache that decodes hosts.

    Raises:
        UsageProblem: If there is no host of another patient.
    """

    def __init__(
        self, lesions: Sequence[Traced], hosts: Sequence[Located], space: Space, ready: Hosts
    ) -> None:
        # The slices of a host must have the same spacing.
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
        """Insert a lesion into one of its neighbours."""
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
        """Insert a lesion into a host, decoding only the slices that the lesion may reach."""
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
        """Yield drafts of all slices of a host, with the lesion where it shows."""
        for index, item in enumerate(host.items):
            seen, rendered = self._ready.seen(item), shown.get(index)
            if rendered is None:
                yield Staged(draw, item, seen, Rendered(seen.scene.values, seen.scene.labels))
                continue
            along = (host.axis.places[index] - host.at) / rendered.numbers["scale"]
            planted = donor.nearest(along + donor.lesion.position)
            yield Staged(draw, item, seen, rendered, planted)


def _neighbours(lesion: Traced, series: Sequence[Sequence[Located]], space: Space) -> list[_Host]:
    """Return the nearest series of other patients, by their nearest slice with enough room."""
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
    return Planted(seen, max(findings, key=lambda index: labels[index].area))
