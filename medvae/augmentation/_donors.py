"""Finds for each lesion a host that is its neighbour in the latent space, and sets it in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medvae.augmentation._scenes import Hosts, Seen
from medvae.augmentation._sources import Located
from medvae.errors import DecodeError, UsageProblem
from medvae.latent import Latents, nearest
from medvae.render import Lesion, Refused, Rendered, transplant

__all__ = ["Donors", "Planted"]

_NEAREST = 8
"""Hosts that a lesion may go to, those nearest to its slice in the latent space: drawn from all
hosts instead, transplants taught a detector less."""

_TRIES = 12
"""Hosts, places and variations that a lesion is given before there is said to be no room."""


@dataclass(frozen=True, eq=False)
class Planted:
    """A lesion in a host.

    Attributes:
        host: the slice that it was set into.
        seen: that slice, decoded.
        donor: the slice that it comes from, decoded.
        finding: which of the donor's findings it is.
        rendered: the slice with it.
    """

    host: Located
    seen: Seen
    donor: Seen
    finding: int
    rendered: Rendered


class Donors:
    """Sets lesions of donors into hosts.

    Args:
        donors: the slices with lesions.
        donor_latents: of each of them.
        hosts: slices that are free of findings.
        host_latents: of each of them.
        ready: decodes hosts.

    Raises:
        UsageProblem: there is no host of another patient.
    """

    def __init__(
        self,
        donors: Sequence[Located],
        donor_latents: Latents,
        hosts: Sequence[Located],
        host_latents: Latents,
        ready: Hosts,
    ) -> None:
        found = nearest(donor_latents, host_latents, _NEAREST)
        self._hosts: Mapping[Located, Sequence[Located]] = {
            donor: [hosts[row] for row in rows] for donor, rows in zip(donors, found, strict=True)
        }
        self._ready = ready
        if not any(self._hosts.values()):
            raise UsageProblem(
                "render transplant: there is no slice of another patient that is known to be free "
                "of findings: give some with --hosts"
            )

    def plant(
        self,
        donor: Located,
        seen: Seen,
        randoms: Callable[[int], np.random.Generator],
        strength: float,
    ) -> Planted | Refused:
        """Set one of a donor's lesions into one of its neighbours, or say why there is no room.

        Args:
            donor: a slice with findings.
            seen: that slice, decoded.
            randoms: gives the generator of each try; that of try 0 chooses the lesion.
            strength: of the lesion's variation.
        """
        hosts = self._hosts[donor]
        if not hosts:
            return Refused("no host of another patient")
        finding = int(randoms(0).integers(len(seen.scene.labels)))
        lesion = Lesion.on(seen.scene, finding)
        if isinstance(lesion, Refused):
            return lesion
        refused = Refused("no host can be decoded")
        for number in range(1, _TRIES + 1):
            random = randoms(number)
            host = hosts[int(random.integers(len(hosts)))]
            try:
                host_seen, ground = self._ready.ready(host)
            except DecodeError:
                continue
            result = transplant(lesion, ground, random, strength)
            if not isinstance(result, Refused):
                return Planted(host, host_seen, seen, finding, result)
            refused = result
        return refused
