"""Insertion of lesions into hosts that are neighbours in the latent space."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, Protocol

import numpy as np

from medvae.augmentation._encode import Encoded
from medvae.augmentation._plan import Draw
from medvae.errors import UsageProblem
from medvae.gates import Draft
from medvae.latent import nearest
from medvae.models import TrainedModel
from medvae.records import Slice
from medvae.render import (
    MOST_HOSTS,
    Ground,
    Lesion,
    Refused,
    Scene,
    is_absolute,
    transplant_to_one,
)

_KEPT_BYTES = 48 * 2**20
"""Byte limit of the cache of hosts: enough for the neighbours of a few series of donors."""


class Inserter(Protocol):
    """Inserter of lesions of donors into hosts."""

    def insert(
        self,
        draw: Draw,
        scenes: Mapping[str, Scene],
        randoms: Callable[[int], np.random.Generator],
        strength: float,
    ) -> list[Draft] | Refused:
        """Insert the lesion of a draw into a host, or return the reason why that is impossible.

        Args:
            draw: Draw that determines the lesion.
            scenes: Decoded slices that the draw needs, by name.
            randoms: Called with the number of a try; returns its random generator.
            strength: Strength of the variation of the lesion.

        Returns:
            The resulting drafts, in order, or the refusal.
        """


class HostCache:
    """Cache of host slices prepared for lesions; the latest used are kept, up to a byte limit.

    Args:
        model: Model on whose canvas they are placed.
    """

    def __init__(self, model: TrainedModel) -> None:
        self._model = model
        self._kept: OrderedDict[str, Ground] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._model,)

    def ground(self, host: Slice) -> Ground:
        """Return a host, prepared for lesions.

        Raises:
            DecodeError: If its pixels cannot be decoded.
        """
        known = self._known(host)
        if known is not None:
            return known
        ground = Ground.of(self._decoded(host))
        with self._lock:
            if host.name not in self._kept:
                self._kept[host.name] = ground
                self._bytes += _bytes_of(ground)
            while self._bytes > _KEPT_BYTES and len(self._kept) > 1:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= _bytes_of(oldest)
        return ground

    def scene(self, host: Slice) -> Scene:
        """Return a decoded host, without preparing it for lesions.

        Raises:
            DecodeError: If its pixels cannot be decoded.
        """
        known = self._known(host)
        return self._decoded(host) if known is None else known.scene

    def _known(self, host: Slice) -> Ground | None:
        with self._lock:
            known = self._kept.get(host.name)
            if known is not None:
                self._kept.move_to_end(host.name)
            return known

    def _decoded(self, host: Slice) -> Scene:
        return self._model.scene(host, host.pixels())


def _bytes_of(ground: Ground) -> int:
    pixels = ground.scene.pixels
    return 2 * (pixels.stored.nbytes + pixels.values.nbytes)


class SliceInserter:
    """Inserter of lesions from single slices into single slices.

    Args:
        donors: Slices with lesions.
        hosts: Slices that are free of findings.
        encoded: Latents of donors and hosts.
        cache: Cache that decodes hosts.

    Raises:
        UsageProblem: If there is no host of another patient.
    """

    def __init__(
        self,
        donors: Sequence[Slice],
        hosts: Sequence[Slice],
        encoded: Encoded,
        cache: HostCache,
    ) -> None:
        self._hosts: dict[str, list[Slice]] = {}
        for absolute in (False, True):
            # The intensities of a lesion from CT cannot be matched to those of MR.
            alike = [native for native in hosts if is_absolute(native) == absolute]
            asking = [native for native in donors if is_absolute(native) == absolute]
            found = nearest(encoded.of(asking), encoded.of(alike), MOST_HOSTS)
            for donor, rows in zip(asking, found, strict=True):
                self._hosts[donor.name] = [alike[row] for row in rows]
        self._cache = cache
        if not any(self._hosts.values()):
            raise UsageProblem(
                "there is no slice of another patient that is known to be free "
                "of findings; give some as hosts",
                parameter="hosts",
            )

    def insert(
        self,
        draw: Draw,
        scenes: Mapping[str, Scene],
        randoms: Callable[[int], np.random.Generator],
        strength: float,
    ) -> list[Draft] | Refused:
        """Insert one lesion of a slice, chosen by the generator of try 0, into a neighbour."""
        donor, hosts = scenes[draw.source], self._hosts[draw.source]
        if not hosts:
            return Refused("no host of another patient")
        finding = int(randoms(0).integers(len(donor.labels)))
        lesion = Lesion.on(donor, finding)
        if isinstance(lesion, Refused):
            return lesion
        made = transplant_to_one(
            lesion, hosts, self._cache.ground, lambda number: randoms(number + 1), strength
        )
        if isinstance(made, Refused):
            return made
        host, rendered = made
        return [Draft(self._cache.scene(host), rendered, donor, finding, key=draw.key)]
