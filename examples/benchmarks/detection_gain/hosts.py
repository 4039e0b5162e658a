"""Transplants into hosts that are chosen in one of several ways.

Everything else is as in `medvae augment`: tries, attempts, variation and gates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from medvae.errors import UsageProblem
from medvae.gates import Calibration, Draft, Gates
from medvae.models import TrainedModel
from medvae.randomness import generator
from medvae.records import Pixels, Slice
from medvae.render import MOST_HOSTS, Ground, Lesion, Refused, Scene, transplant_to_one

__all__ = ["HOSTS", "ChosenHosts"]

_ATTEMPTS, _GENTLER = 4, 0.7
_READY = 256

_COVERING = 128
"""Number of slices that represent the cohort."""

_SHARE = 0.1
"""Share of all hosts that count as at the level of a lesion, or as similar at its site."""

_AROUND, _LEAST_SIDE = 2.0, 24
"""Size of the site of a lesion as a multiple of its box, and its minimum side in pixels."""

_TYPICAL = 32
"""Rank of the neighbour that the temperature makes e times less likely than the nearest."""


@dataclass(frozen=True, eq=False)
class Places:
    """Data by which hosts can be chosen, in the order of the slices.

    Attributes:
        pictures: Slices as the model sees them, ``[N, size, size]``.
        places: Place of each slice in its series, from 0 for the first to 1 for the last.
        groups: Patient of each slice.
        free: Rows of the slices that can be hosts.
        encode: Function that returns the latents ``[N, D]`` of pictures.
    """

    pictures: NDArray[np.float32]
    places: NDArray[np.float64]
    groups: NDArray[np.str_]
    free: NDArray[np.intp]
    encode: Callable[[NDArray[np.float32]], NDArray[np.float32]]

    @cached_property
    def latents(self) -> NDArray[np.float32]:
        """Latents of the slices, ``[N, D]``."""
        return self.encode(self.pictures)

    @cached_property
    def windows(self) -> NDArray[np.float32]:
        """Latents of nine overlapping quarters of each slice, ``[9, N, D]``, row by row."""
        half = self.pictures.shape[1] // 2
        corners = [(row * half // 2, column * half // 2) for row in range(3) for column in range(3)]
        return np.stack(
            [
                self.encode(_enlarged(self.pictures[:, top : top + half, left : left + half]))
                for top, left in corners
            ]
        )

    @cached_property
    def covering(self) -> NDArray[np.intp]:
        """Rows of hosts, each of which is the farthest from those before it."""
        latents = self.latents[self.free]
        chosen = [int(_distances(latents.mean(axis=0), latents).argmin())]
        far = _distances(latents[chosen[0]], latents)
        while len(chosen) < min(_COVERING, len(latents)):
            chosen.append(int(far.argmax()))
            far = np.minimum(far, _distances(latents[chosen[-1]], latents))
        return self.free[chosen]

    def others(self, donor: int) -> NDArray[np.intp]:
        """Return the rows of the hosts of other patients."""
        found: NDArray[np.intp] = self.free[self.groups[self.free] != self.groups[donor]]
        return found


Box = NDArray[np.float64]
Chooser = Callable[[Places, int, Box, np.random.Generator], NDArray[np.intp]]
"""Function that returns hosts for the lesion on a slice, in the order in which to try them."""


def _near(count: int) -> Chooser:
    """Return a chooser that draws from the slices whose latents are nearest."""

    def choose(
        known: Places, donor: int, box: Box, random: np.random.Generator
    ) -> NDArray[np.intp]:
        others = known.others(donor)
        distances = _distances(known.latents[donor], known.latents[others])
        return _drawn(others, distances, count, random)

    return choose


def _random(known: Places, donor: int, box: Box, random: np.random.Generator) -> NDArray[np.intp]:
    return random.permutation(known.others(donor))


def _cover(known: Places, donor: int, box: Box, random: np.random.Generator) -> NDArray[np.intp]:
    """Choose at random among slices that lie far from one another in the latent space."""
    return random.permutation(np.intersect1d(known.covering, known.others(donor)))


def _level(known: Places, donor: int, box: Box, random: np.random.Generator) -> NDArray[np.intp]:
    """Choose at random among the slices at the same place in their series."""
    others = known.others(donor)
    apart = np.abs(known.places[others] - known.places[donor])
    return _drawn(others, apart, _tenth(others), random)


def _site(known: Places, donor: int, box: Box, random: np.random.Generator) -> NDArray[np.intp]:
    """Choose at random among the slices that look similar around the site of the lesion."""
    size = known.pictures.shape[1]
    centre, sides = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    reach = np.maximum(_AROUND * sides, _LEAST_SIDE) / 2
    left, top = np.clip(np.floor(centre - reach), 0, size - 1).astype(int)
    right, bottom = np.clip(np.ceil(centre + reach), 1, size).astype(int)
    rows, columns = np.mgrid[top:bottom, left:right] + 0.5
    outside = ((rows < box[1]) | (rows > box[3]) | (columns < box[0]) | (columns > box[2])).ravel()
    others = known.others(donor)

    def ring(which: NDArray[np.intp] | int) -> NDArray[np.float32]:
        window = known.pictures[which, top:bottom, left:right]
        found: NDArray[np.float32] = window.reshape(*window.shape[:-2], -1)[..., outside]
        return found

    own, theirs = ring(donor), ring(others)
    # A transplant is adjusted to the intensity around it, so only the pattern counts.
    levels = np.maximum(np.median(theirs, axis=1, keepdims=True), 0.05)
    apart = np.abs(theirs * (max(float(np.median(own)), 0.05) / levels) - own).mean(axis=1)
    return _drawn(others, apart, _tenth(others), random)


def _soft(known: Places, donor: int, box: Box, random: np.random.Generator) -> NDArray[np.intp]:
    """Draw hosts with a probability that falls with their distance in the latent space."""
    others = known.others(donor)
    squares = _distances(known.latents[donor], known.latents[others])
    ranked = np.sort(squares)
    temperature = max(float(ranked[min(_TYPICAL, len(ranked)) - 1] - ranked[0]), 1e-6)
    return others[np.argsort(squares / temperature - random.gumbel(size=len(others)))]


def _region(known: Places, donor: int, box: Box, random: np.random.Generator) -> NDArray[np.intp]:
    """Choose at random among the slices with the nearest latents of the lesion's quarter."""
    steps = (box[:2] + box[2:]) / 2 / known.pictures.shape[1] * 4 - 1
    column, row = np.clip(np.rint(steps), 0, 2).astype(int)
    latents, others = known.windows[row * 3 + column], known.others(donor)
    return _drawn(others, _distances(latents[donor], latents[others]), _TYPICAL, random)


