"""Transplants into hosts that are drawn as a comparison with those of `medvae augment`.

Everything else is as in `medvae augment`: tries, attempts, variation and gates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from medvae.errors import UsageProblem
from medvae.gates import Calibration, Draft, Gates
from medvae.latent import Latents, nearest
from medvae.models import TrainedModel
from medvae.randomness import generator
from medvae.records import Pixels, Slice
from medvae.render import MOST_HOSTS, Ground, Lesion, Refused, Scene, transplant_to_one

__all__ = ["HOSTS", "ChosenHosts"]

HOSTS: Mapping[str, int | None] = {"near8": 8, "random": None}
"""Number of slices, nearest in the latent space, from which hosts are drawn; None for all."""

_ATTEMPTS, _GENTLER = 4, 0.7
_READY = 256


class ChosenHosts:
    """Generator of transplants into hosts of other patients.

    Args:
        run: Trained model, whose latents are used by the gates and to choose hosts.
        sources: Labelled slices, including those without findings.
        hosts: Further slices that are free of findings.
        near: Number of slices, nearest in the latent space, to draw from; None for all.
    """

    def __init__(
        self,
        run: TrainedModel,
        sources: Sequence[Slice],
        hosts: Sequence[Slice],
        near: int | None,
    ) -> None:
        self._run, self._codec = run, run.codec("cpu", torch.float32)
        self._donors = [item for item in sources if item.labels]
        self._empty = [*(item for item in sources if not item.labels), *hosts]
        groups = {item.group for item in self._empty}
        if any(groups <= {donor.group} for donor in self._donors):
            raise UsageProblem("there is no slice of another patient that is free of findings")
        self._ready = lru_cache(_READY)(self._scene)
        self._ground = lru_cache(_READY)(lambda host: Ground.of(self._ready(host)))
        latents, self._gates = self._seen([*sources, *hosts])
        rows = {item.key: row for row, item in enumerate((*sources, *hosts))}
        donors, empty = (
            latents.take([rows[item.key] for item in some]) for some in (self._donors, self._empty)
        )
        found = nearest(donors, empty, len(empty) if near is None else near)
        self._hosts = {item.key: own for item, own in zip(self._donors, found, strict=True)}

    def _scene(self, native: Slice) -> Scene:
        return self._run.scene(native, native.pixels())

    def _seen(self, slices: Sequence[Slice]) -> tuple[Latents, Gates]:
        """Return the latents of slices, and the gates calibrated on them."""
        pictures, calibration = [], Calibration()
        for item in slices:
            scene = self._scene(item)
            pictures.append(scene.picture())
            # A folder of pictures is a series, and so is a file with several slices.
            source = item.source
            series = str(source.path.parent if source.format == "picture" else source.path)
            calibration.add(source.series_uid or series, scene, pictures[-1])
        keys, groups = ([getattr(item, name) for item in slices] for name in ("key", "group"))
        latents = Latents.of(keys, groups, [()] * len(slices), *self._codec.encode(pictures))
        return latents, calibration.gates(self._run.statistics())

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
        order = random.permutation(self._hosts[donor.key])[:MOST_HOSTS]
        made = transplant_to_one(
            lesion,
            [self._empty[row] for row in order],
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


def _generator(key: tuple[int | str, ...], number: int) -> np.random.Generator:
    return generator(0, "random host", *key, number)
