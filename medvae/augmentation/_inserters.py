"""Insertion of lesions into slices of other patients that look similar around the site."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from medvae.augmentation._encode import Encoded
from medvae.augmentation._plan import Draw
from medvae.errors import UsageProblem
from medvae.gates import Draft
from medvae.models import TrainedModel
from medvae.records import Slice
from medvae.render import (
    MOST_HOSTS,
    Ground,
    Lesion,
    Refused,
    Scene,
    Vicinity,
    transplant_to_one,
)

_KEPT_BYTES = 48 * 2**20
"""Byte limit of the cache of hosts: enough for the hosts of a whole lesion, or of a few slices."""

_REMEMBERED = 4096
"""Number of lesions whose hosts are remembered."""


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
        encoded: What is known of the hosts.
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
        self._hosts, self._choice = hosts, encoded.hosts(hosts)
        self._similar: dict[tuple[str, int], NDArray[np.intp]] = {}
        self._cache = cache
        if not any(self._choice.have_other(donor) for donor in donors):
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
        """Insert one lesion of a slice, chosen by the generator of try 0, into one of the hosts."""
        donor, random = scenes[draw.source], randoms(0)
        if not self._choice.have_other(donor.slice):
            return Refused("no host of another patient")
        finding = int(random.integers(len(donor.labels)))
        lesion = Lesion.on(donor, finding)
        if isinstance(lesion, Refused):
            return lesion
        similar = self._similar_to(donor, finding)
        hosts = [self._hosts[row] for row in random.permutation(similar)[:MOST_HOSTS]]
        made = transplant_to_one(
            lesion, hosts, self._cache.ground, lambda number: randoms(number + 1), strength
        )
        if isinstance(made, Refused):
            return made
        host, rendered = made
        return [Draft(self._cache.scene(host), rendered, donor, finding, key=draw.key)]

    def _similar_to(self, donor: Scene, finding: int) -> NDArray[np.intp]:
        """Return the rows of the hosts for a lesion, which do not depend on the draw."""
        known = donor.slice.name, finding
        if known not in self._similar:
            if len(self._similar) >= _REMEMBERED:
                self._similar.clear()
            self._similar[known] = self._choice.similar(Vicinity.of(donor, finding))
        return self._similar[known]
