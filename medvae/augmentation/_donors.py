"""Transplants of lesions on single slices into hosts that are neighbours in the latent space."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from medvae.augmentation._plan import Draw
from medvae.augmentation._scenes import Hosts, Seen
from medvae.augmentation._sources import Located
from medvae.augmentation._space import Space
from medvae.augmentation._staged import Planted, Staged
from medvae.errors import UsageProblem
from medvae.latent import nearest
from medvae.render import MOST_HOSTS, Lesion, Refused, is_absolute, transplant_to_one

__all__ = ["Donors"]


class Donors:
    """Inserter of lesions from single slices into single slices.

    Args:
        donors: Slices with lesions.
        hosts: Slices that are free of findings.
        space: Latents of donors and hosts.
        ready: Cache that decodes hosts.

    Raises:
        UsageProblem: If there is no host of another patient.
    """

    def __init__(
        self, donors: Sequence[Located], hosts: Sequence[Located], space: Space, ready: Hosts
    ) -> None:
        self._hosts: dict[Located, list[Located]] = {}
        for absolute in (False, True):
            # The intensities of a lesion from CT cannot be matched to those of MR.
            alike = [item for item in hosts if is_absolute(item.native) == absolute]
            asking = [item for item in donors if is_absolute(item.native) == absolute]
            found = nearest(space.of(asking), space.of(alike), MOST_HOSTS)
            for donor, rows in zip(asking, found, strict=True):
                self._hosts[donor] = [alike[row] for row in rows]
        self._ready = ready
        if not any(self._hosts.values()):
            raise UsageProblem(
                "render transplant: there is no slice of another patient that is known to be free "
                "of findings: give some with --hosts"
            )

    def plant(
        self,
        draw: Draw,
        seen: Mapping[Located, Seen],
        randoms: Callable[[int], np.random.Generator],
        strength: float,
    ) -> list[Staged] | Refused:
        """Insert one lesion of a slice, chosen by the generator of try 0, into a neighbour."""
        donor = seen[draw.source]
        hosts = self._hosts[draw.source]
        if not hosts:
            return Refused("no host of another patient")
        finding = int(randoms(0).integers(len(donor.scene.labels)))
        lesion = Lesion.on(donor.scene, finding)
        if isinstance(lesion, Refused):
            return lesion
        made = transplant_to_one(
            lesion,
            hosts,
            lambda host: self._ready.ready(host)[1],
            lambda number: randoms(number + 1),
            strength,
        )
        if isinstance(made, Refused):
            return made
        host, rendered = made
        return [Staged(draw, host, self._ready.seen(host), rendered, Planted(donor, finding))]
