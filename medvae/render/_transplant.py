"""Insertion of a lesion of one patient, with variation, into slices of another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from medvae.errors import DecodeError
from medvae.records import Labels
from medvae.render._contract import Rendered
from medvae.render._ground import Ground, Levels
from medvae.render._hosts import MOST_HOSTS
from medvae.render._lesion import FEWEST, Lesion, Refused, Surroundings
from medvae.render._move import Move
from medvae.render._site import Site, objection, share_in_tissue
from medvae.render._variation import Variation

H = TypeVar("H")

BALANCES = ("patients", "slices")
"""What transplants can be spread evenly over."""

_TRIES = 8
"""Tries of host, location and variation before further hosts are considered."""

_ROUNDS = 3

_LOCAL_SHARE = 0.35
_LEAST_LEVEL = 0.05
_LEAST_FACTOR, _MOST_FACTOR = 0.6, 1.6


def transplant(
    lesion: Lesion, host: Ground, random: np.random.Generator, strength: float
) -> Rendered | Refused:
    """Insert a lesion into a slice.

    The lesion is varied about its centre and placed at its own location on the canvas or at the
    mirrored one. Its size is physical; where the spacing of the donor or the host is unknown, it
    keeps its fraction of the canvas. Its level is matched to that of its new surroundings by a
    factor, or in absolute units by a difference. Beyond its feathered edge, the values are exactly
    those of the host.

    Args:
        lesion: Lesion of the donor.
        host: Slice to insert it into.
        random: Random generator for the variation, used by this call alone.
        strength: Strength of the variation; at 0 the lesion is unchanged, at its own location.

    Returns:
        The host with its own findings followed by the lesion, or why the lesion does not fit.
    """
    result = _set_in(lesion, {0: (host, lesion.position)}, Variation.draw(random, strength))
    return result if isinstance(result, Refused) else result[0]


def transplant_to_one(
    lesion: Lesion,
    hosts: Sequence[H],
    ground: Callable[[H], Ground],
    randoms: Callable[[int], np.random.Generator],
    strength: float,
) -> tuple[H, Rendered] | Refused:
    """Insert a lesion into one of several slices, in a few tries of host, location and variation.

    Args:
        lesion: Lesion of the donor.
        hosts: Hosts, at least one; the later ones are used if the first have no room.
        ground: Prepares a host; a host that cannot be decoded is skipped.
        randoms: Returns the random generator for a try, given its number from 0.
        strength: Strength of the variation.

    Returns:
        The host and its rendered slice, or the last reason why the lesion did not fit.
    """
    refused = None
    for number in range(_ROUNDS * _TRIES):
        random = randoms(number)
        first = hosts[: MOST_HOSTS // _ROUNDS * (1 + number // _TRIES)]
        host = first[int(random.integers(len(first)))]
        try:
            result = transplant(lesion, ground(host), random, strength)
        except DecodeError as error:
            refused = refused or Refused(f"no host can be decoded: {error.kind}")
            continue
        if not isinstance(result, Refused):
            return host, result
        refused = result
    assert refused is not None
    return refused


def transplant_volume(
    lesion: Lesion,
    hosts: Sequence[Ground],
    positions: Sequence[float],
    at: float,
    random: np.random.Generator,
    strength: float,
) -> dict[int, Rendered] | Refused:
    """Insert a whole lesion into the slices of a series, with one variation, or not at all.

    Args:
        lesion: Lesion of the donor, through all its slices.
        hosts: Slices of the series, all of one shape, spacing and orientation.
        positions: Positions of the slices along their normal in millimetres, increasing in the same
            direction through the patient as those of the lesion.
        at: Position along the normal for the centre of the lesion.
        random: Random generator for the variation, used by this call alone.
        strength: Strength of the variation.

    Returns:
        The slices that show the lesion, by their index among the hosts, or why it does not fit.
    """
    if any(host.frame != hosts[0].frame for host in hosts):
        raise ValueError("the slices of a host must have one shape, spacing and orientation")
    variation = Variation.draw(random, strength)
    depths = (np.asarray(positions, dtype=np.float64) - at) / variation.scale + lesion.position
    first, last = lesion.extent
    spare = float(np.median(np.diff(np.sort(depths)))) / 2 if len(depths) > 1 else math.inf
    if depths.min() - spare > first or depths.max() + spare < last:
        return Refused("beyond the series")
    shown = {
        index: (host, float(depth))
        for index, (host, depth) in enumerate(zip(hosts, depths, strict=True))
        if first < depth < last
    }
    return _set_in(lesion, shown, variation) if shown else Refused("between the slices")


def _set_in(
    lesion: Lesion, hosts: Mapping[int, tuple[Ground, float]], variation: Variation
) -> dict[int, Rendered] | Refused:
    """Insert a lesion into slices that show it at positions along its own normal."""
    nearest, _ = min(hosts.values(), key=lambda host: abs(host[1] - lesion.position))
    if nearest.scene.absolute != lesion.units.absolute:
        raise ValueError("donor and host must both have absolute units, or neither")
    move = Move.of(lesion, variation, nearest)
    window = move.window
    if window is None:
        return Refused("at the border")
    places = move.places(window)
    every = {
        index: Site.of(move, host, position, window, places)
        for index, (host, position) in hosts.items()
    }
    sites = {index: site for index, site in every.items() if site.mask.sum() >= FEWEST}
    reason = objection(list(sites.values()))
    if reason is not None:
        return Refused(reason)
    return _rendered(sites, move)


def _rendered(sites: Mapping[int, Site], move: Move) -> dict[int, Rendered] | Refused:
    """Insert a lesion into slices that it fits into, at the level of its surroundings there."""
    units = Levels.of([site.host.scene for site in sites.values()])
    around = Surroundings.of([site.levels(units)[site.around] for site in sites.values()], units)
    if around is None:
        return Refused("no surroundings to match")
    lesion, contrast = move.lesion, move.variation.contrast
    if units.absolute:
        match, gain = around.level - lesion.around.level, contrast
    else:
        match = around.level / max(lesion.around.level, _LEAST_LEVEL)
        match = min(max(match, _LEAST_FACTOR), _MOST_FACTOR)
        gain = match * contrast
    changed = {i: _changed(site, units, around.level, gain) for i, site in sites.items()}
    own = np.concatenate([units.of_values(changed[i])[site.mask] for i, site in sites.items()])
    difference = float(own.mean(dtype=np.float64)) - around.level
    numbers = {
        **move.variation.numbers,
        "level": match,
        "in_tissue": share_in_tissue(list(sites.values())),
        "cnr_donor": lesion.contrast / lesion.around.noise,
        "cnr_host": difference / around.noise,
        "contrast_kept": _ratio(difference, lesion.contrast * (1 if units.absolute else match)),
    }
    return {i: _with_lesion(site, changed[i], numbers) for i, site in sites.items()}


def _changed(site: Site, units: Levels, level: float, gain: float) -> NDArray[np.float32]:
    """Return the new values of the host within the window."""
    lesion = site.move.lesion
    shown = site.edge > 0
    share, local = site.edge[shown], site.local_level(units, level)[shown]
    donor = lesion.levels(site.position, site.places[:, shown], site.move.step)
    base = np.float32(_LOCAL_SHARE) * local + np.float32((1 - _LOCAL_SHARE) * level)
    new = base + (donor - np.float32(lesion.around.level)) * np.float32(gain)
    new = units.to_values(np.maximum(new, np.float32(units.darkest)))
    values = site.host.scene.values[site.window].copy()
    values[shown] += share * (new - values[shown])
    return values


def _with_lesion(
    site: Site, changed: NDArray[np.float32], numbers: Mapping[str, float]
) -> Rendered:
    scene = site.host.scene
    values = scene.values.copy()
    values[site.window] = changed
    return Rendered(values, Labels((*scene.labels, *site.findings)), numbers)


def _ratio(new: float, old: float) -> float:
    """Return the fraction that is left of a contrast, or 0 if there was none."""
    return new / old if old else 0.0