HOSTS: Mapping[str, Chooser] = {
    "near8": _near(8),
    "near32": _near(32),
    "near128": _near(128),
    "random": _random,
    "cover": _cover,
    "level": _level,
    "site": _site,
    "soft": _soft,
    "region": _region,
}
"""Ways to choose hosts, by their names in arms."""


def _distances(one: NDArray[np.float32], several: NDArray[np.float32]) -> NDArray[np.float64]:
    squares: NDArray[np.float64] = np.square(several - one, dtype=np.float64).sum(axis=1)
    return squares


def _drawn(
    hosts: NDArray[np.intp], apart: NDArray[np.floating], count: int, random: np.random.Generator
) -> NDArray[np.intp]:
    """Return the ``count`` hosts that are least far apart, in random order."""
    return random.permutation(hosts[np.argsort(apart, kind="stable")[:count]])


def _tenth(hosts: NDArray[np.intp]) -> int:
    return max(MOST_HOSTS, round(_SHARE * len(hosts)))


def _enlarged(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    large = interpolate(
        torch.from_numpy(pictures)[:, None], scale_factor=2, mode="bilinear", align_corners=False
    )
    enlarged: NDArray[np.float32] = large[:, 0].numpy()
    return enlarged


class ChosenHosts:
    """Generator of transplants into chosen hosts.

    Args:
        run: Trained model, whose latents are used by the gates and to choose hosts.
        sources: Labelled slices, including those without findings.
        hosts: Further slices that are free of findings.
        everything: All slices of these patients, series by series.
        choose: Function that chooses hosts.
    """

    def __init__(
        self,
        run: TrainedModel,
        sources: Sequence[Slice],
        hosts: Sequence[Slice],
        everything: Sequence[Slice],
        choose: Chooser,
    ) -> None:
        self._run, self._choose = run, choose
        self._codec = run.codec("cpu", torch.float32)
        self._donors = [item for item in sources if item.labels]
        empty = [*(item for item in sources if not item.labels), *hosts]
        groups = {item.group for item in empty}
        if any(groups <= {donor.group} for donor in self._donors):
            raise UsageProblem("there is no slice of another patient that is free of findings")
        self._ready = lru_cache(_READY)(self._scene)
        self._ground = lru_cache(_READY)(lambda host: Ground.of(self._ready(host)))
        self._slices = [*sources, *hosts]
        self._rows = {item.key: row for row, item in enumerate(self._slices)}
        pictures, self._gates = self._seen()
        free = [self._rows[item.key] for item in empty]
        places = _places(everything)
        self._known = Places(
            pictures,
            np.array([places[item.key] for item in self._slices]),
            np.array([item.group for item in self._slices]),
            np.array(free, dtype=np.intp),
            self._encode,
        )

    def _scene(self, native: Slice) -> Scene:
        return self._run.scene(native, native.pixels())

    def _seen(self) -> tuple[NDArray[np.float32], Gates]:
        """Return the pictures of all slices, and the gates calibrated on them."""
        pictures, calibration = [], Calibration()
        for item in self._slices:
            scene = self._scene(item)
            pictures.append(scene.picture())
            # A folder of pictures is a series, and so is a file with several slices.
            source = item.source
            series = str(source.path.parent if source.format == "picture" else source.path)
            calibration.add(source.series_uid or series, scene, pictures[-1])
        gates = calibration.gates(self._run.statistics())
        return np.stack(pictures), gates

    def draw(self, count: int, seed: int) -> Iterator[tuple[Slice, Pixels]]:
        """Make ``count`` draws, donor by donor, and yield the kept slices with their pixels."""
        for number in range(count):
            donor = self._donors[number % len(self._donors)]
            copy = number // len(self._donors)
            strength = 1.0
            for attempt in range(_ATTEMPTS):
                made = self._attempt(donor, (seed, donor.key, copy, attempt), strength)
                if made is not None:
                    yield made
                    break
                strength *= _GENTLER

    def _attempt(
        self, donor: Slice, key: tuple[int | str, ...], strength: float
    ) -> tuple[Slice, Pixels] | None:
        """Return a transplant into the first host that fits, or None if it is rejected."""
        scene = self._ready(donor)
        random = _generator(key, 0)
        finding = int(random.integers(len(scene.labels)))
        lesion = Lesion.on(scene, finding)
        if isinstance(lesion, Refused):
            return None
        box = scene.canvas.boxes(scene.labels.boxes)[finding]
        order = self._choose(self._known, self._rows[donor.key], box, random)
        made = transplant_to_one(
            lesion,
            [self._slices[row] for row in order[:MOST_HOSTS]],
            self._ground,
            lambda number: _generator(key, number + 1),
            strength,
        )
        if isinstance(made, Refused):
            return None
        host, rendered = made
        draft = Draft(self._ready(host), rendered, scene, finding)
        draft = replace(draft, mu=self._codec.encode([draft.picture])[0][0])
        if not all(verdict.passed for verdict in self._gates.judge(draft)):
            return None
        result = draft.scene.changed(rendered)
        return result.slice, result.pixels

    def _encode(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        mu, _ = self._codec.encode(pictures)
        return mu.numpy()


def _generator(key: tuple[int | str, ...], number: int) -> np.random.Generator:
    return generator(0, "random host", *key, number)


def _places(slices: Sequence[Slice]) -> Mapping[str, float]:
    """Return the place of each slice in the series of its patient, from 0 to 1."""
    keys: dict[str, list[str]] = {}
    for item in slices:
        keys.setdefault(item.group, []).append(item.key)
    return {
        key: number / max(len(own) - 1, 1)
        for own in keys.values()
        for number, key in enumerate(own)
    }
