"""Transplants into hosts that are drawn at random: what the latent space adds is missing here.

All else is as `medvae augment` does it: tries, attempts, variation and gates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from medvae.bundle import Run
from medvae.errors import UsageProblem
from medvae.gates import Calibration, Candidate, Gates, Origin
from medvae.latent import LatentStatistics
from medvae.networks import inference_copy
from medvae.randomness import generator
from medvae.records import Pixels, Slice
from medvae.render import MOST_HOSTS, Ground, Lesion, Refused, Rendered, Scene, transplant_to_one

__all__ = ["RandomHosts"]

_ATTEMPTS, _GENTLER = 4, 0.7
_READY = 256


class RandomHosts:
    """Sets lesions into slices at random.

    Args:
        run: whose gates judge.
        sources: the labelled slices, those without findings among them.
        hosts: more slices that are free of findings.
    """

    def __init__(self, run: Run, sources: Sequence[Slice], hosts: Sequence[Slice]) -> None:
        self._run = run
        self._model = inference_copy(run.model)
        self._donors = [item for item in sources if item.labels]
        self._hosts = [*(item for item in sources if not item.labels), *hosts]
        groups = {item.group for item in self._hosts}
        if any(groups <= {donor.group} for donor in self._donors):
            raise UsageProblem("there is no slice of another patient that is free of findings")
        self._ready = lru_cache(_READY)(self._scene)
        self._ground = lru_cache(_READY)(lambda host: Ground.of(self._ready(host)[1]))
        self._gates = self._calibrated([*sources, *hosts])

    def _scene(self, native: Slice) -> tuple[Pixels, Scene]:
        pixels = native.pixels()
        size = self._run.model.image_size
        return pixels, Scene.of(native, pixels, size, self._run.intensity)

    def _calibrated(self, slices: Sequence[Slice]) -> Gates:
        """Calibrate the gates; slices of a series follow one another."""
        calibration = Calibration()
        for item in slices:
            _, scene = self._scene(item)
            # A folder of pictures is a series, and so is a file with several slices.
            source = item.source
            series = str(source.path.parent if source.format == "picture" else source.path)
            calibration.add(source.series_uid or series, scene, scene.picture())
        return calibration.gates(LatentStatistics.load(self._run.folder / "models"))

    def draw(self, count: int, seed: int) -> Iterator[tuple[Slice, Pixels]]:
        """Draw so often, donor by donor; yield the slices that are kept, with their pixels."""
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
        """Set a lesion into the first host that takes it, and judge the slice."""
        _, scene = self._ready(donor)
        random = _random(key, 0)
        finding = int(random.integers(len(scene.labels)))
        lesion = Lesion.on(scene, finding)
        if isinstance(lesion, Refused):
            return None
        strangers = [host for host in self._hosts if host.group != donor.group]
        order = random.permutation(len(strangers))[:MOST_HOSTS]
        made = transplant_to_one(
            lesion,
            [strangers[place] for place in order],
            self._ground,
            lambda number: _random(key, number + 1),
            strength,
        )
        if isinstance(made, Refused):
            return None
        host, rendered = made
        pixels, empty = self._ready(host)
        if not self._passes(empty, rendered, Origin(scene, scene.labels.findings[finding])):
            return None
        return replace(host, labels=rendered.labels), replace(pixels, values=rendered.values)

    @torch.inference_mode()
    def _passes(self, host: Scene, rendered: Rendered, origin: Origin) -> bool:
        picture = host.picture(rendered.values)
        mu, _ = self._model.encode(torch.from_numpy(picture)[None, None])
        candidate = Candidate(host, rendered, picture, mu.flatten(1)[0].float(), origin)
        return all(verdict.passed for verdict in self._gates.judge([candidate])[0])


def _random(key: tuple[int | str, ...], number: int) -> np.random.Generator:
    return generator(0, "random host", *key, number)
